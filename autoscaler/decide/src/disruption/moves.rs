//! When nodes were last left on a mere recommendation: one that proves false must not cost a replacement every few
//! minutes, nor a node be left only for another of the kind that was just left.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{
    cluster::{Node, Offering},
    pairs,
    planner::Reason,
    units::{Millis, NodeName},
};

/// What was left lately.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Moves {
    nodes: BTreeMap<NodeName, Timestamp>,
    #[serde(with = "pairs")]
    offerings: BTreeMap<Offering, Timestamp>,
}

impl Moves {
    /// The node is left now.
    pub fn record(&mut self, node: &Node, now: Timestamp) {
        self.nodes.insert(node.name.clone(), now);
        self.offerings.insert(node.offering.clone(), now);
    }

    /// Drops what is longer ago than `period`, and what a clock that was set back has put into the future.
    pub fn forget(&mut self, period: Millis, now: Timestamp) {
        let lately = |at: &mut Timestamp| *at <= now && now < period.after(*at);
        self.nodes.retain(|_, at| lately(at));
        self.offerings.retain(|_, at| lately(at));
    }

    /// Why the node is not left again so soon, if it was left lately or was bought since its kind was.
    pub(super) fn refusal(&self, node: &Node) -> Option<Reason> {
        if let Some(at) = self.nodes.get(&node.name) {
            return Some(Reason::SurgedLately { node: node.name.clone(), at: *at });
        }
        // Launches are known to the second, and the replacement is bought at once.
        let before = |at: &&Timestamp| at.as_second() <= node.launched_at.as_second();
        let at = self.offerings.get(&node.offering).filter(before)?;
        let (node, offering) = (node.name.clone(), node.offering.clone());
        Some(Reason::LeftLately { node, offering, at: *at })
    }
}

#[cfg(test)]
mod tests {
    use jiff::SignedDuration;

    use super::*;
    use crate::testing::{at, node, spot};

    #[test]
    fn who_was_bought_in_the_second_of_the_leaving_was_bought_since() {
        let mut moves = Moves::default();
        let left_at = at(100) + SignedDuration::from_millis(700);
        moves.record(&node("left", spot("a"), at(0)), left_at);
        let is_kept = |launched| moves.refusal(&node("heir", spot("a"), at(launched))).is_some();
        assert!(is_kept(100), "launches are told in whole seconds");
        assert!(is_kept(101));
        assert!(!is_kept(99));
    }
}
