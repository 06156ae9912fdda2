//! The figures of the post that describes such a system ("Running AI Workloads at Scale on
//! Kubernetes with GPU Management"), row by row beside what this run measured. What this run cannot
//! show says so.

use serde::Serialize;

use super::{
    Report,
    mishap::Kind,
    phase::PhaseReport,
    text::{percent, seconds},
};
use crate::up::scenario::{Recording, Seen, ready};

/// One figure of the post and ours.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Row {
    /// What is measured.
    pub subject: &'static str,
    /// The post's figure.
    pub post: &'static str,
    /// What this run measured; `None` when it does not measure this.
    pub ours: Option<String>,
}

pub(super) fn rows(recording: &Recording, report: &Report) -> Vec<Row> {
    let row = |subject, post, ours| Row { subject, post, ours };
    vec![
        row("Inference, one image", "200 ms on a GPU", inference(report)),
        row("Whole request, replica ready", "300 ms", warm(report)),
        row("New replica ready to answer", "8 to 10 s", first_ready(report)),
        row("What scales up", "a backlog over 5", backlog(report)),
        row("Scaling up", "1 to 5 pods in 30 s", climb(recording)),
        row("Spot node reclaimed", "no request lost", mishap(report, Kind::Interruption)),
        row("Pod crash", "noticed in 10 s, no downtime", mishap(report, Kind::Kill)),
        row("Traffic surge", "under 500 ms", surge(report)),
        row("Scale to zero, first request", "slow, accepted", cold_start(report)),
        row("Cost against its baseline", "92.5 % less ($2,400 to $180 a month)", cost(report)),
        row("Dashboards", "Grafana, Prometheus", None),
        row("GPU out of memory", "pod restarts and reloads", None),
        row("GPU monitoring", "exporters", None),
        row("New model version", "canary, one hour, by hand", None),
        row("Several models on one GPU", "named, not measured", None),
        row("Batch jobs through a queue", "named, not measured", None),
    ]
}

fn inference(report: &Report) -> Option<String> {
    let latency = report.inference_ms?;
    Some(format!("{:.0} ms median, {:.0} ms p95, on CPU", latency.p50, latency.p95))
}

fn warm(report: &Report) -> Option<String> {
    let latency = report.warm_latency_ms?;
    Some(format!("{:.0} ms median, {:.0} ms p95", latency.p50, latency.p95))
}

fn first_ready(report: &Report) -> Option<String> {
    let spans = report.cold_starts.iter().filter_map(|start| start.first_ready_ms);
    let slowest = spans.reduce(f64::max)?;
    Some(format!("{} at most, its virtual node included", seconds(slowest)))
}

fn backlog(report: &Report) -> Option<String> {
    // A silent phase only holds what the one before has left.
    let calm = report.phases.iter().filter(|p| !p.refusals_expected && p.requests.sent > 0);
    let held = calm.map(|phase| phase.held_max).max()?;
    Some(format!("any held request; {held} held at most, overload aside"))
}

/// From the last sight of as many ready as wanted to the first sight of the most that were ever ready.
fn climb(recording: &Recording) -> Option<String> {
    let counts = || recording.seen.iter().map(|seen| ready(&seen.view));
    let top = counts().max().filter(|top| *top > 1)?;
    let at_top = counts().position(|count| count == top)?;
    let is_enough = |seen: &&Seen| ready(&seen.view) >= seen.view.desired_replicas as usize;
    let start = recording.seen[..at_top].iter().rev().find(is_enough)?;
    let span_ms = recording.seen[at_top].at_ms - start.at_ms;
    Some(format!("{} to {top} replicas in {}", ready(&start.view), seconds(span_ms)))
}

fn mishap(report: &Report, kind: Kind) -> Option<String> {
    let mishaps = || report.mishaps.iter().filter(|m| m.kind == kind && m.victim.is_some());
    mishaps().next()?;
    let (sent, lost) = mishaps().fold((0, 0), |(sent, lost), mishap| {
        (sent + mishap.requests.sent, lost + mishap.requests.lost)
    });
    let replaced = mishaps().map(|m| m.recovered_ms).reduce(|a, b| Some(a?.max(b?)))?;
    let after = replaced
        .map_or("not seen replaced".to_owned(), |ms| format!("replaced {} after it", seconds(ms)));
    Some(format!("{lost} of {sent} requests lost, {after}"))
}

/// The phase whose load rose most above that of the one before it.
fn surge(report: &Report) -> Option<String> {
    let pairs = report.phases.windows(2).filter(|pair| !pair[1].refusals_expected);
    let rise = |pair: &&[PhaseReport]| pair[1].offered_per_second - pair[0].offered_per_second;
    let surge = &pairs.max_by(|a, b| rise(a).total_cmp(&rise(b)))?[1];
    let p95 = seconds(surge.latency_ms?.p95);
    Some(format!("p95 {p95} at {:.1}/s ({})", surge.offered_per_second, surge.name))
}

fn cold_start(report: &Report) -> Option<String> {
    let answers: Vec<Option<f64>> = report.cold_starts.iter().map(|s| s.first_answer_ms).collect();
    let slowest = answers.iter().flatten().copied().reduce(f64::max);
    let answered = answers.iter().flatten().count();
    let (count, slowest) = (answers.len(), slowest?);
    Some(format!("{answered} of {count} held and answered, {} at most", seconds(slowest)))
}

fn cost(report: &Report) -> Option<String> {
    let saving = report.saving?;
    Some(format!("{} less than its peak on demand for the whole run", percent(saving)))
}
