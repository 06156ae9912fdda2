//! Emptying a node without losing a request: nothing new is placed there, replacements are asked for while the old
//! pods still serve, and a pod is told to end when another does its work, or when the deadline less its own grace has
//! come. Every step follows from what is seen, so that a restart in the middle goes on where it was.

mod evict;

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{
    cluster::{CordonCause, Node, NoticeKind, Observation, Pod, PodPhase, Workload},
    planner::{Action, Assumption, Reason, Step},
    units::{Millis, NodeName},
};

/// The taint of a node that is about to be taken away: nothing new is scheduled there, and fronts choose no pod of it.
pub const INTERRUPTION_TAINT: &str = "spotscale.dev/interruption";

/// How nodes are emptied.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DisruptionPolicy {
    /// A forced eviction comes so long before the last moment: for the tick, the network and the kubelet.
    pub evict_margin_ms: Millis,
    /// Nodes that are emptied at once when nothing forces it.
    pub voluntary_max: usize,
}

/// A node that is to be emptied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Drain<'a> {
    /// The node.
    pub node: &'a Node,
    /// Why.
    pub cause: Cause,
}

/// Why a node is emptied; the most pressing first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Cause {
    /// The provider takes it.
    Interruption {
        /// When.
        deadline: Timestamp,
    },
    /// The provider restarts or retires it.
    Maintenance {
        /// When.
        deadline: Timestamp,
    },
    /// The provider advises to leave it.
    Rebalance,
    /// There is too much of its kind, and we began to empty it, perhaps before a restart.
    Surplus,
}

/// What to do about the drains.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Steps {
    /// In order.
    pub steps: Vec<Step>,
    /// What waits, and for what.
    pub refused: Vec<Reason>,
    /// When the next pod must be told to end.
    pub wait_until: Option<Timestamp>,
}

/// The nodes to be emptied, the most pressing first, and what is not done about the notices.
///
/// Of several notices about a node the most pressing counts. A notice about a node that has ended is settled, one
/// about a node that was never ours is [`Reason::UnknownNode`].
pub fn drains<'a>(
    policy: &DisruptionPolicy,
    seen: &'a Observation,
) -> (Vec<Drain<'a>>, Vec<Reason>) {
    let (causes, mut refused) = causes(seen);
    let mut drains: Vec<_> = seen
        .nodes
        .iter()
        .filter(|node| node.is_alive())
        .filter_map(|node| {
            let surplus = (node.cordoned == Some(CordonCause::Surplus)).then_some(Cause::Surplus);
            let cause = causes.get(&node.name).copied().or(surplus)?;
            Some(Drain { node, cause })
        })
        .collect();
    drains.sort_by_key(|drain| (drain.cause, drain.node.cordoned.is_none(), &drain.node.name));
    let mut voluntary = drains.iter().filter(|drain| drain.is_begun_voluntarily()).count();
    drains.retain(|drain| {
        if drain.deadline().is_some() || drain.node.cordoned.is_some() {
            return true;
        }
        voluntary += 1;
        let fits = voluntary <= policy.voluntary_max;
        if !fits {
            refused.push(Reason::DrainBudget { node: drain.node.name.clone() });
        }
        fits
    });
    (drains, refused)
}

fn causes(seen: &Observation) -> (BTreeMap<&NodeName, Cause>, Vec<Reason>) {
    let mut causes = BTreeMap::new();
    let mut refused = vec![];
    for notice in &seen.notices {
        let cause = match notice.kind {
            NoticeKind::Interruption { deadline } => Cause::Interruption { deadline },
            NoticeKind::Maintenance { deadline } => Cause::Maintenance { deadline },
            NoticeKind::Rebalance => Cause::Rebalance,
        };
        let most_pressing = causes.entry(&notice.node).or_insert(cause);
        *most_pressing = cause.min(*most_pressing);
    }
    for name in causes.keys() {
        if !seen.nodes.iter().any(|node| &node.name == *name) {
            refused.push(Reason::UnknownNode { node: (*name).clone() });
        }
    }
    (causes, refused)
}

/// The steps that are due for these drains.
pub fn steps(policy: &DisruptionPolicy, seen: &Observation, drains: &[Drain<'_>]) -> Steps {
    let mut steps = Steps::default();
    steps.steps.extend(seen.nodes.iter().filter_map(|node| uncordon(seen, node)));
    steps.steps.extend(drains.iter().filter_map(|drain| drain.cordon(seen.at)));
    steps.steps.extend(surges(seen, drains));
    evict::due(policy, seen, drains, &mut steps);
    steps
}

/// A node whose notice was withdrawn is good again.
fn uncordon(seen: &Observation, node: &Node) -> Option<Step> {
    let noticed = seen.notices.iter().any(|notice| notice.node == node.name);
    let good = node.is_alive() && node.cordoned == Some(CordonCause::Notice) && !noticed;
    let node = node.name.clone();
    good.then(|| Step {
        action: Action::Uncordon { node: node.clone() },
        assumes: vec![Assumption::NodeAlive { node: node.clone() }],
        reasons: vec![Reason::NoticeWithdrawn { node }],
    })
}

/// A replacement for every pod that serves, unless the pods that stay are as many as are wanted anyway.
fn surges(seen: &Observation, drains: &[Drain<'_>]) -> Vec<Step> {
    let surge = |drain: &Drain<'_>, pod: &Pod| Step {
        action: Action::Surge { pod: pod.name.clone() },
        assumes: vec![Assumption::PodAlive { pod: pod.name.clone() }],
        reasons: vec![drain.reason(seen.at), Reason::ReplacementFirst { pod: pod.name.clone() }],
    };
    let short: BTreeSet<_> =
        seen.workloads.iter().filter(|w| !enough_stay(seen, drains, w)).map(|w| &w.name).collect();
    leaving(seen, drains)
        .filter(|(_, pod)| pod.phase == PodPhase::Ready && !pod.surged)
        .filter(|(_, pod)| pod.workload.as_ref().is_some_and(|name| short.contains(name)))
        .map(|(drain, pod)| surge(drain, pod))
        .collect()
}

/// Are the workload's pods on nodes that stay, ready or not, as many as are wanted?
fn enough_stay(seen: &Observation, drains: &[Drain<'_>], workload: &Workload) -> bool {
    let leaves: BTreeSet<_> = drains.iter().map(|drain| &drain.node.name).collect();
    let stays = |pod: &&Pod| {
        let leaves = pod.node.as_ref().is_some_and(|node| leaves.contains(node));
        pod.workload.as_ref() == Some(&workload.name)
            && pod.phase != PodPhase::Terminating
            && !leaves
    };
    seen.pods.iter().filter(stays).count() >= workload.replicas_wanted.0 as usize
}

/// The pods on these nodes that have not been told to end.
fn leaving<'a>(
    seen: &'a Observation,
    drains: &'a [Drain<'a>],
) -> impl Iterator<Item = (&'a Drain<'a>, &'a Pod)> {
    drains.iter().flat_map(move |drain| {
        let alive = |pod: &&Pod| pod.phase != PodPhase::Terminating;
        seen.pods_on(&drain.node.name).filter(alive).map(move |pod| (drain, pod))
    })
}

// === impl DisruptionPolicy ===

impl Default for DisruptionPolicy {
    fn default() -> Self {
        Self { evict_margin_ms: Millis::from_secs(5), voluntary_max: 1 }
    }
}

// === impl Drain ===

impl Drain<'_> {
    /// When the provider takes the node, if it said so.
    pub fn deadline(&self) -> Option<Timestamp> {
        match self.cause {
            Cause::Interruption { deadline } | Cause::Maintenance { deadline } => Some(deadline),
            Cause::Rebalance | Cause::Surplus => None,
        }
    }

    /// Why, for a step.
    pub fn reason(&self, now: Timestamp) -> Reason {
        let node = self.node.name.clone();
        match self.cause {
            Cause::Interruption { deadline } | Cause::Maintenance { deadline }
                if deadline <= now =>
            {
                Reason::PastDeadline { node, deadline }
            }
            Cause::Interruption { deadline } => Reason::Interruption { node, deadline },
            Cause::Maintenance { deadline } => Reason::Maintenance { node, deadline },
            Cause::Rebalance => Reason::Rebalance { node },
            Cause::Surplus => Reason::GivenUp { node },
        }
    }

    fn is_begun_voluntarily(&self) -> bool {
        self.node.cordoned.is_some() && self.deadline().is_none()
    }

    fn cordon(&self, now: Timestamp) -> Option<Step> {
        let node = self.node.name.clone();
        self.node.cordoned.is_none().then(|| Step {
            action: Action::Cordon { node: node.clone(), cause: CordonCause::Notice },
            assumes: vec![Assumption::NodeAlive { node }],
            reasons: vec![self.reason(now)],
        })
    }
}
