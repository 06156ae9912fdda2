//! What AWS has said so far, and the prices that follow from it.

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};
use spotscale_autoscaler::{CapacityType, Offering, PriceBook, PriceChange};
use spotscale_decide::units::{InstanceType, ZoneId};

use crate::{instance_types::InstanceInfo, on_demand::OnDemand, pace::Pace, spot::forget};

/// EC2 keeps spot prices for so long, so a daemon that was restarted would not know more.
const KEPT: SignedDuration = SignedDuration::from_hours(90 * 24);
/// What changes once in a while: the price list, and what is sold where.
const LISTED_EVERY: SignedDuration = SignedDuration::from_hours(24);
const SCORES_EVERY: SignedDuration = SignedDuration::from_hours(1);

/// What was learned so far.
#[derive(Debug)]
pub(crate) struct Known {
    pub(crate) spot: PriceBook,
    pub(crate) spot_until: Option<Timestamp>,
    pub(crate) on_demand: OnDemand,
    pub(crate) on_demand_pace: Pace,
    pub(crate) infos: BTreeMap<InstanceType, InstanceInfo>,
    pub(crate) infos_pace: Pace,
    pub(crate) zones: BTreeMap<InstanceType, BTreeSet<ZoneId>>,
    pub(crate) zones_pace: Pace,
    pub(crate) scores: BTreeMap<ZoneId, u8>,
    pub(crate) scores_pace: Pace,
}

// === impl Known ===

impl Known {
    pub(crate) fn new(region: &str) -> Self {
        Self {
            spot: PriceBook::default(),
            spot_until: None,
            on_demand: OnDemand::new(region.to_owned()),
            on_demand_pace: Pace::every(LISTED_EVERY),
            infos: BTreeMap::new(),
            infos_pace: Pace::every(LISTED_EVERY),
            zones: BTreeMap::new(),
            zones_pace: Pace::every(LISTED_EVERY),
            scores: BTreeMap::new(),
            scores_pace: Pace::every(SCORES_EVERY),
        }
    }

    pub(crate) fn learn_spot(&mut self, changes: Vec<(Offering, PriceChange)>, now: Timestamp) {
        // Clocks differ: what is not yet in force here is taken when it is.
        let in_force = changes.into_iter().filter(|(_, change)| change.at <= now);
        in_force.for_each(|(offering, change)| self.spot.record(offering, change));
        self.spot = forget(&self.spot, now - KEPT);
        self.spot_until = Some(now);
    }

    pub(crate) fn without_spot_price(&self, types: &[InstanceType]) -> Vec<InstanceType> {
        let priced: BTreeSet<_> = self.spot.offerings().map(|one| &one.instance_type).collect();
        types.iter().filter(|one| !priced.contains(one)).cloned().collect()
    }

    /// All prices. Those on demand are the same in every zone where the type is sold.
    pub(crate) fn book(&self, types: &[InstanceType]) -> PriceBook {
        let mut book = self.spot.clone();
        for instance_type in types {
            let changes = self.on_demand.changes(instance_type);
            for zone in self.zones_of(instance_type) {
                let offering = Offering {
                    instance_type: instance_type.clone(),
                    zone: zone.clone(),
                    capacity_type: CapacityType::OnDemand,
                };
                for change in &changes {
                    book.record(offering.clone(), *change);
                }
            }
        }
        book
    }

    pub(crate) fn zones_of(&self, instance_type: &InstanceType) -> BTreeSet<&ZoneId> {
        let spot = self.spot.offerings().filter(|one| &one.instance_type == instance_type);
        let sold = self.zones.get(instance_type).into_iter().flatten();
        spot.map(|one| &one.zone).chain(sold).collect()
    }
}
