//! What AWS has said so far, and the prices that follow from it.

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};
use spotscale_autoscaler::{CapacityType, Offering, PriceBook, PriceChange};
use spotscale_decide::units::{InstanceType, ZoneId};

use crate::{
    instance_types::InstanceInfo,
    on_demand::OnDemand,
    pace::{Pace, Paces},
    spot::forget,
};

/// EC2 keeps spot prices for so long, so a daemon that was restarted would not know more.
const KEPT: SignedDuration = SignedDuration::from_hours(90 * 24);
/// What changes once in a while: the price list, and what is sold where.
const LISTED_EVERY: SignedDuration = SignedDuration::from_hours(24);
const SCORES_EVERY: SignedDuration = SignedDuration::from_hours(1);

/// A change may show up in the history some time after it came into force.
const LATE: SignedDuration = SignedDuration::from_hours(1);
/// Types that are new are asked about since the same days, so that one question is enough.
const DAY_SECS: i64 = 24 * 3600;

/// What was learned so far.
#[derive(Debug)]
pub(crate) struct Known {
    pub(crate) spot: PriceBook,
    /// From when to when that is all there is of a type.
    told: BTreeMap<InstanceType, Window>,
    pub(crate) on_demand: OnDemand,
    pub(crate) on_demand_paces: Paces,
    pub(crate) infos: BTreeMap<InstanceType, InstanceInfo>,
    pub(crate) infos_paces: Paces,
    pub(crate) zones: BTreeMap<InstanceType, BTreeSet<ZoneId>>,
    pub(crate) zones_paces: Paces,
    pub(crate) scores: BTreeMap<ZoneId, u8>,
    pub(crate) scores_pace: Pace,
}

/// A time from one moment to another.
type Window = (Timestamp, Timestamp);

// === impl Known ===

impl Known {
    pub(crate) fn new(region: &str) -> Self {
        Self {
            spot: PriceBook::default(),
            told: BTreeMap::new(),
            on_demand: OnDemand::new(region.to_owned()),
            on_demand_paces: Paces::every(LISTED_EVERY),
            infos: BTreeMap::new(),
            infos_paces: Paces::every(LISTED_EVERY),
            zones: BTreeMap::new(),
            zones_paces: Paces::every(LISTED_EVERY),
            scores: BTreeMap::new(),
            scores_pace: Pace::every(SCORES_EVERY),
        }
    }

    /// Forgets what is known of other types than these.
    pub(crate) fn keep(&mut self, types: &[InstanceType]) {
        let kept: BTreeSet<&InstanceType> = types.iter().collect();
        self.told.retain(|one, _| kept.contains(one));
        self.infos.retain(|one, _| kept.contains(one));
        self.zones.retain(|one, _| kept.contains(one));
        for paces in [&mut self.on_demand_paces, &mut self.infos_paces, &mut self.zones_paces] {
            paces.keep(&kept);
        }
    }

    /// Since when to ask about types that are always asked about together, but for the first time not before `floor`.
    pub(crate) fn sold_from(
        &self,
        types: &[InstanceType],
        floor: Timestamp,
        now: Timestamp,
    ) -> Timestamp {
        let told = types.iter().map(|one| Some(self.told.get(one)?.1));
        told.min().flatten().map_or(floor, |until| until.min(now) - LATE)
    }

    /// Since when to ask about types of which each is needed since a moment, but not before `floor`: as few questions as
    /// can be.
    pub(crate) fn windows<'a>(
        &self,
        since: impl Iterator<Item = (&'a InstanceType, &'a Timestamp)>,
        floor: Timestamp,
        now: Timestamp,
    ) -> BTreeMap<Timestamp, Vec<InstanceType>> {
        let mut windows = BTreeMap::<_, Vec<_>>::new();
        for (instance_type, since) in since {
            let wanted = midnight(*since).max(floor);
            let from = match self.told.get(instance_type) {
                Some((from, until)) if *from <= wanted => (*until).min(now) - LATE,
                _ => wanted,
            };
            windows.entry(from).or_default().push(instance_type.clone());
        }
        windows
    }

    /// Takes in what EC2 says of these types within a window. Those that are new and of which it says nothing.
    pub(crate) fn learn_spot(
        &mut self,
        types: &[InstanceType],
        changes: Vec<(Offering, PriceChange)>,
        (from, now): Window,
    ) -> Vec<InstanceType> {
        // Clocks differ: what is not yet in force here is taken when it is.
        let in_force = changes.into_iter().filter(|(_, change)| change.at <= now);
        in_force.for_each(|(offering, change)| self.spot.record(offering, change));
        let mut new = vec![];
        for instance_type in types {
            let told = self.told.get(instance_type);
            if told.is_none() {
                new.push(instance_type.clone());
            }
            let from = told.map_or(from, |told| told.0.min(from));
            self.told.insert(instance_type.clone(), (from, now));
        }
        let told = &self.told;
        self.spot = forget(&self.spot, now - KEPT, |one| told.contains_key(one));
        let priced: BTreeSet<_> = self.spot.offerings().map(|one| &one.instance_type).collect();
        new.retain(|one| !priced.contains(one));
        new
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

/// The beginning of the day, in UTC.
fn midnight(at: Timestamp) -> Timestamp {
    let second = at.as_second();
    Timestamp::from_second(second - second.rem_euclid(DAY_SECS)).unwrap_or(at)
}
