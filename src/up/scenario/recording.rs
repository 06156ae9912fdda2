//! What a played scenario leaves behind: raw facts, in the order in which they came. The report
//! sums them up. Every `_ms` is milliseconds since the scenario began.

use std::time::Duration;

use jiff::Timestamp;

use super::{Event, Outcome, Scenario};
use crate::up::{
    faults::Capacity,
    view::{Phase, View},
};

/// Everything that was observed.
#[derive(Debug, Clone)]
pub(crate) struct Recording {
    /// What was played.
    pub scenario: Scenario,
    /// When it began.
    pub started: Timestamp,
    /// What loads were relative to.
    pub capacity: Capacity,
    /// The 95th percentile that the service promises, in milliseconds.
    pub slo_ms: u64,
    /// The phases as they went.
    pub phases: Vec<Played>,
    /// Every request, in the order in which they were due.
    pub samples: Vec<Sample>,
    /// Every mishap, in order.
    pub happenings: Vec<Happening>,
    /// Every view that was published.
    pub seen: Vec<Seen>,
}

/// One phase as it went.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Played {
    /// Its name.
    pub name: String,
    /// When it began.
    pub start_ms: f64,
    /// When it ended.
    pub end_ms: f64,
    /// Whether 503 with `Retry-After` was a right answer in it.
    pub refusals_expected: bool,
    /// Whether what it waited for came about; `true` when it waited for nothing.
    pub reached: bool,
}

/// One request.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Sample {
    /// Index of the phase in which it was due.
    pub phase: usize,
    /// When it was due.
    pub due_ms: f64,
    /// Milliseconds from when it was due, whenever it was really sent, to the end of its answer.
    pub latency_ms: f64,
    /// What became of it.
    pub outcome: Outcome,
}

/// One mishap.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Happening {
    /// Index of the phase it belongs to.
    pub phase: usize,
    /// When it was brought about.
    pub at_ms: f64,
    /// What was asked for.
    pub event: Event,
    /// The node or replica that it hit; `None` where there was none to hit.
    pub victim: Option<String>,
}

/// One view.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Seen {
    /// When it was published.
    pub at_ms: f64,
    /// What it showed.
    pub view: View,
}

/// Milliseconds, with their fraction.
pub(super) fn ms(span: Duration) -> f64 {
    span.as_secs_f64() * 1000.0
}

/// Replicas that still exist, in whatever phase.
pub(crate) fn alive(view: &View) -> usize {
    view.replicas.iter().filter(|replica| replica.phase != Phase::Gone).count()
}

/// Replicas that the front may choose.
pub(crate) fn ready(view: &View) -> usize {
    view.replicas.iter().filter(|replica| replica.phase == Phase::Ready).count()
}
