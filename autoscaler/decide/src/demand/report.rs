//! One report of one front: what it says, what it adds to the one before, and why it may be refused.

use serde::{Deserialize, Serialize};

use crate::units::{FrontId, Millis, Replicas, Requests};

/// What one front says of one service. Gauges are as of now; counters run since the front started.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct ServiceCounters {
    /// Gauge: requests that wait for a replica.
    pub held: Requests,
    /// Gauge: requests that a replica is serving.
    pub in_flight: Requests,
    /// Gauge: how long the oldest held request has waited.
    pub oldest_held: Millis,
    /// Counter: requests that arrived.
    pub arrivals_total: u64,
    /// Counter: requests that a replica finished.
    pub served_total: u64,
    /// Counter: the sum of their service times, in microseconds.
    pub service_micros_total: u64,
    /// Counter: the sum of the squares of their service times, in seconds squared.
    pub service_seconds_squared_total: f64,
    /// Gauge: replicas that the front may choose.
    pub endpoints: Replicas,
    /// Requests that the front sends to one replica at a time; 0 where it does not know.
    pub concurrency: u32,
}

/// What an accepted report meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Accepted {
    /// The first of this front: its counters are a baseline, not yet arrivals.
    Joined,
    /// One more of a known front.
    Updated,
    /// A counter went down: a new baseline.
    Restarted,
}

/// A report that was refused; what was known stays as it was.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(rename_all = "snake_case")]
pub enum ReportError {
    /// Not newer than the last one.
    #[error("report {given} of front {front} is not newer than {last}")]
    Stale {
        /// Who sent it.
        front: FrontId,
        /// Its sequence number.
        given: u64,
        /// The last one accepted.
        last: u64,
    },
    /// The front has said that it leaves.
    #[error("front {front} has left")]
    Left {
        /// Who sent it.
        front: FrontId,
    },
    /// Too many fronts.
    #[error("already {fronts_max} fronts report: front {front} is refused")]
    Full {
        /// Who sent it.
        front: FrontId,
        /// The limit.
        fronts_max: usize,
    },
}

/// What happened between two reports of one front.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Growth {
    pub(super) arrivals: u64,
    pub(super) served: u64,
    pub(super) service_seconds: f64,
    pub(super) service_seconds_squared: f64,
}

impl ReportError {
    /// A label for metrics.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Stale { .. } => "stale",
            Self::Left { .. } => "left",
            Self::Full { .. } => "full",
        }
    }
}

impl ServiceCounters {
    /// What was added since `earlier`; `None` when a counter went down, which only a restart does.
    pub(super) fn since(&self, earlier: &Self) -> Option<Growth> {
        let micros = self.service_micros_total.checked_sub(earlier.service_micros_total)?;
        let squared = self.service_seconds_squared_total - earlier.service_seconds_squared_total;
        Some(Growth {
            arrivals: self.arrivals_total.checked_sub(earlier.arrivals_total)?,
            served: self.served_total.checked_sub(earlier.served_total)?,
            service_seconds: micros as f64 / 1e6,
            service_seconds_squared: (squared >= 0.0).then_some(squared)?,
        })
    }
}
