//! Which pods of a node that is being emptied are told to end now.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::{DisruptionPolicy, Drain, Extent, Leaving, Steps};
use crate::{
    cluster::{Pod, PodPhase, Workload},
    planner::{Action, Assumption, Reason, Step},
    units::{Millis, WorkloadName},
};

/// Adds the evictions that are due, first those that a deadline forces, then those that cost nothing, last the pods that
/// were replaced for nothing because their node stays. What is critical ends when all others on its node have ended,
/// unless a deadline forces it.
pub(super) fn due(policy: &DisruptionPolicy, leaving: &Leaving<'_>, steps: &mut Steps) {
    let now = leaving.seen().at;
    let mut tally = Tally::of(leaving);
    let last_call = |drain: &Drain<'_>, pod: &Pod| last_call(policy, drain, pod);
    let (forced, free): (Vec<_>, Vec<_>) =
        leaving.pods().partition(|(drain, pod)| last_call(drain, pod).is_some_and(|at| at <= now));
    steps.steps.extend(forced.iter().map(|(drain, pod)| tally.force(now, drain, pod)));
    for (drain, pod) in free {
        let held = drain.extent == Extent::NoEviction && tally.serving(pod).is_some();
        if leaving.outlasts(drain, pod) {
            let (pod, node) = (pod.name.clone(), drain.node.name.clone());
            steps.refused.push(Reason::CriticalLast { pod, node });
        } else if tally.may_go(pod) && !held {
            steps.steps.push(tally.release(now, drain, pod));
            continue;
        } else {
            waiting(drain, steps);
        }
        steps.wait_until = steps.wait_until.into_iter().chain(last_call(drain, pod)).min();
    }
    for pod in left_over(leaving) {
        if tally.spares(pod) {
            let assumes = tally.take(pod);
            let reasons = vec![tally.because(pod)];
            steps.steps.push(Step { action: evict(None, pod, false), assumes, reasons });
        }
    }
}

/// The pods that are surged, and whose node is not emptied any more.
fn left_over<'a>(leaving: &'a Leaving<'_>) -> impl Iterator<Item = &'a Pod> {
    let alive = |pod: &&Pod| pod.surged && pod.phase != PodPhase::Terminating;
    let leaves = |pod: &Pod| pod.node.as_ref().is_some_and(|node| leaving.nodes.contains(node));
    leaving.seen().pods.iter().filter(alive).filter(move |pod| !leaves(pod))
}

/// The last moment at which the pod can be told to end and have its grace.
fn last_call(policy: &DisruptionPolicy, drain: &Drain<'_>, pod: &Pod) -> Option<Timestamp> {
    let needs = Millis::saturating_add(pod.grace_ms, policy.evict_margin_ms);
    drain.deadline().map(|deadline| needs.before(deadline))
}

/// How many pods of each workload would serve after the steps so far.
struct Tally<'a>(BTreeMap<&'a WorkloadName, Serving>);

#[derive(Clone, Copy)]
struct Serving {
    ready: u32,
    wanted: u32,
    /// Those that stay are enough, so that no replacement was asked for.
    enough_stay: bool,
}

impl<'a> Tally<'a> {
    fn of(leaving: &Leaving<'a>) -> Self {
        let serving = |workload: &'a Workload| {
            let serving = Serving {
                ready: leaving.index.ready(&workload.name),
                wanted: workload.replicas_wanted.0,
                enough_stay: leaving.enough_stay(workload),
            };
            (&workload.name, serving)
        };
        Self(leaving.seen().workloads.iter().map(serving).collect())
    }

    /// What the pod serves for, if it serves.
    fn serving(&self, pod: &Pod) -> Option<Serving> {
        let ready = pod.phase == PodPhase::Ready;
        pod.workload.as_ref().filter(|_| ready).and_then(|name| self.0.get(name)).copied()
    }

    /// Can the pod go and as many serve as are wanted?
    fn spares(&self, pod: &Pod) -> bool {
        self.serving(pod).is_none_or(|serving| serving.ready > serving.wanted)
    }

    /// Can it go, and has all been done that is done first?
    fn may_go(&self, pod: &Pod) -> bool {
        let replaced = |serving: Serving| pod.surged || serving.enough_stay;
        self.serving(pod).is_none_or(replaced) && self.spares(pod)
    }

    fn force(&mut self, now: Timestamp, drain: &Drain<'_>, pod: &Pod) -> Step {
        let mut reasons = vec![drain.reason(now)];
        let spared = self.spares(pod);
        let assumes = self.take(pod);
        reasons.push(match (drain.deadline(), self.serving(pod)) {
            (Some(deadline), Some(Serving { ready: left, wanted, .. })) if !spared => {
                Reason::DeadlineForces { deadline, left, wanted }
            }
            _ => self.because(pod),
        });
        // The deadline leaves no choice, so how many serve is not asked again.
        let assumes = assumes.into_iter().take(1).collect();
        Step { action: evict(drain.deadline(), pod, true), assumes, reasons }
    }

    fn release(&mut self, now: Timestamp, drain: &Drain<'_>, pod: &Pod) -> Step {
        let assumes = self.take(pod);
        let reasons = vec![drain.reason(now), self.because(pod)];
        Step { action: evict(drain.deadline(), pod, false), assumes, reasons }
    }

    fn because(&self, pod: &Pod) -> Reason {
        match self.serving(pod) {
            Some(Serving { ready, wanted, .. }) => Reason::Replaced { ready, wanted },
            None => Reason::NotServing { pod: pod.name.clone() },
        }
    }

    /// Counts the pod out; what its eviction takes for granted.
    fn take(&mut self, pod: &Pod) -> Vec<Assumption> {
        let alive = Assumption::PodAlive { pod: pod.name.clone() };
        let Some((workload, serving)) = pod.workload.as_ref().zip(self.serving(pod)) else {
            return vec![alive];
        };
        if let Some(left) = self.0.get_mut(workload) {
            left.ready -= 1;
        }
        let pods_min = serving.wanted.saturating_add(1);
        vec![alive, Assumption::Serving { workload: workload.clone(), pods_min }]
    }
}

fn waiting(drain: &Drain<'_>, steps: &mut Steps) {
    let node = drain.node.name.clone();
    match steps.refused.last_mut() {
        Some(Reason::AwaitingReplacement { node: same, pods }) if *same == node => *pods += 1,
        _ => steps.refused.push(Reason::AwaitingReplacement { node, pods: 1 }),
    }
}

fn evict(by: Option<Timestamp>, pod: &Pod, force: bool) -> Action {
    Action::Evict { pod: pod.name.clone(), by, force }
}
