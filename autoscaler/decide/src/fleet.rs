//! How much capacity to hold as spot and how much on demand, in pods' worth of room.
//!
//! On demand = floor + (spot wanted - spot READY), the rule of `SkyServe` (arXiv 2411.01438), with two waits: a
//! gap must last before on-demand capacity takes over, and spot must be steady before it is given back.
//!
//! The first wait is for spot to get somewhere, so it begins anew with every pod's worth that becomes ready beyond the
//! most that was ready before: a fleet that grows by a node a minute always has a gap, and needs no help. Ground that
//! was lost and won back is no progress, and a gap that closes for less than the wait itself goes on where it was:
//! nodes that come and go cannot put on-demand capacity off for ever.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{cluster::CapacityType, units::Millis};

/// How a fleet is split.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FleetPolicy {
    /// Pods' worth of on-demand capacity that is held whatever spot does, as long as so many pods are wanted.
    pub on_demand_floor: u32,
    /// How long spot capacity may be missing, and get no further, before on-demand capacity takes over.
    pub fallback_after_ms: Millis,
    /// How long spot capacity must be ready before on-demand capacity is given back; where a provisioner buys, how long
    /// on-demand nodes must have carried what spot could before one of them is swapped for spot.
    pub return_after_ms: Millis,
    /// How long the replacements must have been ready before the pods of a swapped node are told to end.
    pub return_steady_ms: Millis,
    /// One node is swapped in so long.
    pub return_window_ms: Millis,
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
    /// Since when spot capacity has been missing, and has made no progress.
    pub gap_since: Option<Timestamp>,
    /// Since when none has been missing.
    pub whole_since: Option<Timestamp>,
    /// Most spot capacity, in pods, that was ready of what is wanted: more than that is progress.
    pub ready_max: u32,
    /// Pods' worth of on-demand capacity that stands in for spot.
    pub fallback: u32,
    /// While less of it would do.
    pub steady: Option<Steady>,
}

/// A span in which less on-demand capacity than there is would have done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Steady {
    /// Its start.
    pub since: Timestamp,
    /// Most spot capacity, in pods, that was missing at a time: so much on-demand capacity is kept at its end.
    pub gap_max: u32,
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
    let ready = room.spot_ready.min(spot);
    let gap = spot - ready;
    let memory = memory.follow((spot, ready), policy.fallback_after_ms, now);
    let due = memory.gap_since.is_some_and(|since| policy.fallback_after_ms.after(since) <= now);
    let mut fallback = memory.fallback.min(spot);
    if due || !spot_for_sale {
        fallback = fallback.max(gap);
    }
    let steady =
        (gap < fallback).then(|| memory.steady.unwrap_or(Steady { since: now, gap_max: 0 }));
    let steady = steady.map(|steady| Steady { gap_max: steady.gap_max.max(gap), ..steady });
    let over = steady.filter(|steady| policy.return_after_ms.after(steady.since) <= now);
    if let Some(Steady { gap_max, .. }) = over {
        fallback = gap_max;
    }
    let memory = FleetMemory { fallback, steady: steady.filter(|_| over.is_none()), ..memory };
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
    /// Follows the gap between the spot capacity that is wanted and what is ready of it.
    fn follow(self, (spot, ready): (u32, u32), grace: Millis, now: Timestamp) -> Self {
        let ready_max = self.ready_max.min(spot);
        let healed = self.whole_since.is_some_and(|since| grace.after(since) <= now);
        let waiting_since = self.gap_since.filter(|_| ready <= ready_max && !healed);
        let is_whole = ready == spot;
        Self {
            gap_since: waiting_since.or_else(|| (!is_whole).then_some(now)),
            whole_since: is_whole.then(|| self.whole_since.unwrap_or(now)),
            ready_max: ready_max.max(ready),
            ..self
        }
    }

    /// The next moment at which time alone changes the split.
    pub fn wakes_at(&self, policy: &FleetPolicy) -> Option<Timestamp> {
        let waiting_since = self.gap_since.filter(|_| self.whole_since.is_none());
        let fallback = waiting_since.map(|since| policy.fallback_after_ms.after(since));
        let back = self.steady.map(|steady| policy.return_after_ms.after(steady.since));
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
            return_steady_ms: Millis::from_secs(120),
            return_window_ms: Millis::from_secs(600),
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
    fn no_more_is_given_back_than_spot_could_do_without_all_the_time() {
        let policy = FleetPolicy::default();
        let mut story = vec![(0, 3, 0, true), (120, 3, 0, true)];
        story.extend((0..24).map(|n| (130 + n * 50, 3, if n % 2 == 0 { 3 } else { 1 }, true)));
        let on_demand = play(&policy, &story);
        assert!(on_demand[1..].iter().all(|pods| *pods >= 2), "{on_demand:?}");
        assert_eq!((on_demand[1], on_demand.last()), (3, Some(&2)));
    }

    /// What `wanted` and `ready` say for each ten seconds, played up to a second; the seconds with on-demand capacity.
    fn helped(until: i64, wanted: impl Fn(i64) -> u32, ready: impl Fn(i64) -> u32) -> Vec<i64> {
        let seconds: Vec<i64> = (0..=until).step_by(10).collect();
        let story: Vec<_> =
            seconds.iter().map(|&second| (second, wanted(second), ready(second), true)).collect();
        let on_demand = play(&FleetPolicy::default(), &story);
        seconds.into_iter().zip(on_demand).filter(|(_, pods)| *pods > 0).map(|(at, _)| at).collect()
    }

    #[test]
    fn a_fleet_that_grows_node_by_node_needs_no_help() {
        let minute = |second: i64| (second / 60) as u32;
        let never: [i64; 0] = [];
        for gap in [1, 2] {
            assert_eq!(helped(1800, |at| minute(at) + gap, minute), never, "a gap of {gap}");
        }
        assert_eq!(helped(1800, |at| minute(at) + 1 + minute(at) % 2, minute), never);
    }

    #[test]
    fn growth_that_stops_is_helped_after_the_wait() {
        let stuck = |second: i64| (second / 60).min(5) as u32;
        assert_eq!(helped(500, |_| 30, stuck), (420..=500).step_by(10).collect::<Vec<_>>());
        // More being wanted is no progress either.
        let more = |second: i64| 7 + (second / 60) as u32;
        assert_eq!(helped(500, more, stuck), (420..=500).step_by(10).collect::<Vec<_>>());
    }

    #[test]
    fn ground_won_back_is_no_progress() {
        for (low, high) in [(0, 2), (1, 2), (0, 3), (2, 3)] {
            let flaps = |second: i64| if second % 100 < 50 { low } else { high };
            let first = *helped(1000, |_| 3, flaps).first().unwrap();
            // The first time up was progress.
            assert!(first <= 50 + 50 + 120, "{low} to {high}: {first}");
        }
        let wavers = |second: i64| if second % 60 < 30 { 5 } else { 4 };
        assert_eq!(helped(200, wavers, |_| 4)[0], 120, "the wish comes and goes, not the node");
    }

    #[test]
    fn losses_that_are_healed_in_time_and_for_long_need_no_help() {
        let lost_at_times = |second: i64| if second % 300 >= 200 { 3 } else { 4 };
        assert_eq!(helped(3000, |_| 4, lost_at_times), [0_i64; 0]);
    }

    #[test]
    fn a_wish_that_shrinks_takes_the_mark_of_progress_with_it() {
        let wanted = |second: i64| if second < 100 { 10 } else { second as u32 / 60 };
        let ready = |second: i64| if second < 100 { 10 } else { second as u32 / 60 - 1 };
        assert_eq!(helped(1800, wanted, ready), [0_i64; 0]);
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
