//! What the planner remembers from one plan to the next. Losing it is harmless: an action may be asked for twice, and
//! the waiting times begin anew.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{Action, Policy};
use crate::{
    cluster::{CapacityType, Node, Observation, Offering},
    fleet::FleetMemory,
    offers::{Marks, OfferPolicy},
    pairs,
    units::NodeName,
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
    /// Since when nodes have run nothing.
    pub empty_since: BTreeMap<NodeName, Timestamp>,
    /// How long the fleet has been as it is.
    pub fleet: FleetMemory,
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
    pub(super) fn forget(&mut self, policy: &Policy, seen: &Observation) {
        let listed = |name: &NodeName| seen.nodes.iter().any(|node| &node.name == name);
        let noticed = |name: &NodeName| seen.notices.iter().any(|notice| &notice.node == name);
        self.asked.retain(|action, asked_at| {
            let shown = matches!(action, Action::Launch { node, .. } if listed(node));
            // A clock that was set back must not make a request last for ever.
            let fresh =
                *asked_at <= seen.at && seen.at < policy.ask_again_after_ms.after(*asked_at);
            fresh && !shown
        });
        self.interrupted.retain(|name| listed(name) || noticed(name));
        self.rebalanced.retain(|name| listed(name) || noticed(name));
        let empty = |node: &&Node| node.is_alive() && seen.pods_on(&node.name).next().is_none();
        let since = std::mem::take(&mut self.empty_since);
        let since = |node: &Node| since.get(&node.name).map_or(seen.at, |at| (*at).min(seen.at));
        let empty = seen.nodes.iter().filter(empty);
        self.empty_since = empty.map(|node| (node.name.clone(), since(node))).collect();
    }
}
