//! How long emptying a node takes, and how much time its deadline leaves. Both are seen, not remembered by whoever drains:
//! a node is being emptied from the first look that shows it cordoned by us.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

use jiff::Timestamp;
use prometheus_client::{
    metrics::histogram::{Histogram, exponential_buckets},
    registry::{Registry, Unit},
};
use spotscale_decide::{
    cluster::{Index, NoticeKind, Observation},
    units::NodeName,
};

#[derive(Clone)]
pub(super) struct Drains {
    duration: Histogram,
    margin: Histogram,
    begun: Arc<Mutex<BTreeMap<NodeName, Begun>>>,
}

#[derive(Clone, Copy)]
struct Begun {
    at: Timestamp,
    deadline: Option<Timestamp>,
    over: bool,
}

impl Default for Drains {
    fn default() -> Self {
        Self {
            duration: Histogram::new(exponential_buckets(1.0, 2.0, 11)),
            // Below zero the deadline was past.
            margin: Histogram::new([-30.0, -5.0, 0.0, 5.0, 15.0, 30.0, 60.0, 90.0, 120.0, 600.0]),
            begun: Arc::default(),
        }
    }
}

impl Drains {
    pub(super) fn register(&self, registry: &mut Registry) {
        let help = "From the first look at a node that we cordoned to the first one that shows it empty or gone";
        let duration = self.duration.clone();
        registry.register_with_unit("spotscale_drain_duration", help, Unit::Seconds, duration);
        let help =
            "What was left to the deadline when a node was empty or gone; below 0 it was late";
        let margin = self.margin.clone();
        registry.register_with_unit("spotscale_drain_deadline_margin", help, Unit::Seconds, margin);
    }

    pub(super) fn see(&self, seen: &Observation) {
        let index = Index::of(seen);
        let mut begun = self.begun.lock().unwrap_or_else(PoisonError::into_inner);
        let cordoned = seen.nodes.iter().filter(|node| node.is_alive() && node.cordoned.is_some());
        for node in cordoned {
            let drain = begun.entry(node.name.clone()).or_insert(Begun {
                at: seen.at,
                deadline: None,
                over: false,
            });
            let deadlines = index.notices(&node.name).iter().filter_map(deadline);
            drain.deadline = drain.deadline.into_iter().chain(deadlines).min();
        }
        begun.retain(|name, drain| {
            let node = index.node(name).filter(|node| node.is_alive());
            let empty = index.pods_on(name).is_empty();
            if !drain.over && (node.is_none() || empty) {
                drain.over = true;
                self.duration.observe(seconds(drain.at, seen.at));
                drain.deadline.iter().for_each(|by| self.margin.observe(seconds(seen.at, *by)));
            }
            node.is_some_and(|node| node.cordoned.is_some())
        });
    }
}

fn deadline(kind: &NoticeKind) -> Option<Timestamp> {
    match kind {
        NoticeKind::Interruption { deadline } | NoticeKind::Maintenance { deadline } => {
            Some(*deadline)
        }
        NoticeKind::Rebalance => None,
    }
}

fn seconds(from: Timestamp, to: Timestamp) -> f64 {
    to.duration_since(from).as_secs_f64()
}
