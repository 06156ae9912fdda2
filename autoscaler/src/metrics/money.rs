//! Money in metrics. It is counted up: a sum that a correction made smaller stays where it was until the sum has caught
//! up, as a counter must.

use std::{collections::BTreeMap, sync::atomic::AtomicU64};

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, gauge::Gauge},
    registry::{Registry, Unit},
};
use spotscale_decide::{
    cluster::{CapacityType, Offering},
    ledger::{SpendLine, Totals},
    planner::Snapshot,
    units::MicroUsd,
};

type Usd = Counter<f64, AtomicU64>;
type UsdPerHour = Gauge<f64, AtomicU64>;

#[derive(Clone, Default)]
pub(super) struct Money {
    spend: Family<SpendLabels, Usd>,
    refund: Family<SpendLabels, Usd>,
    idle: Family<OfferingLabels, Usd>,
    baseline: Usd,
    unpriced: Gauge,
    node_cost: Family<OfferingLabels, UsdPerHour>,
    spot_price: Family<PriceLabels, UsdPerHour>,
    on_demand_price: Family<PriceLabels, UsdPerHour>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct SpendLabels {
    pool: String,
    capacity_type: String,
    instance_type: String,
    zone: String,
    workload: String,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, EncodeLabelSet)]
struct OfferingLabels {
    pool: String,
    capacity_type: String,
    instance_type: String,
    zone: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct PriceLabels {
    instance_type: String,
    zone: String,
}

impl Money {
    pub(super) fn register(&self, registry: &mut Registry) {
        let usd = || Unit::Other("usd".to_owned());
        let per_hour = || Unit::Other("usd_per_hour".to_owned());
        let help =
            "What nodes cost, before refunds; without a workload: while none was ready there";
        registry.register_with_unit("spotscale_spend", help, usd(), self.spend.clone());
        let help = "What is not billed of the spend: spot nodes taken in their first hour";
        registry.register_with_unit("spotscale_refund", help, usd(), self.refund.clone());
        let help = "The part of the spend while no pod of a workload was ready on the node";
        registry.register_with_unit("spotscale_idle", help, usd(), self.idle.clone());
        let help = "What the all-on-demand fleet would have cost; `spotscale explain cost` says what it is";
        registry.register_with_unit("spotscale_baseline", help, usd(), self.baseline.clone());
        let help = "Nodes without any known price: their cost is in no sum";
        registry.register("spotscale_unpriced_nodes", help, self.unpriced.clone());
        let help = "What the nodes that are there cost now";
        registry.register_with_unit(
            "spotscale_node_cost",
            help,
            per_hour(),
            self.node_cost.clone(),
        );
        let help = "Spot price now";
        let spot = self.spot_price.clone();
        registry.register_with_unit("spotscale_spot_price", help, per_hour(), spot);
        let help = "On-demand price now";
        let on_demand = self.on_demand_price.clone();
        registry.register_with_unit("spotscale_ondemand_price", help, per_hour(), on_demand);
    }

    /// Another daemon tells the money: told twice, every sum over daemons would be wrong.
    pub(super) fn hush(&self) {
        self.spend.clear();
        self.refund.clear();
        self.idle.clear();
        self.node_cost.clear();
        self.unpriced.set(0);
    }

    pub(super) fn count(&self, totals: &Totals) {
        count_up(&self.baseline, totals.baseline);
        self.unpriced.set(i64::try_from(totals.unpriced.len()).unwrap_or(i64::MAX));
        let mut idle = BTreeMap::<_, MicroUsd>::new();
        for line in &totals.lines {
            let labels = SpendLabels::from(line);
            count_up(&self.spend.get_or_create(&labels), line.spend);
            // Most nodes never see a refund, and need no series for it.
            if line.refund > MicroUsd::ZERO {
                count_up(&self.refund.get_or_create(&labels), line.refund);
            }
            if line.workload.is_none() {
                let sum = idle.entry(OfferingLabels::from(line)).or_default();
                *sum = sum.saturating_add(line.spend);
            }
        }
        for (labels, sum) in idle {
            count_up(&self.idle.get_or_create(&labels), sum);
        }
    }

    /// What things cost at this moment.
    pub(super) fn rates(&self, snapshot: &Snapshot) {
        self.spot_price.clear();
        self.on_demand_price.clear();
        for (offering, price) in &snapshot.prices {
            let family = match offering.capacity_type {
                CapacityType::Spot => &self.spot_price,
                CapacityType::OnDemand => &self.on_demand_price,
            };
            family.get_or_create(&PriceLabels::from(offering)).set(price.as_usd());
        }
        self.node_cost.clear();
        // Thousands of nodes have few kinds of labels.
        let mut kinds = BTreeMap::<_, f64>::new();
        for node in snapshot.seen.nodes.iter().filter(|node| node.is_alive()) {
            *kinds.entry((node.pool.as_ref(), &node.offering)).or_default() += 1.0;
        }
        for ((pool, offering), nodes) in kinds {
            if let Some(price) = snapshot.prices.get(offering) {
                let labels = OfferingLabels::new(text(pool), offering);
                self.node_cost.get_or_create(&labels).set(nodes * price.as_usd());
            }
        }
    }
}

fn count_up(counter: &Usd, sum: MicroUsd) {
    let more = sum.as_usd() - counter.get();
    if more > 0.0 {
        counter.inc_by(more);
    }
}

fn text(name: Option<&impl ToString>) -> String {
    name.map(ToString::to_string).unwrap_or_default()
}

impl From<&SpendLine> for SpendLabels {
    fn from(line: &SpendLine) -> Self {
        let OfferingLabels { pool, capacity_type, instance_type, zone } = line.into();
        Self { pool, capacity_type, instance_type, zone, workload: text(line.workload.as_ref()) }
    }
}

impl From<&SpendLine> for OfferingLabels {
    fn from(line: &SpendLine) -> Self {
        Self::new(text(line.pool.as_ref()), &line.offering)
    }
}

impl OfferingLabels {
    fn new(pool: String, offering: &Offering) -> Self {
        Self {
            pool,
            capacity_type: offering.capacity_type.to_string(),
            instance_type: offering.instance_type.to_string(),
            zone: offering.zone.to_string(),
        }
    }
}

impl From<&Offering> for PriceLabels {
    fn from(offering: &Offering) -> Self {
        Self { instance_type: offering.instance_type.to_string(), zone: offering.zone.to_string() }
    }
}
