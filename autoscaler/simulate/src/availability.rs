//! How much spot capacity there is, over time.

use std::collections::BTreeMap;

use spotscale_decide::{
    cluster::{CapacityType, Offering},
    units::{InstanceType, Millis, ZoneId},
};

/// Machines of one kind that can be held at a time, from each moment on. Before the first moment as at it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Steps(Vec<(Millis, u32)>);

/// Spot capacity by machine type and zone. What is not in it is never short.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Availability(BTreeMap<(InstanceType, ZoneId), Steps>);

impl Steps {
    /// From changes in any order; of several at one moment the last counts.
    pub fn new(changes: impl IntoIterator<Item = (Millis, u32)>) -> Self {
        let sorted: BTreeMap<Millis, u32> = changes.into_iter().collect();
        let mut steps = Self::default();
        for (at, machines) in sorted {
            if steps.0.last().is_none_or(|(_, known)| *known != machines) {
                steps.0.push((at, machines));
            }
        }
        steps
    }

    /// Begun anew every `period`, up to a moment. A period of zero is none.
    pub fn repeated(&self, period: Millis, until: Millis) -> Self {
        if period == Millis::ZERO {
            return self.clone();
        }
        let begins = (0..=until.0 / period.0).map(|round| Millis(round * period.0));
        let within = |begin: Millis| {
            let kept = self.0.iter().enumerate().filter(move |(_, (at, _))| *at < period);
            // The first stands for the beginning too, or the end of the round before would last into this one.
            kept.map(move |(n, (at, machines))| {
                let at = if n == 0 { Millis::ZERO } else { *at };
                (begin.saturating_add(at), *machines)
            })
        };
        Self::new(begins.flat_map(within))
    }

    /// So many times as many.
    #[must_use]
    pub fn times(mut self, factor: u32) -> Self {
        self.0.iter_mut().for_each(|(_, machines)| *machines = machines.saturating_mul(factor));
        self
    }

    /// The changes, oldest first.
    pub fn changes(&self) -> &[(Millis, u32)] {
        &self.0
    }

    fn at(&self, now: Millis) -> u32 {
        let later = self.0.partition_point(|(at, _)| *at <= now);
        self.0.get(later.saturating_sub(1)).map_or(u32::MAX, |(_, machines)| *machines)
    }

    /// The changes after `from`, up to `to`.
    fn between(&self, from: Millis, to: Millis) -> &[(Millis, u32)] {
        let first = self.0.partition_point(|(at, _)| *at <= from);
        let end = self.0.partition_point(|(at, _)| *at <= to);
        self.0.get(first..end).unwrap_or_default()
    }
}

impl Availability {
    /// Says how it is with one type in one zone.
    pub fn set(&mut self, instance_type: InstanceType, zone: ZoneId, steps: Steps) {
        self.0.insert((instance_type, zone), steps);
    }

    /// Everything that is said.
    pub fn iter(&self) -> impl Iterator<Item = (&(InstanceType, ZoneId), &Steps)> {
        self.0.iter()
    }

    fn steps(&self, offering: &Offering) -> Option<&Steps> {
        let spot = offering.capacity_type == CapacityType::Spot;
        let known = || self.0.get(&(offering.instance_type.clone(), offering.zone.clone()));
        spot.then(known).flatten()
    }

    /// Machines of an offering that can be held now.
    pub(crate) fn now(&self, offering: &Offering, now: Millis) -> u32 {
        self.steps(offering).map_or(u32::MAX, |steps| steps.at(now))
    }

    /// Machines that can be held from now on for so long.
    pub(crate) fn lasting(&self, offering: &Offering, now: Millis, span: Millis) -> u32 {
        let drops = self.drops(offering, now, span).iter().map(|(_, machines)| *machines);
        drops.chain([self.now(offering, now)]).min().unwrap_or(u32::MAX)
    }

    /// What changes within the span that begins now.
    pub(crate) fn drops(&self, offering: &Offering, now: Millis, span: Millis) -> &[(Millis, u32)] {
        let end = now.saturating_add(span);
        self.steps(offering).map_or(&[], |steps| steps.between(now, end))
    }

    /// Is there a series of the offering?
    pub(crate) fn knows(&self, offering: &Offering) -> bool {
        self.steps(offering).is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn steps(changes: &[(u64, u32)]) -> Steps {
        Steps::new(changes.iter().map(|&(second, n)| (Millis::from_secs(second), n)))
    }

    #[test]
    fn capacity_is_as_at_the_last_change() {
        let steps = steps(&[(100, 2), (50, 4), (120, 2), (200, 0)]);
        assert_eq!(steps.changes().len(), 3, "what changes nothing is no change");
        let at = |second| steps.at(Millis::from_secs(second));
        assert_eq!([at(0), at(50), at(100), at(199), at(200)], [4, 4, 2, 2, 0]);
    }

    #[test]
    fn a_short_series_begins_anew() {
        let repeated =
            steps(&[(10, 1), (20, 0)]).repeated(Millis::from_secs(30), Millis::from_secs(70));
        let at = |second| repeated.at(Millis::from_secs(second));
        assert_eq!(
            [at(0), at(19), at(20), at(29), at(30), at(50), at(60), at(80)],
            [1, 1, 0, 0, 1, 0, 1, 0]
        );
    }

    #[test]
    fn what_is_about_to_go_cannot_be_held_any_more() {
        let mut known = Availability::default();
        let (kind, zone): (InstanceType, ZoneId) = ("g".parse().unwrap(), "a".parse().unwrap());
        known.set(kind.clone(), zone.clone(), steps(&[(0, 3), (100, 1)]));
        let spot = Offering { instance_type: kind, zone, capacity_type: CapacityType::Spot };
        let lasting =
            |second| known.lasting(&spot, Millis::from_secs(second), Millis::from_secs(20));
        assert_eq!([lasting(79), lasting(80), lasting(100)], [3, 1, 1]);
        let on_demand = Offering { capacity_type: CapacityType::OnDemand, ..spot };
        assert_eq!(known.now(&on_demand, Millis::ZERO), u32::MAX);
    }
}
