//! Where the money went: node lifetimes times price history. The ledger keeps lifetimes only and works the sums out
//! anew, so that repeating an observation, setting a clock or correcting a price late cannot count a second twice.
//!
//! Billing follows EC2's pages "Amazon EC2 On-Demand Pricing" (Linux: by the second, 60 s at least) and "Billing for
//! interrupted Spot Instances" (a Linux spot instance that EC2 takes in its first hour is free).

mod life;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

pub(crate) use self::life::FREE_BEFORE;
use self::life::{Exact, Life, LifeKey};
use crate::{
    cluster::{CapacityType, Node, Observation, Offering, Workload},
    pairs,
    prices::PriceBook,
    units::{InstanceType, MicroUsd, Millis, NodeName},
};

/// A life that ended so long ago is no longer corrected: it is added to its offering's sum and forgotten.
const SETTLED_AFTER: Millis = Millis::from_secs(24 * 3600);

/// The lives of all nodes since the ledger was opened.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ledger {
    opened_at: Option<Timestamp>,
    serving_max: u32,
    #[serde(with = "pairs")]
    lives: BTreeMap<LifeKey, Life>,
    #[serde(with = "pairs")]
    settled: BTreeMap<Offering, Sum>,
}

/// What the spend is held against: a fleet of one machine type, on demand, that never shrinks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Baseline {
    /// The machine type.
    pub instance_type: InstanceType,
    /// Pods that fit on one.
    pub pods_max: u32,
    /// How many; without it, as many as the most pods that have served at once need.
    pub nodes: Option<u32>,
}

/// Sums since the ledger was opened.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Totals {
    /// What the nodes cost, before refunds.
    pub spend: MicroUsd,
    /// What the provider does not bill, because it took spot nodes in their first hour.
    pub refund: MicroUsd,
    /// What the baseline fleet would have cost.
    pub baseline: MicroUsd,
    /// What the baseline is, in words.
    pub baseline_is: String,
    /// Spend and refund of each offering.
    #[serde(with = "pairs")]
    pub offerings: BTreeMap<Offering, Line>,
    /// Nodes without any known price: their cost is in no sum.
    pub unpriced: Vec<NodeName>,
}

/// The money of one offering.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Line {
    /// What its nodes cost, before refunds.
    pub spend: MicroUsd,
    /// What of that is not billed.
    pub refund: MicroUsd,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Sum {
    spend: Exact,
    refund: Exact,
}

// === impl Ledger ===

impl Ledger {
    /// Takes note of an observation. The prices are needed to settle what ended long ago.
    pub fn observe(&mut self, seen: &Observation, prices: &PriceBook) {
        self.opened_at.get_or_insert(seen.at);
        let serving =
            |workload: &Workload| workload.replicas_wanted.0.min(seen.ready(&workload.name));
        self.serving_max = self.serving_max.max(seen.workloads.iter().map(serving).sum());
        for node in &seen.nodes {
            self.observe_node(node, seen);
        }
        self.end_absent(seen);
        self.settle(prices, seen.at);
    }

    fn observe_node(&mut self, node: &Node, seen: &Observation) {
        let key = LifeKey { node: node.name.clone(), launched_at: node.launched_at };
        let life = self.lives.entry(key).or_insert_with(|| Life::new(node));
        life.see(node, seen);
    }

    fn end_absent(&mut self, seen: &Observation) {
        for (key, life) in &mut self.lives {
            let listed = |node: &Node| node.name == key.node && node.launched_at == key.launched_at;
            if life.ended.is_none() && !seen.nodes.iter().any(listed) {
                life.vanish(seen.at);
            }
        }
    }

    fn settle(&mut self, prices: &PriceBook, now: Timestamp) {
        let settled = &mut self.settled;
        self.lives.retain(|key, life| {
            let old = life.ended.is_some_and(|end| SETTLED_AFTER.after(end.at) <= now);
            let Some(cost) = life.cost(key, prices, now).filter(|_| old) else {
                return true;
            };
            settled.entry(life.offering.clone()).or_default().add(life, key, cost);
            false
        });
    }

    /// The launch of the oldest life that is not settled: from then on its prices are still needed.
    pub fn unsettled_since(&self) -> Option<Timestamp> {
        self.lives.keys().map(|key| key.launched_at).min()
    }

    /// The sums up to a moment.
    pub fn totals(&self, baseline: &Baseline, prices: &PriceBook, now: Timestamp) -> Totals {
        let mut sums = self.settled.clone();
        let mut unpriced = vec![];
        for (key, life) in &self.lives {
            match life.cost(key, prices, now) {
                Some(cost) => {
                    sums.entry(life.offering.clone()).or_default().add(life, key, cost);
                }
                None => unpriced.push(key.node.clone()),
            }
        }
        let (baseline, baseline_is) = self.baseline(baseline, prices, now);
        Totals {
            spend: sums.values().map(|sum| sum.spend).sum::<Exact>().rounded(),
            refund: sums.values().map(|sum| sum.refund).sum::<Exact>().rounded(),
            baseline,
            baseline_is,
            offerings: sums.into_iter().map(|(offering, sum)| (offering, sum.line())).collect(),
            unpriced,
        }
    }

    fn baseline(
        &self,
        baseline: &Baseline,
        prices: &PriceBook,
        now: Timestamp,
    ) -> (MicroUsd, String) {
        let Baseline { instance_type, pods_max, nodes } = baseline;
        let opened_at = self.opened_at.unwrap_or(now);
        // On-demand prices are the same in every zone of a region, so any zone will do.
        let Some(offering) = prices.offerings().find(|known| {
            &known.instance_type == instance_type && known.capacity_type == CapacityType::OnDemand
        }) else {
            return (MicroUsd::ZERO, format!("unknown: {instance_type} has no on-demand price"));
        };
        let count = nodes.unwrap_or_else(|| self.serving_max.div_ceil((*pods_max).max(1)));
        let one = prices.stretches(offering, opened_at, now).map(Exact::of).sum::<Exact>();
        let sized = if nodes.is_some() { "as configured" } else { "enough for the highest load" };
        let is = format!(
            "{count} x {instance_type} on demand, day and night since {opened_at:.0} ({sized})"
        );
        (one.times(count).rounded(), is)
    }
}

// === impl Sum ===

impl Sum {
    fn add(&mut self, life: &Life, key: &LifeKey, cost: Exact) {
        self.spend = self.spend + cost;
        if life.is_free(key) {
            self.refund = self.refund + cost;
        }
    }

    fn line(self) -> Line {
        Line { spend: self.spend.rounded(), refund: self.refund.rounded() }
    }
}
