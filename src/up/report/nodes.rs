//! Every node that was paid for, from when to when and at what price, as far as the views show it.

use serde::Serialize;

use crate::up::{
    scenario::{Recording, Seen},
    view::Node,
};

/// One node's life.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct NodeLife {
    /// Its name.
    pub name: String,
    /// EC2 instance type.
    pub instance_type: String,
    /// Availability zone.
    pub zone: String,
    /// `spot` or `on-demand`.
    pub capacity_type: String,
    /// When it was first seen.
    pub from_ms: f64,
    /// When it was last seen, or the end of the run for one that was still there.
    pub to_ms: f64,
    /// Lowest price seen, dollars per hour.
    pub usd_per_hour_min: f64,
    /// Highest price seen, dollars per hour.
    pub usd_per_hour_max: f64,
    /// Whether the provider took it away.
    pub interrupted: bool,
}

/// Every node, in the order of appearance, up to `end_ms`.
pub(super) fn all(recording: &Recording, end_ms: f64) -> Vec<NodeLife> {
    let mut lives: Vec<NodeLife> = Vec::new();
    for Seen { at_ms, view } in &recording.seen {
        for node in &view.nodes {
            match lives.iter_mut().find(|life| life.name == node.name) {
                Some(life) => life.see(*at_ms, node),
                None => lives.push(NodeLife::new(*at_ms, node)),
            }
        }
    }
    let still_there = recording.seen.last().map_or(&[][..], |last| &last.view.nodes);
    for life in &mut lives {
        if still_there.iter().any(|node| node.name == life.name) {
            life.to_ms = life.to_ms.max(end_ms);
        }
    }
    lives
}

impl NodeLife {
    fn new(at_ms: f64, node: &Node) -> Self {
        Self {
            name: node.name.clone(),
            instance_type: node.instance_type.clone(),
            zone: node.zone.clone(),
            capacity_type: node.capacity_type.clone(),
            from_ms: at_ms,
            to_ms: at_ms,
            usd_per_hour_min: node.usd_per_hour,
            usd_per_hour_max: node.usd_per_hour,
            interrupted: node.notice_deadline.is_some(),
        }
    }

    fn see(&mut self, at_ms: f64, node: &Node) {
        self.to_ms = at_ms;
        self.usd_per_hour_min = self.usd_per_hour_min.min(node.usd_per_hour);
        self.usd_per_hour_max = self.usd_per_hour_max.max(node.usd_per_hour);
        self.interrupted |= node.notice_deadline.is_some();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::up::report::fixture::{node, recording, replicas};

    #[test]
    fn a_node_that_is_still_there_lives_to_the_end() {
        let mut played = recording();
        let (mut early, mut last) = (replicas(1000.0, 1), replicas(4000.0, 1));
        early.view.nodes = vec![node("gone", 0.36), node("stays", 0.36)];
        last.view.nodes = vec![node("stays", 0.72)];
        played.seen = vec![early, last];
        let lives = all(&played, 9000.0);
        let spans: Vec<_> = lives.iter().map(|life| (&*life.name, life.to_ms)).collect();
        assert_eq!(spans, [("gone", 1000.0), ("stays", 9000.0)]);
        assert_eq!((lives[1].usd_per_hour_min, lives[1].usd_per_hour_max), (0.36, 0.72));
    }
}
