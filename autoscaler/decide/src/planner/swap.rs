//! The way back to spot where a provisioner buys: it buys nothing while on-demand nodes carry all that is wanted, so
//! spot must be asked for. One on-demand node at a time is cordoned and its pods are surged; they go on serving until
//! their replacements have been ready for a while, so that nothing is lost whatever becomes of the attempt.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{Reason, draft::Draft};
use crate::{
    cluster::{CapacityType, Node, Pod, PodPhase, Pool},
    disruption::{Cause, Drain, Extent},
    units::{Millis, NodeName, WorkloadName},
};

/// However often spot could not be had, it is tried again after so many half-lives of a bad mark.
const HALF_LIVES_MAX: u32 = 32;

/// What is remembered of the attempts to return to spot.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SwapMemory {
    /// Since when on-demand nodes have carried what spot could.
    pub possible_since: Option<Timestamp>,
    /// The last attempt.
    pub last: Option<Swap>,
    /// Since when all that serves on a node that is given up has been replaced.
    pub replaced_since: BTreeMap<NodeName, Timestamp>,
    /// Workloads whose replacements landed on demand again.
    pub unlucky: BTreeMap<WorkloadName, Unlucky>,
}

/// An attempt to return to spot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Swap {
    /// The on-demand node that was to be replaced.
    pub node: NodeName,
    /// Since when.
    pub begun_at: Timestamp,
    /// What it carried.
    pub workloads: BTreeSet<WorkloadName>,
    /// The provisioner bought on demand again.
    pub failed: bool,
}

/// How often spot could not be had for a workload, and until when it is not asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unlucky {
    /// Attempts that failed since the last that did not.
    pub times: u32,
    /// Until when.
    pub until: Timestamp,
}

impl<'a> Draft<'a> {
    /// Holds the pods of nodes that are given up until they have been replaced for long enough.
    pub(super) fn hold_evictions(&mut self) {
        let now = self.now();
        let ready = self.ready_elsewhere();
        let replaced = |drain: &Drain<'_>| {
            let serving = self.index.pods_on(&drain.node.name).iter();
            let mut workloads = serving.filter_map(|pod| served(pod));
            workloads.all(|name| {
                let wanted = self.wanted(name);
                ready.get(name).copied().unwrap_or_default() >= wanted
            })
        };
        let given_up = |drain: &&Drain<'_>| drain.cause == Cause::Surplus;
        let known = &self.memory.swap.replaced_since;
        let since = |drain: &Drain<'_>| {
            let name = drain.node.name.clone();
            let since = known.get(&name).map_or(now, |at| (*at).min(now));
            (name, since)
        };
        let drains = self.drains.iter().filter(given_up);
        let replaced: BTreeMap<_, _> = drains.filter(|drain| replaced(drain)).map(since).collect();
        let steady = self.policy.fleet.return_steady_ms;
        let (mut refused, mut wait) = (vec![], None);
        for drain in self.drains.iter_mut().filter(|drain| drain.cause == Cause::Surplus) {
            let since = replaced.get(&drain.node.name).copied();
            let due = since.map(|since| steady.after(since));
            if due.is_none_or(|due| due > now) {
                drain.extent = Extent::NoEviction;
                wait = wait.into_iter().chain(due).min();
                let node = drain.node.name.clone();
                refused.extend(since.map(|since| Reason::AwaitingSteady { node, since }));
            }
        }
        self.memory.swap.replaced_since = replaced;
        self.plan.refused.extend(refused);
        self.wait(wait);
    }

    /// Ready pods of each workload on nodes that stay.
    fn ready_elsewhere(&self) -> BTreeMap<&'a WorkloadName, u32> {
        let mut ready = BTreeMap::new();
        if self.drains.is_empty() {
            return ready;
        }
        let usable = self.usable.iter().flat_map(|node| self.index.pods_on(&node.name));
        for name in usable.copied().filter_map(served) {
            *ready.entry(name).or_default() += 1;
        }
        ready
    }

    fn wanted(&self, workload: &WorkloadName) -> u32 {
        self.seen().workload(workload).map_or(0, |known| known.replicas_wanted.0)
    }

    /// Takes note of what the last attempt came to.
    pub(super) fn follow_swap(&mut self) {
        let now = self.now();
        let Some(mut swap) = self.memory.swap.last.take() else {
            return;
        };
        // That it is cordoned may not be seen yet.
        let goes_on = self.index.node(&swap.node).is_some_and(Node::is_alive);
        let bought_again = self.usable.iter().any(|node| {
            is_on_demand(node) && node.launched_at >= swap.begun_at && node.name != swap.node
        });
        if goes_on && bought_again && !swap.failed {
            swap.failed = true;
            for workload in &swap.workloads {
                self.be_unlucky(workload);
            }
        }
        if !goes_on && !swap.failed {
            self.memory.swap.unlucky.retain(|workload, _| !swap.workloads.contains(workload));
        }
        // A clock that was set back must not put the next attempt off.
        self.memory.swap.last = (swap.begun_at <= now).then_some(swap);
    }

    fn be_unlucky(&mut self, workload: &WorkloadName) {
        let now = self.now();
        let times = self.memory.swap.unlucky.get(workload).map_or(0, |known| known.times);
        let half_lives = 1_u32.checked_shl(times).unwrap_or(HALF_LIVES_MAX).min(HALF_LIVES_MAX);
        let wait = self.policy.offers.mark_half_life_ms.0.saturating_mul(half_lives.into());
        let unlucky = Unlucky { times: times.saturating_add(1), until: Millis(wait).after(now) };
        self.memory.swap.unlucky.insert(workload.clone(), unlucky);
    }

    /// Gives up one on-demand node for spot, when the time has come.
    pub(super) fn return_to_spot(&mut self) {
        let now = self.now();
        let Some(since) = self.return_possible_since() else {
            self.memory.swap.possible_since = None;
            return;
        };
        self.memory.swap.possible_since = Some(since);
        if self.voluntary_drains() >= self.policy.disruption.voluntary_max || !self.is_steered() {
            return;
        }
        let last = self.memory.swap.last.as_ref().map(|swap| swap.begun_at);
        let window = last.map(|at| self.policy.fleet.return_window_ms.after(at));
        let due = window.into_iter().chain([self.policy.fleet.return_after_ms.after(since)]).max();
        if due.is_some_and(|due| due > now) {
            return self.wait(due);
        }
        let Some((node, workloads)) = self.swappable() else {
            return;
        };
        let name = node.name.clone();
        self.give_up_surplus(node, vec![Reason::ReturnToSpot { node: name.clone(), since }]);
        self.memory.swap.last = Some(Swap { node: name, begun_at: now, workloads, failed: false });
    }

    /// Since when on-demand nodes carry what spot could, with nothing missing.
    fn return_possible_since(&self) -> Option<Timestamp> {
        let wanted = self.seen().replicas_wanted().0;
        let floor = self.policy.fleet.on_demand_floor.min(wanted);
        let whole = self.room.spot_ready + self.room.on_demand >= wanted;
        let possible = whole
            && self.room.on_demand > floor
            && self.memory.fleet.fallback == 0
            && self.spot_can_be_bought();
        let since = self.memory.swap.possible_since.unwrap_or(self.now());
        possible.then(|| since.min(self.now()))
    }

    /// Is spot for sale, by prices that are fresh, in a pool that may buy it?
    fn spot_can_be_bought(&self) -> bool {
        let mut pools = self.seen().provisioner.iter().flat_map(|known| &known.pools);
        let best = self.plan.ranking.best(CapacityType::Spot);
        let admits = |pool: &Pool| {
            let mut offers = self.plan.ranking.offers.iter().map(|offer| &offer.offering);
            !pool.closed
                && offers.any(|it| it.capacity_type == CapacityType::Spot && pool.admits(it))
        };
        best.is_some() && self.prices_are_fresh() && pools.any(admits)
    }

    /// The dearest on-demand node that the floor can do without, and what it carries.
    fn swappable(&mut self) -> Option<(&'a Node, BTreeSet<WorkloadName>)> {
        let wanted = self.seen().replicas_wanted().0;
        let spare = self.room.on_demand - self.policy.fleet.on_demand_floor.min(wanted);
        let (now, unlucky) = (self.now(), &self.memory.swap.unlucky);
        let waits =
            |name: &WorkloadName| unlucky.get(name).map(|it| it.until).filter(|at| *at > now);
        let mut wait: Option<Timestamp> = None;
        let mut best: Option<(u64, &Node, BTreeSet<WorkloadName>)> = None;
        for node in self.usable.iter().copied().filter(|node| is_on_demand(node)) {
            let pods = self.index.pods_on(&node.name).iter();
            let carried = pods.filter_map(|pod| pod.workload.clone());
            let carried: Vec<_> = carried.collect();
            let fits = (1..=spare as usize).contains(&carried.len());
            if !fits || !node.is_ready() || node.cordoned.is_some() {
                continue;
            }
            if let Some(until) = carried.iter().filter_map(waits).max() {
                wait = wait.into_iter().chain([until]).min();
                continue;
            }
            let price = self.snapshot.prices.get(&node.offering).map_or(0, |price| price.0);
            if best.as_ref().is_none_or(|(dearest, ..)| price > *dearest) {
                best = Some((price, node, carried.into_iter().collect()));
            }
        }
        if let (Some(until), None) = (wait, &best) {
            self.refuse(Reason::SpotNotHad { until });
            self.wait(Some(until));
        }
        best.map(|(_, node, workloads)| (node, workloads))
    }
}

fn is_on_demand(node: &Node) -> bool {
    node.offering.capacity_type == CapacityType::OnDemand
}

/// The workload that a pod serves for, if it serves.
fn served(pod: &Pod) -> Option<&WorkloadName> {
    pod.workload.as_ref().filter(|_| pod.phase == PodPhase::Ready)
}
