//! Which pods of a node that is being emptied are told to end now.

use jiff::Timestamp;

use super::{DisruptionPolicy, Drain, Steps, enough_stay, leaving};
use crate::{
    cluster::{Observation, Pod, PodPhase},
    planner::{Action, Assumption, Reason, Step},
    units::Millis,
};

/// Adds the evictions that are due, first those that a deadline forces, then those that cost nothing.
pub(super) fn due(
    policy: &DisruptionPolicy,
    seen: &Observation,
    drains: &[Drain<'_>],
    steps: &mut Steps,
) {
    let mut tally = Tally::of(seen);
    let replaceable = enough_stay(seen, drains);
    let last_call = |drain: &Drain<'_>, pod: &Pod| last_call(policy, drain, pod);
    let (forced, free): (Vec<_>, Vec<_>) = leaving(seen, drains)
        .partition(|(drain, pod)| last_call(drain, pod).is_some_and(|at| at <= seen.at));
    steps.steps.extend(forced.iter().map(|(drain, pod)| tally.force(seen.at, drain, pod)));
    for (drain, pod) in free {
        let may_go = pod.surged || replaceable || pod.phase != PodPhase::Ready;
        if may_go && tally.spares(pod) {
            steps.steps.push(tally.release(seen.at, drain, pod));
        } else {
            waiting(drain, steps);
            steps.wait_until = steps.wait_until.into_iter().chain(last_call(drain, pod)).min();
        }
    }
}

/// The last moment at which the pod can be told to end and have its grace.
fn last_call(policy: &DisruptionPolicy, drain: &Drain<'_>, pod: &Pod) -> Option<Timestamp> {
    let needs = Millis::saturating_add(pod.grace_ms, policy.evict_margin_ms);
    drain.deadline().map(|deadline| needs.before(deadline))
}

/// How many pods would serve after the steps so far.
struct Tally {
    ready: u32,
    wanted: u32,
}

impl Tally {
    fn of(seen: &Observation) -> Self {
        let ready = seen.pods.iter().filter(|pod| pod.phase == PodPhase::Ready).count();
        Self { ready: u32::try_from(ready).unwrap_or(u32::MAX), wanted: seen.replicas_wanted.0 }
    }

    /// Can the pod go and as many serve as are wanted?
    fn spares(&self, pod: &Pod) -> bool {
        pod.phase != PodPhase::Ready || self.ready > self.wanted
    }

    fn force(&mut self, now: Timestamp, drain: &Drain<'_>, pod: &Pod) -> Step {
        let mut reasons = vec![drain.reason(now)];
        let spared = self.spares(pod);
        let assumes = self.take(pod);
        let Self { ready: left, wanted } = *self;
        reasons.push(match drain.deadline() {
            Some(deadline) if !spared => Reason::DeadlineForces { deadline, left, wanted },
            _ => self.because(pod),
        });
        // The deadline leaves no choice, so how many serve is not asked again.
        let assumes = assumes.into_iter().take(1).collect();
        Step { action: evict(drain, pod), assumes, reasons }
    }

    fn release(&mut self, now: Timestamp, drain: &Drain<'_>, pod: &Pod) -> Step {
        let assumes = self.take(pod);
        let reasons = vec![drain.reason(now), self.because(pod)];
        Step { action: evict(drain, pod), assumes, reasons }
    }

    fn because(&self, pod: &Pod) -> Reason {
        match pod.phase {
            PodPhase::Ready => Reason::Replaced { ready: self.ready, wanted: self.wanted },
            _ => Reason::NotServing { pod: pod.name.clone() },
        }
    }

    /// Counts the pod out; what its eviction takes for granted.
    fn take(&mut self, pod: &Pod) -> Vec<Assumption> {
        let alive = Assumption::PodAlive { pod: pod.name.clone() };
        if pod.phase != PodPhase::Ready {
            return vec![alive];
        }
        self.ready -= 1;
        let pods_min = self.wanted.saturating_add(1);
        vec![alive, Assumption::Serving { pods_min }]
    }
}

fn waiting(drain: &Drain<'_>, steps: &mut Steps) {
    let node = drain.node.name.clone();
    match steps.refused.last_mut() {
        Some(Reason::AwaitingReplacement { node: same, pods }) if *same == node => *pods += 1,
        _ => steps.refused.push(Reason::AwaitingReplacement { node, pods: 1 }),
    }
}

fn evict(drain: &Drain<'_>, pod: &Pod) -> Action {
    Action::Evict { pod: pod.name.clone(), by: drain.deadline() }
}
