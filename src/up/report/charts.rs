//! Which charts the report has, and what each one shows.

use super::{
    Report,
    chart::{Chart, Frame, Line, Scale},
    mishap::Kind,
    series::{Bucket, Moment},
};

/// Time, phases and mishaps: the same behind every chart.
pub(super) fn frame(report: &Report) -> Frame {
    Frame {
        end_ms: report.duration_ms,
        bands: report.phases.iter().map(|p| (p.start_ms, p.end_ms, p.name.clone())).collect(),
        marks: report.mishaps.iter().map(|m| (m.at_ms, mark_name(m.kind).to_owned())).collect(),
    }
}

/// Every chart, in the order of the page.
pub(super) fn all(report: &Report) -> [Chart; 5] {
    [traffic(report), latency(report), replicas(report), held(report), money(report)]
}

fn mark_name(kind: Kind) -> &'static str {
    match kind {
        Kind::Interruption => "notice",
        Kind::Kill => "kill",
    }
}

fn traffic(report: &Report) -> Chart {
    let line = |name, class, value: fn(&Bucket) -> f64| {
        requests_line(report, name, class, move |bucket| Some(value(bucket)))
    };
    Chart {
        title: "Requests",
        unit: "per second, by when they were due",
        scale: Scale::Linear,
        lines: vec![
            line("lost", "bad", |bucket| bucket.lost_per_second),
            line("refused", "warn", |bucket| bucket.refused_per_second),
            line("answered", "good", |bucket| bucket.answered_per_second),
        ],
    }
}

fn latency(report: &Report) -> Chart {
    let slo_ms = report.slo_ms as f64;
    let promised = vec![(0.0, Some(slo_ms)), (report.duration_ms, Some(slo_ms))];
    Chart {
        title: "Latency of answered requests",
        unit: "milliseconds, by decades",
        scale: Scale::Log,
        lines: vec![
            requests_line(report, "median", "good", |bucket| bucket.p50_ms),
            requests_line(report, "95th percentile", "main", |bucket| bucket.p95_ms),
            Line { name: "promised p95", class: "dashed", steps: false, points: promised },
        ],
    }
}

fn replicas(report: &Report) -> Chart {
    Chart {
        title: "Replicas and nodes",
        unit: "count",
        scale: Scale::Linear,
        lines: vec![
            system_line(report, "nodes paid for", "warn", |moment| moment.nodes as f64),
            system_line(report, "wanted", "dashed", |moment| f64::from(moment.desired)),
            system_line(report, "ready", "main", |moment| moment.ready as f64),
        ],
    }
}

fn held(report: &Report) -> Chart {
    Chart {
        title: "Held in the front",
        unit: "requests waiting for a free replica",
        scale: Scale::Linear,
        lines: vec![system_line(report, "held", "main", |moment| moment.held as f64)],
    }
}

fn money(report: &Report) -> Chart {
    const CENTS: f64 = 100.0;
    Chart {
        title: "Money",
        unit: "US cents since the start",
        scale: Scale::Linear,
        lines: vec![
            system_line(report, "baseline", "dashed", |moment| moment.baseline_usd * CENTS),
            system_line(report, "spent", "main", |moment| moment.spend_usd * CENTS),
        ],
    }
}

fn requests_line(
    report: &Report,
    name: &'static str,
    class: &'static str,
    value: impl Fn(&Bucket) -> Option<f64>,
) -> Line {
    let points = report.series.requests.iter().map(|bucket| (bucket.at_ms, value(bucket)));
    Line { name, class, steps: false, points: points.collect() }
}

fn system_line(
    report: &Report,
    name: &'static str,
    class: &'static str,
    value: fn(&Moment) -> f64,
) -> Line {
    let points = report.series.system.iter().map(|moment| (moment.at_ms, Some(value(moment))));
    Line { name, class, steps: true, points: points.collect() }
}
