//! Cold starts: the requests that woke the service up, and what waking took.

use serde::Serialize;

use super::{is_answered, ready_at};
use crate::up::scenario::{Recording, Sample, ready};

/// One waking-up.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[expect(clippy::struct_field_names, reason = "units come last in a name")]
pub(crate) struct ColdStart {
    /// When the request came that found no replica ready.
    pub at_ms: f64,
    /// What that request waited for its answer, in milliseconds; `None` when it got none.
    pub first_answer_ms: Option<f64>,
    /// Milliseconds until a replica was seen ready; `None` when none ever was.
    pub first_ready_ms: Option<f64>,
}

/// Every first request that came while no replica was ready.
pub(super) fn all(recording: &Recording) -> Vec<ColdStart> {
    let mut found = Vec::new();
    let mut awake_from = f64::NEG_INFINITY;
    for sample in &recording.samples {
        if sample.due_ms < awake_from || ready_at(recording, sample.due_ms) > 0 {
            continue;
        }
        let cold_start = of(recording, sample);
        awake_from = cold_start.first_ready_ms.map_or(f64::INFINITY, |ms| sample.due_ms + ms);
        found.push(cold_start);
    }
    found
}

fn of(recording: &Recording, first: &Sample) -> ColdStart {
    let later = recording.seen.iter().filter(|seen| seen.at_ms > first.due_ms);
    let ready_from = later.into_iter().find(|seen| ready(&seen.view) > 0);
    ColdStart {
        at_ms: first.due_ms,
        first_answer_ms: is_answered(first).then_some(first.latency_ms),
        first_ready_ms: ready_from.map(|seen| seen.at_ms - first.due_ms),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::up::report::fixture::{answered, recording, replicas};

    #[test]
    fn each_waking_counts_once_by_its_first_request() {
        let mut day = recording();
        day.seen = vec![replicas(0.0, 0), replicas(900.0, 1), replicas(5_000.0, 0)];
        day.samples = vec![answered(100.0, 950.0), answered(200.0, 850.0), answered(1_000.0, 20.0)];
        day.samples.push(answered(6_000.0, 700.0));
        let all = all(&day);
        assert_eq!(all.len(), 2);
        assert_eq!(all[0].first_answer_ms, Some(950.0));
        assert_eq!(all[0].first_ready_ms, Some(800.0));
        assert_eq!((all[1].at_ms, all[1].first_ready_ms), (6_000.0, None));
    }
}
