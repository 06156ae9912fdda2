//! The run, phase by phase. A request belongs to the phase in which it was due, wherever its answer
//! fell.

use serde::Serialize;

use super::{Counts, Latency, is_answered};
use crate::up::{
    scenario::{Played, Recording, Sample, ready},
    view::View,
};

/// One phase in numbers.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct PhaseReport {
    /// Its name.
    pub name: String,
    /// When it began.
    pub start_ms: f64,
    /// When it ended.
    pub end_ms: f64,
    /// Whether it overloaded on purpose.
    pub refusals_expected: bool,
    /// Its requests.
    pub requests: Counts,
    /// Arrivals per second.
    pub offered_per_second: f64,
    /// Its answered requests.
    pub latency_ms: Option<Latency>,
    /// Most replicas ready at once.
    pub ready_max: usize,
    /// Most requests held at once.
    pub held_max: u64,
}

/// Every phase, in order.
pub(super) fn all(recording: &Recording) -> Vec<PhaseReport> {
    recording.phases.iter().enumerate().map(|(index, phase)| of(recording, index, phase)).collect()
}

fn of(recording: &Recording, index: usize, phase: &Played) -> PhaseReport {
    let samples = || recording.samples.iter().filter(|sample: &&Sample| sample.phase == index);
    let views = || {
        let inside = recording.seen.iter();
        inside.filter(|s| (phase.start_ms..phase.end_ms).contains(&s.at_ms)).map(|s| &s.view)
    };
    let requests = Counts::of(samples());
    let seconds = ((phase.end_ms - phase.start_ms) / 1000.0).max(f64::MIN_POSITIVE);
    PhaseReport {
        name: phase.name.clone(),
        start_ms: phase.start_ms,
        end_ms: phase.end_ms,
        refusals_expected: phase.refusals_expected,
        requests,
        offered_per_second: requests.sent as f64 / seconds,
        latency_ms: Latency::of(samples().filter(|s| is_answered(s)).map(|s| s.latency_ms)),
        ready_max: views().map(ready).max().unwrap_or(0),
        held_max: views().map(|view: &View| view.held).max().unwrap_or(0),
    }
}
