//! How much capacity to hold as spot and how much on demand, in pods' worth of room.
//!
//! On demand = floor + (spot wanted - spot READY), the rule of `SkyServe` (arXiv 2411.01438), with two waits: a
//! gap must last before on-demand capacity takes over, and spot must be steady before it is given back.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{cluster::CapacityType, units::Millis};

/// How a fleet is split.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FleetPolicy {
    /// Pods' worth of on-demand capacity that is held whatever spot does, as long as so many pods are wanted.
    pub on_demand_floor: u32,
    /// How long spot capacity may be missing before on-demand capacity takes over.
    pub fallback_after_ms: Millis,
    /// How long spot capacity must be ready before on-demand capacity is given back.
    pub return_after_ms: Millis,
}

/// What is there.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Room {
    /// Spot capacity, in pods, launched or ready.
    pub spot: u32,
    /// Spot capacity, in pods, that is ready.
    pub spot_ready: u32,
    /// On-demand capacity, in pods, launched or ready.
    pub on_demand: u32,
}

/// What should be there.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Split {
    /// Spot capacity, in pods.
    pub spot: u32,
    /// On-demand capacity, in pods.
    pub on_demand: u32,
}

/// How long things have been as they are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FleetMemory {
    /// Since when spot capacity has been missing.
    pub gap_since: Option<Timestamp>,
    /// Pods' worth of on-demand capacity that stands in for spot.
    pub fallback: u32,
    /// Since when less of it would have done.
    pub steady_since: Option<Timestamp>,
}

/// Splits `wanted` pods. `spot_for_sale` is whether any spot offer can be bought: if none can, there is nothing to wait
/// for.
pub fn split(
    policy: &FleetPolicy,
    (wanted, room, spot_for_sale): (u32, Room, bool),
    memory: FleetMemory,
    now: Timestamp,
) -> (Split, FleetMemory) {
    let floor = policy.on_demand_floor.min(wanted);
    let spot = wanted - floor;
    let gap = spot.saturating_sub(room.spot_ready);
    let gap_since = (gap > 0).then(|| memory.gap_since.unwrap_or(now));
    let due = gap_since.is_some_and(|since| policy.fallback_after_ms.after(since) <= now);
    let mut fallback = memory.fallback.min(spot);
    if due || !spot_for_sale {
        fallback = fallback.max(gap);
    }
    let steady_since = (gap < fallback).then(|| memory.steady_since.unwrap_or(now));
    let steady = steady_since.is_some_and(|since| policy.return_after_ms.after(since) <= now);
    if steady {
        fallback = gap;
    }
    let memory =
        FleetMemory { gap_since, fallback, steady_since: steady_since.filter(|_| !steady) };
    (Split { spot, on_demand: floor + fallback }, memory)
}

// === impl Split ===

impl Split {
    /// The capacity of a kind.
    pub const fn of(&self, capacity_type: CapacityType) -> u32 {
        match capacity_type {
            CapacityType::Spot => self.spot,
            CapacityType::OnDemand => self.on_demand,
        }
    }
}

// === impl FleetMemory ===

impl FleetMemory {
    /// The next moment at which time alone changes the split.
    pub fn wakes_at(&self, policy: &FleetPolicy) -> Option<Timestamp> {
        let fallback = self.gap_since.map(|since| policy.fallback_after_ms.after(since));
        let back = self.steady_since.map(|since| policy.return_after_ms.after(since));
        fallback.into_iter().chain(back).min()
    }
}

impl Default for FleetPolicy {
    fn default() -> Self {
        Self {
            on_demand_floor: 0,
            // A spot machine takes one to three minutes to become ready.
            fallback_after_ms: Millis::from_secs(120),
            return_after_ms: Millis::from_secs(300),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::at;

    /// Plays (second, wanted, spot ready, for sale) and returns the on-demand capacity wanted each time.
    fn play(policy: &FleetPolicy, days: &[(i64, u32, u32, bool)]) -> Vec<u32> {
        let mut memory = FleetMemory::default();
        let mut step = |&(second, wanted, ready, for_sale): &(i64, u32, u32, bool)| {
            let room = Room { spot: ready, spot_ready: ready, on_demand: 0 };
            let (split, next) = split(policy, (wanted, room, for_sale), memory, at(second));
            memory = next;
            split.on_demand
        };
        days.iter().map(&mut step).collect()
    }

    #[test]
    fn a_gap_must_last_and_the_return_must_be_steady() {
        let story = [
            (0, 4, 4, true),
            (10, 4, 1, true),
            (129, 4, 1, true),
            (130, 4, 1, true),
            (140, 4, 4, true),
            (150, 4, 3, true),
            (439, 4, 3, true),
            (440, 4, 3, true),
            (441, 4, 4, true),
            (741, 4, 4, true),
        ];
        assert_eq!(play(&FleetPolicy::default(), &story), [0, 0, 0, 3, 3, 3, 3, 1, 1, 0]);
    }

    #[test]
    fn a_spot_node_that_comes_and_goes_changes_nothing() {
        let policy = FleetPolicy::default();
        let mut story = vec![(0, 2, 0, true), (120, 2, 0, true)];
        story.extend((0..20).map(|n| (130 + n * 100, 2, if n % 2 == 0 { 2 } else { 0 }, true)));
        let on_demand = play(&policy, &story);
        assert!(on_demand[1..].iter().all(|pods| *pods == 2), "{on_demand:?}");
    }

    #[test]
    fn without_spot_for_sale_nothing_is_waited_for() {
        assert_eq!(play(&FleetPolicy::default(), &[(0, 3, 1, false)]), [2]);
    }

    #[test]
    fn the_floor_is_held_while_pods_are_wanted() {
        let policy = FleetPolicy { on_demand_floor: 2, ..FleetPolicy::default() };
        let story = [(0, 5, 3, true), (1, 1, 3, true), (2, 0, 3, true)];
        assert_eq!(play(&policy, &story), [2, 1, 0]);
    }
}
