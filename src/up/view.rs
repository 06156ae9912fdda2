//! What local mode looks like at one moment: the one thing that the console shows and the report sums up.
//! Published on a `tokio::sync::watch` about twice a second. Data only; who fills it in is `observe`.

use std::{collections::BTreeMap, net::SocketAddr};

use jiff::Timestamp;
use serde::Serialize;

pub(crate) use crate::calibrate::picture::Weights;

/// Everything worth seeing at one moment.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct View {
    /// When this was seen.
    pub clock: Timestamp,
    /// Milliseconds since local mode was ready for its first request.
    pub uptime_ms: u64,
    /// The scenario that is being played; `None` when the load is somebody else's.
    pub scenario: Option<Progress>,
    /// Requests as the front counts them.
    pub traffic: Traffic,
    /// Requests held in the front because no replica has a free slot.
    pub held: u64,
    /// Requests that a replica is working on.
    pub in_flight: u64,
    /// Replicas asked for by KEDA's stand-in: the Deployment's `spec.replicas`.
    pub desired_replicas: u32,
    /// Most replicas that the stand-in for the HPA may ask for.
    pub max_replicas: u32,
    /// Every replica that has not been gone for longer than a few seconds, oldest first.
    pub replicas: Vec<Replica>,
    /// Every node that is being paid for, oldest first.
    pub nodes: Vec<Node>,
    /// Answered requests of the last 10 s, held time included, in milliseconds; `None` without any.
    pub latency_ms: Option<Percentiles>,
    /// Dollars since the start.
    pub money: Money,
    /// The last decisions, newest first, at most 20.
    pub decisions: Vec<Decision>,
    /// Whether the answers mean anything.
    pub weights: Weights,
    /// Where to reach what.
    pub addresses: Addresses,
}

/// How far a scenario is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Progress {
    /// The scenario's name.
    pub name: String,
    /// The phase being played, in words for people.
    pub phase: String,
    /// Milliseconds since the scenario began.
    pub elapsed_ms: u64,
    /// Milliseconds that it takes in all, when everything keeps to its plan.
    pub planned_ms: u64,
}

/// Requests, as the front counts them. Rates are over the last whole second or so; totals since the start.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub(crate) struct Traffic {
    /// Arrivals per second.
    pub offered_per_second: f64,
    /// Answers per second, by HTTP status code.
    pub answered_per_second: BTreeMap<u16, f64>,
    /// Arrivals since the start.
    pub offered_total: u64,
    /// Answers since the start, by HTTP status code; 499 is a client that left.
    pub answered_total: BTreeMap<u16, u64>,
    /// Answers since the start that a client must see as a failure of ours: 5xx but 503, which asks it to come back.
    pub lost_total: u64,
}

/// One replica: one process of the inference server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Replica {
    /// Its name, unique in this run.
    pub name: String,
    /// The node it is placed on; `None` while it waits for one.
    pub node: Option<String>,
    /// Where it is in its life.
    pub phase: Phase,
    /// How often its process died and was started anew.
    pub restarts: u32,
}

/// Where a replica is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Phase {
    /// Waits for a node, or its process loads and warms the model.
    Starting,
    /// The front may choose it.
    Ready,
    /// Takes nothing new; what it has runs on.
    Draining,
    /// Told to end (SIGTERM), not gone yet.
    Stopping,
    /// Ended. Shown for a few seconds more.
    Gone,
}

/// One virtual node: a machine that is being paid for.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Node {
    /// Its name, unique in this run.
    pub name: String,
    /// EC2 instance type.
    pub instance_type: String,
    /// Availability zone.
    pub zone: String,
    /// `spot` or `on-demand`.
    pub capacity_type: String,
    /// What it costs now.
    pub usd_per_hour: f64,
    /// When the provider takes it away, once it has said so.
    pub notice_deadline: Option<Timestamp>,
}

/// Latency percentiles in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub(crate) struct Percentiles {
    /// Half of the requests took at most this.
    pub p50: f64,
    /// 95 % took at most this.
    pub p95: f64,
    /// 99 % took at most this.
    pub p99: f64,
}

/// Dollars since the start, from the ledger. For people to read; the ledger itself counts micro-dollars.
#[expect(clippy::struct_field_names, reason = "the unit is last in a name")]
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub(crate) struct Money {
    /// What the nodes of this run cost, refunds already taken off.
    pub spend_usd: f64,
    /// What the baseline would have cost: on-demand nodes that never go, for the most replicas that had served so far.
    pub baseline_usd: f64,
    /// Given back because the provider interrupted a spot node in its first hour.
    pub refund_usd: f64,
}

/// One decision of the scaler or the autoscaler.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Decision {
    /// When it was taken.
    pub at: Timestamp,
    /// Replicas wanted; `None` for a decision about nodes.
    pub desired: Option<u32>,
    /// Why, in plain words, the strongest reason first; of a decision about nodes, what was done comes before.
    pub reasons: Vec<String>,
}

/// Where to reach the parts of local mode, all on loopback.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub(crate) struct Addresses {
    /// The service: `POST /v1/classify` and the rest of the inference API.
    pub front: SocketAddr,
    /// KEDA's external scaler, gRPC.
    pub scaler: SocketAddr,
    /// The console page and `/metrics`.
    pub console: SocketAddr,
}
