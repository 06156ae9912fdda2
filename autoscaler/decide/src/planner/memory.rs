//! What the planner remembers from one plan to the next. Losing it is harmless: an action may be asked for twice, and
//! the waiting times begin anew.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{Action, Policy, swap::SwapMemory, waits::Waits};
use crate::{
    cluster::{CapacityType, Index, Node, Offering},
    disruption::Moves,
    fleet::FleetMemory,
    offers::{Marks, Measurement, OfferPolicy},
    pairs,
    units::{InstanceType, NodeName, PoolName},
};

/// What the planner remembers.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Memory {
    /// What was asked for and when, until the cluster should show it.
    #[serde(with = "pairs")]
    pub asked: BTreeMap<Action, Timestamp>,
    /// What went wrong with each offering.
    pub marks: Marks,
    /// Nodes whose interruption is marked.
    pub interrupted: BTreeSet<NodeName>,
    /// Nodes whose rebalance recommendation is marked.
    pub rebalanced: BTreeSet<NodeName>,
    /// Nodes that were given up because they never became ready, whose offerings are marked for it.
    #[serde(default)]
    pub never_ready: BTreeSet<NodeName>,
    /// What was left lately on a mere recommendation.
    #[serde(default)]
    pub moves: Moves,
    /// How long machines have kept us waiting.
    #[serde(default)]
    pub waits: Waits,
    /// Since when nodes have run nothing.
    pub empty_since: BTreeMap<NodeName, Timestamp>,
    /// How long the fleet has been as it is.
    pub fleet: FleetMemory,
    /// When each pool of the provisioner was steered last.
    #[serde(default)]
    pub steered: BTreeMap<PoolName, Timestamp>,
    /// The attempts to return to spot where a provisioner buys.
    #[serde(default)]
    pub swap: SwapMemory,
    /// What machines were seen to answer.
    #[serde(default)]
    pub measured: BTreeMap<InstanceType, Measurement>,
    /// Machines asked for so far; it numbers their names.
    pub launches: u32,
}

impl Memory {
    /// The provider had none of this. Another spot offering is tried at once; on demand, the last resort, it is asked
    /// again after the usual wait.
    pub fn no_capacity(&mut self, policy: &OfferPolicy, launch: &Action, now: Timestamp) {
        if let Action::Launch { offering, .. } = launch {
            self.mark(policy, offering, 1.0, now);
            if offering.capacity_type == CapacityType::Spot {
                self.asked.remove(launch);
            }
        }
    }

    /// The provider turns out to have taken one of these without a word.
    pub fn taken(&mut self, policy: &OfferPolicy, offering: &Offering, now: Timestamp) {
        self.mark(policy, offering, 1.0, now);
    }

    /// The action was not even tried: it may be planned again at once.
    pub fn dropped(&mut self, action: &Action) {
        self.asked.remove(action);
    }

    pub(super) fn mark(
        &mut self,
        policy: &OfferPolicy,
        offering: &Offering,
        weight: f64,
        now: Timestamp,
    ) {
        self.marks.add(offering, weight, policy.mark_half_life_ms, now);
    }

    /// Drops what the observation has overtaken.
    pub(super) fn forget(&mut self, policy: &Policy, index: &Index<'_>) {
        let now = index.seen.at;
        let listed = |name: &NodeName| index.node(name).is_some();
        self.asked.retain(|action, asked_at| {
            let shown = match action {
                Action::Launch { node, .. } => listed(node),
                action => index.seen.provisioner.as_ref().is_some_and(|it| it.shows(action)),
            };
            // A clock that was set back must not make a request last for ever.
            let fresh = *asked_at <= now && now < policy.ask_again_after_ms.after(*asked_at);
            fresh && !shown
        });
        let known = |name: &NodeName| listed(name) || !index.notices(name).is_empty();
        self.interrupted.retain(known);
        self.rebalanced.retain(known);
        self.never_ready.retain(listed);
        self.moves.forget(policy.disruption.rebalance_every_ms, now);
        self.waits.look(index.seen.nodes.iter(), now);
        let since = std::mem::take(&mut self.empty_since);
        let since = |node: &Node| since.get(&node.name).map_or(now, |at| (*at).min(now));
        let empty = |node: &&Node| node.is_alive() && index.pods_on(&node.name).is_empty();
        let empty = index.seen.nodes.iter().filter(empty);
        self.empty_since = empty.map(|node| (node.name.clone(), since(node))).collect();
    }
}
