//! The run over time, in buckets of two seconds: what the charts draw and `report.json` carries.

use serde::Serialize;

use super::{Latency, duration_ms};
use crate::up::scenario::{Outcome, Recording, Sample, ready};

const BUCKET_MS: f64 = 2_000.0;

/// The run over time.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Series {
    /// Requests by when they were due.
    pub requests: Vec<Bucket>,
    /// The system as it was seen.
    pub system: Vec<Moment>,
}

/// The requests that were due in one stretch of time.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub(crate) struct Bucket {
    /// Its middle.
    pub at_ms: f64,
    /// Answered, per second.
    pub answered_per_second: f64,
    /// Refused with `Retry-After`, per second.
    pub refused_per_second: f64,
    /// Lost, per second.
    pub lost_per_second: f64,
    /// Median latency of its answered requests, in milliseconds.
    pub p50_ms: Option<f64>,
    /// 95th percentile, in milliseconds.
    pub p95_ms: Option<f64>,
}

/// The system at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub(crate) struct Moment {
    /// When.
    pub at_ms: f64,
    /// Replicas wanted.
    pub desired: u32,
    /// Replicas ready.
    pub ready: usize,
    /// Nodes paid for.
    pub nodes: usize,
    /// Requests held.
    pub held: u64,
    /// Dollars spent so far.
    pub spend_usd: f64,
    /// Dollars that the baseline would have cost so far.
    pub baseline_usd: f64,
}

impl Series {
    pub(super) fn of(recording: &Recording) -> Self {
        let buckets = (duration_ms(recording) / BUCKET_MS).ceil() as usize;
        let mut samples = recording.samples.as_slice();
        let requests = (0..buckets).map(|index| {
            let start_ms = index as f64 * BUCKET_MS;
            let inside = samples.partition_point(|sample| sample.due_ms < start_ms + BUCKET_MS);
            let (now, later) = samples.split_at(inside);
            samples = later;
            bucket(start_ms + BUCKET_MS / 2.0, now)
        });
        Self { requests: requests.collect(), system: recording.seen.iter().map(moment).collect() }
    }
}

fn bucket(at_ms: f64, samples: &[Sample]) -> Bucket {
    let per_second = |wanted: fn(&Outcome) -> bool| {
        samples.iter().filter(|s| wanted(&s.outcome)).count() as f64 * 1000.0 / BUCKET_MS
    };
    let answered = samples.iter().filter(|s| matches!(s.outcome, Outcome::Answered { .. }));
    let latency = Latency::of(answered.map(|sample| sample.latency_ms));
    Bucket {
        at_ms,
        answered_per_second: per_second(|outcome| matches!(outcome, Outcome::Answered { .. })),
        refused_per_second: per_second(|outcome| matches!(outcome, Outcome::Refused)),
        lost_per_second: per_second(|outcome| matches!(outcome, Outcome::Lost { .. })),
        p50_ms: latency.map(|latency| latency.p50),
        p95_ms: latency.map(|latency| latency.p95),
    }
}

fn moment(seen: &crate::up::scenario::Seen) -> Moment {
    let view = &seen.view;
    Moment {
        at_ms: seen.at_ms,
        desired: view.desired_replicas,
        ready: ready(view),
        nodes: view.nodes.len(),
        held: view.held,
        spend_usd: view.money.spend_usd,
        baseline_usd: view.money.baseline_usd,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::up::report::fixture::{answered, ended, recording};

    #[test]
    fn a_request_counts_where_it_was_due_and_an_empty_stretch_has_no_latency() {
        let mut day = recording();
        day.samples = vec![answered(0.0, 3_000.0), answered(1_999.0, 10.0)];
        day.samples.push(ended(4_000.0, Outcome::Refused));
        day.phases[0].end_ms = 6_000.0;
        let requests = Series::of(&day).requests;
        assert_eq!(requests.len(), 3);
        assert_eq!((requests[0].answered_per_second, requests[0].p95_ms), (1.0, Some(3_000.0)));
        assert_eq!((requests[1].answered_per_second, requests[1].p50_ms), (0.0, None));
        assert_eq!((requests[2].refused_per_second, requests[2].p95_ms), (0.5, None));
    }
}
