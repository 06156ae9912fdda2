//! Small recordings for tests.

use std::collections::BTreeMap;

use jiff::Timestamp;

use crate::up::{
    faults::Capacity,
    scenario::{Outcome, Played, Recording, Sample, Scenario, Seen},
    view::{Addresses, Money, Node, Phase, Replica, Traffic, View, Weights},
};

/// One phase of ten seconds in which nothing happens.
pub(in crate::up) fn recording() -> Recording {
    let phase = Played {
        name: "quiet".to_owned(),
        start_ms: 0.0,
        end_ms: 10_000.0,
        refusals_expected: false,
        reached: true,
    };
    Recording {
        scenario: Scenario::load("day").unwrap(),
        started: Timestamp::UNIX_EPOCH,
        capacity: Capacity { images_per_second: 40.0, image_ms: 25.0, max_replicas: 2 },
        slo_ms: 500,
        phases: vec![phase],
        samples: Vec::new(),
        happenings: Vec::new(),
        seen: Vec::new(),
    }
}

/// A request of the first phase that was answered.
pub(in crate::up) fn answered(due_ms: f64, latency_ms: f64) -> Sample {
    Sample { latency_ms, ..ended(due_ms, Outcome::Answered { inference_ms: 20.0 }) }
}

/// A request of the first phase.
pub(in crate::up) fn ended(due_ms: f64, outcome: Outcome) -> Sample {
    Sample { phase: 0, due_ms, latency_ms: 1.0, outcome }
}

/// A view with so many replicas ready.
pub(in crate::up) fn replicas(at_ms: f64, count: usize) -> Seen {
    let names: Vec<String> = (0..count).map(|index| format!("replica-{index}")).collect();
    named(at_ms, &names.iter().map(String::as_str).collect::<Vec<_>>())
}

/// A view with these replicas ready.
pub(in crate::up) fn named(at_ms: f64, names: &[&str]) -> Seen {
    let ready = |name: &&str| Replica {
        name: (*name).to_owned(),
        node: Some(format!("node-of-{name}")),
        phase: Phase::Ready,
        restarts: 0,
    };
    let loopback = "127.0.0.1:1".parse().unwrap();
    let view = View {
        clock: Timestamp::UNIX_EPOCH,
        uptime_ms: 0,
        scenario: None,
        traffic: Traffic { answered_total: BTreeMap::new(), ..Traffic::default() },
        held: 0,
        in_flight: 0,
        desired_replicas: 2,
        max_replicas: 2,
        replicas: names.iter().map(ready).collect(),
        nodes: Vec::new(),
        latency_ms: None,
        money: Money::default(),
        decisions: Vec::new(),
        weights: Weights::Seeded,
        addresses: Addresses { front: loopback, scaler: loopback, console: loopback },
    };
    Seen { at_ms, view }
}

/// A node that costs so much an hour.
pub(in crate::up) fn node(name: &str, usd_per_hour: f64) -> Node {
    Node {
        name: name.to_owned(),
        instance_type: "g4dn.xlarge".to_owned(),
        zone: "a".to_owned(),
        capacity_type: "spot".to_owned(),
        usd_per_hour,
        notice_deadline: None,
    }
}
