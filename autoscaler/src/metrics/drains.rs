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
    /// Something has run there since.
    carried: bool,
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
        let mut begun = self.begun.lock().unwrap_or_else(PoisonError::into_inner);
        let cordoned = seen.nodes.iter().filter(|node| node.is_alive() && node.cordoned.is_some());
        let mut cordoned = cordoned.peekable();
        // Most of the time nothing is being emptied, and an index of thousands of nodes is not for nothing.
        if begun.is_empty() && cordoned.peek().is_none() {
            return;
        }
        let index = Index::of(seen);
        for node in cordoned {
            let drain = begun.entry(node.name.clone()).or_insert(Begun {
                at: seen.at,
                deadline: None,
                carried: false,
                over: false,
            });
            let deadlines = index.notices(&node.name).iter().filter_map(deadline);
            drain.deadline = drain.deadline.into_iter().chain(deadlines).min();
            drain.carried |= !index.pods_on(&node.name).is_empty();
        }
        begun.retain(|name, drain| {
            let node = index.node(name).filter(|node| node.is_alive());
            let empty = index.pods_on(name).is_empty();
            if !drain.over && (node.is_none() || empty) {
                drain.over = true;
                self.duration.observe(seconds(drain.at, seen.at));
                // An empty machine of which nobody hears until it is over was not emptied too late.
                let deadline = drain.deadline.filter(|by| drain.carried || drain.at < *by);
                if let Some(by) = deadline {
                    self.margin.observe(seconds(seen.at, by));
                }
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

#[cfg(test)]
mod tests {
    use prometheus_client::encoding::text::encode;
    use serde_json::{Value, json};

    use super::*;

    /// One cordoned node whose deadline is the 100th second, with these pods.
    fn seen(second: i64, pods: &[&str]) -> Observation {
        let at = |second| Timestamp::from_second(second).unwrap();
        let offering = json!({ "instance_type": "t", "zone": "a", "capacity_type": "spot" });
        let pod = |name: &&str| -> Value {
            json!({
                "name": format!("default/{name}"), "workload": null, "node": "n",
                "phase": "ready", "surged": false, "grace_ms": 0, "critical": false,
            })
        };
        let notice = json!({ "node": "n", "kind": "maintenance", "deadline": at(100) });
        serde_json::from_value(json!({
            "at": at(second), "workloads": [], "provisioner": null, "notices": [notice],
            "pods": pods.iter().map(pod).collect::<Vec<_>>(),
            "nodes": [{
                "name": "n", "instance": null, "offering": offering, "phase": { "is": "ready" },
                "cordoned": "notice", "protected": false, "pool": null,
                "launched_at": at(0), "pods_max": 1,
            }],
        }))
        .unwrap()
    }

    /// The sum and the count of the margins after these looks.
    fn margin(looks: &[Observation]) -> (String, String) {
        let (drains, mut registry) = (Drains::default(), Registry::default());
        drains.register(&mut registry);
        for seen in looks {
            drains.see(seen);
        }
        let mut text = String::new();
        encode(&mut text, &registry).unwrap();
        let line = |of: &str| {
            let name = format!("spotscale_drain_deadline_margin_seconds_{of} ");
            text.lines().find_map(|line| line.strip_prefix(&name)).unwrap().to_owned()
        };
        (line("sum"), line("count"))
    }

    #[test]
    fn the_margin_is_what_was_left_when_the_last_pod_was_gone() {
        let is = |sum: &str, count: &str| (sum.to_owned(), count.to_owned());
        assert_eq!(margin(&[seen(10, &["p"]), seen(40, &[]), seen(50, &[])]), is("60.0", "1"));
        assert_eq!(margin(&[seen(10, &["p"]), seen(130, &[])]), is("-30.0", "1"), "too late");
        assert_eq!(
            margin(&[seen(120, &["p"]), seen(130, &[])]),
            is("-30.0", "1"),
            "heard too late"
        );
        assert_eq!(margin(&[seen(10, &[])]), is("90.0", "1"), "nothing ran there");
        assert_eq!(margin(&[seen(120, &[])]), is("0.0", "0"), "nor was anything late");
    }
}
