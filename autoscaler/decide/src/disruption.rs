//! Emptying a node without losing a request: nothing new is placed there, replacements are asked for while the old
//! pods still serve, and a pod is told to end when another does its work, or when the deadline less its own grace has
//! come. Every step follows from what is seen, so that a restart in the middle goes on where it was.

mod evict;
mod moves;
mod policy;

use std::collections::{BTreeMap, BTreeSet};

pub use self::{
    moves::Moves,
    policy::{DisruptionPolicy, OnInterruption, Reaction},
};
use crate::{
    cluster::{CordonCause, Index, Node, NoticeKind, Observation, Pod, PodPhase, Workload},
    planner::{Action, Assumption, Reason, Step},
    units::{NodeName, WorkloadName},
};
use jiff::Timestamp;

/// The taint of a node that is about to be taken away: nothing new is scheduled there, and fronts choose no pod of it.
pub const INTERRUPTION_TAINT: &str = "spotscale.dev/interruption";

/// A node that is to be emptied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Drain<'a> {
    /// The node.
    pub node: &'a Node,
    /// Why.
    pub cause: Cause,
    /// What is done of it now.
    pub extent: Extent,
}

/// How far a node is emptied now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Extent {
    /// Nothing new is placed there.
    Cordon,
    /// Nor is a replacement asked for: it would come to the same place.
    NoSurge,
    /// Replacements are asked for, and no pod that serves is told to end.
    NoEviction,
    /// All that there is to do.
    Full,
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
/// about a node that was never ours is [`Reason::UnknownNode`]. `moves` is what was left lately.
pub fn drains<'a>(
    policy: &DisruptionPolicy,
    index: &Index<'a>,
    moves: &Moves,
) -> (Vec<Drain<'a>>, Vec<Reason>) {
    let (causes, mut refused) = causes(policy, index);
    let drain = |node: &'a Node| {
        let surplus = (node.cordoned == Some(CordonCause::Surplus)).then_some(Cause::Surplus);
        let cause = causes.get(&node.name).copied().or(surplus)?;
        Some(Drain { node, cause, extent: policy.extent(cause) })
    };
    let alive = index.seen.nodes.iter().filter(|node| node.is_alive());
    let mut drains: Vec<_> = alive.filter_map(drain).collect();
    drains.sort_by_key(|drain| (drain.cause, drain.node.cordoned.is_none(), &drain.node.name));
    let mut voluntary = drains.iter().filter(|drain| drain.is_begun_voluntarily()).count();
    drains.retain(|drain| {
        if !drain.is_choice() {
            return true;
        }
        let refusal = moves.refusal(drain.node).or_else(|| {
            let node = drain.node.name.clone();
            (voluntary >= policy.voluntary_max).then_some(Reason::DrainBudget { node })
        });
        voluntary += usize::from(refusal.is_none());
        refused.extend(refusal.clone());
        refusal.is_none()
    });
    (drains, refused)
}

fn causes<'a>(
    policy: &DisruptionPolicy,
    index: &Index<'a>,
) -> (BTreeMap<&'a NodeName, Cause>, Vec<Reason>) {
    let mut causes = BTreeMap::new();
    let mut unknown = BTreeSet::new();
    for notice in &index.seen.notices {
        if !policy.heeds(notice.kind) {
            continue;
        }
        let cause = match notice.kind {
            NoticeKind::Interruption { deadline } => Cause::Interruption { deadline },
            NoticeKind::Maintenance { deadline } => Cause::Maintenance { deadline },
            NoticeKind::Rebalance => Cause::Rebalance,
        };
        let most_pressing = causes.entry(&notice.node).or_insert(cause);
        *most_pressing = cause.min(*most_pressing);
        if index.node(&notice.node).is_none() {
            unknown.insert(&notice.node);
        }
    }
    let unknown = unknown.into_iter().map(|node| Reason::UnknownNode { node: node.clone() });
    (causes, unknown.collect())
}

/// The steps that are due for these drains.
pub fn steps(policy: &DisruptionPolicy, index: &Index<'_>, drains: &[Drain<'_>]) -> Steps {
    let mut steps = Steps::default();
    let now = index.seen.at;
    let leaving = Leaving::of(index, drains);
    steps.steps.extend(index.seen.nodes.iter().filter_map(|node| uncordon(policy, index, node)));
    steps.steps.extend(drains.iter().filter_map(|drain| drain.cordon(now)));
    steps.steps.extend(surges(&leaving));
    evict::due(policy, &leaving, &mut steps);
    steps
}

/// A node whose notice was withdrawn, or is no longer heeded, is good again.
fn uncordon(policy: &DisruptionPolicy, index: &Index<'_>, node: &Node) -> Option<Step> {
    if !node.is_alive() || node.cordoned != Some(CordonCause::Notice) {
        return None;
    }
    let stands = index.notices(&node.name).iter().any(|kind| policy.heeds(*kind));
    let node = node.name.clone();
    (!stands).then(|| Step {
        action: Action::Uncordon { node: node.clone() },
        assumes: vec![Assumption::NodeAlive { node: node.clone() }],
        reasons: vec![Reason::NoticeWithdrawn { node }],
    })
}

/// What leaves with these drains, and what stays.
struct Leaving<'a> {
    index: &'a Index<'a>,
    drains: &'a [Drain<'a>],
    nodes: BTreeSet<&'a NodeName>,
    /// Pods of each workload, ready or not, on nodes that stay.
    staying: BTreeMap<&'a WorkloadName, u32>,
}

impl<'a> Leaving<'a> {
    fn of(index: &'a Index<'a>, drains: &'a [Drain<'a>]) -> Self {
        let leaving = drains.iter().filter(|drain| drain.leaves());
        let nodes: BTreeSet<_> = leaving.map(|drain| &drain.node.name).collect();
        let mut staying = BTreeMap::new();
        let stays = |pod: &&Pod| {
            let leaves = pod.node.as_ref().is_some_and(|node| nodes.contains(node));
            pod.phase != PodPhase::Terminating && !leaves
        };
        if !drains.is_empty() {
            for pod in index.seen.pods.iter().filter(stays) {
                if let Some(workload) = &pod.workload {
                    *staying.entry(workload).or_default() += 1;
                }
            }
        }
        Self { index, drains, nodes, staying }
    }

    fn seen(&self) -> &'a Observation {
        self.index.seen
    }

    /// Are the pods that stay as many as are wanted?
    fn enough_stay(&self, workload: &Workload) -> bool {
        let staying = self.staying.get(&workload.name).copied().unwrap_or_default();
        staying >= workload.replicas_wanted.0
    }

    /// Does the pod end after others that are still on its node?
    fn outlasts(&self, drain: &Drain<'_>, pod: &Pod) -> bool {
        let mut beside = self.index.pods_on(&drain.node.name).iter();
        pod.critical && beside.any(|other| !other.critical)
    }

    /// The pods that are to be replaced or told to end, and have not been told to end.
    fn pods(&self) -> impl Iterator<Item = (&'a Drain<'a>, &'a Pod)> {
        let emptied = self.drains.iter().filter(|drain| drain.extent != Extent::Cordon);
        emptied.flat_map(|drain| {
            let pods = self.index.pods_on(&drain.node.name).iter().copied();
            let alive = pods.filter(|pod| pod.phase != PodPhase::Terminating);
            alive.map(move |pod| (drain, pod))
        })
    }
}

/// A replacement for every pod that serves, unless the pods that stay are as many as are wanted anyway.
fn surges(leaving: &Leaving<'_>) -> Vec<Step> {
    let seen = leaving.seen();
    let surge = |drain: &Drain<'_>, pod: &Pod| Step {
        action: Action::Surge { pod: pod.name.clone() },
        assumes: vec![Assumption::PodAlive { pod: pod.name.clone() }],
        reasons: vec![drain.reason(seen.at), Reason::ReplacementFirst { pod: pod.name.clone() }],
    };
    let short: BTreeSet<_> =
        seen.workloads.iter().filter(|w| !leaving.enough_stay(w)).map(|w| &w.name).collect();
    leaving
        .pods()
        .filter(|(drain, pod)| {
            drain.extent != Extent::NoSurge && pod.phase == PodPhase::Ready && !pod.surged
        })
        .filter(|(_, pod)| pod.workload.as_ref().is_some_and(|name| short.contains(name)))
        .map(|(drain, pod)| surge(drain, pod))
        .collect()
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

    /// Will what it carries be gone, whoever ends it?
    pub fn leaves(&self) -> bool {
        self.extent != Extent::Cordon || self.deadline().is_some()
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

    /// Nothing forces it, and it costs a replacement.
    fn is_voluntary(&self) -> bool {
        self.deadline().is_none() && self.extent != Extent::Cordon
    }

    fn is_begun_voluntarily(&self) -> bool {
        self.node.cordoned.is_some() && self.is_voluntary()
    }

    /// May it still be left undone?
    fn is_choice(&self) -> bool {
        self.node.cordoned.is_none() && self.is_voluntary()
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
