//! What a played scenario adds up to: numbers, a verdict, and the post's figures beside ours.
//! Everything here is computed from the recording alone; `text` and `html` only show it.

mod chart;
mod charts;
mod cold_start;
mod comparison;
#[cfg(test)]
pub(super) mod fixture;
mod html;
mod latency;
mod mishap;
mod money;
mod nodes;
mod phase;
mod series;
mod tables;
mod text;
mod verdict;

use std::{collections::BTreeMap, path::Path};

use jiff::Timestamp;
use serde::Serialize;

use super::{
    scenario::{Outcome, Recording, Sample, Why, ready},
    view::{Money, Weights},
};
use cold_start::ColdStart;
use comparison::Row;
use latency::Latency;
use mishap::Mishap;
use nodes::NodeLife;
use phase::PhaseReport;
use series::Series;

/// A run in numbers. Every `_ms` of a moment is milliseconds since the scenario began.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Report {
    /// The scenario's name.
    pub scenario: String,
    /// What the scenario shows, in a sentence.
    pub summary: String,
    /// When it began.
    pub started: Timestamp,
    /// How long it took, the last answers included.
    pub duration_ms: f64,
    /// What went wrong; empty when the run holds what it promises.
    pub failures: Vec<String>,
    /// Where the model's weights come from; `None` when nothing was seen.
    pub weights: Option<Weights>,
    /// Images per second that loads were relative to.
    pub capacity_images_per_second: f64,
    /// Most replicas that might run at once.
    pub max_replicas: u32,
    /// The promised 95th percentile in milliseconds.
    pub slo_ms: u64,
    /// All requests.
    pub requests: Counts,
    /// Why requests were lost, and how many for each reason.
    pub lost_by_reason: BTreeMap<String, u64>,
    /// Answered requests, from when each was due.
    pub latency_ms: Option<Latency>,
    /// Answered requests that came while a replica was ready and no overload was played.
    pub warm_latency_ms: Option<Latency>,
    /// The model alone, as the server reports it.
    pub inference_ms: Option<Latency>,
    /// Each time that a request found no replica ready.
    pub cold_starts: Vec<ColdStart>,
    /// Phase by phase.
    pub phases: Vec<PhaseReport>,
    /// What was broken on purpose, and how it was got over.
    pub mishaps: Vec<Mishap>,
    /// Every node that was paid for.
    pub nodes: Vec<NodeLife>,
    /// Dollars at the end.
    pub money: Money,
    /// Share of the baseline that was saved, 0 to 1; `None` without a baseline.
    pub saving: Option<f64>,
    /// The post's figures and ours.
    pub comparison: Vec<Row>,
    /// What the charts show.
    pub series: Series,
}

/// How many requests ended how.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Counts {
    /// All that were due.
    pub sent: u64,
    /// Answered with a whole classification.
    pub answered: u64,
    /// Told when to come back: 503 with `Retry-After`.
    pub refused: u64,
    /// Neither.
    pub lost: u64,
}

impl Counts {
    fn of<'a>(samples: impl IntoIterator<Item = &'a Sample>) -> Self {
        let mut counts = Self::default();
        for sample in samples {
            counts.sent += 1;
            match sample.outcome {
                Outcome::Answered { .. } => counts.answered += 1,
                Outcome::Refused => counts.refused += 1,
                Outcome::Lost { .. } => counts.lost += 1,
            }
        }
        counts
    }
}

impl Report {
    /// Sums up a recording.
    pub(crate) fn of(recording: &Recording) -> Self {
        let answered = || recording.samples.iter().filter(|sample| is_answered(sample));
        let duration_ms = duration_ms(recording);
        let money = money::at(recording, duration_ms);
        let mut report = Self {
            scenario: recording.scenario.name.clone(),
            summary: recording.scenario.summary.clone(),
            started: recording.started,
            duration_ms,
            failures: Vec::new(),
            weights: recording.seen.last().map(|seen| seen.view.weights),
            capacity_images_per_second: recording.capacity.images_per_second,
            max_replicas: recording.capacity.max_replicas,
            slo_ms: recording.slo_ms,
            requests: Counts::of(&recording.samples),
            lost_by_reason: lost_by_reason(&recording.samples),
            latency_ms: Latency::of(answered().map(|sample| sample.latency_ms)),
            warm_latency_ms: Latency::of(
                answered().filter(|sample| is_warm(recording, sample)).map(|s| s.latency_ms),
            ),
            inference_ms: Latency::of(recording.samples.iter().filter_map(inference_ms)),
            cold_starts: cold_start::all(recording),
            phases: phase::all(recording),
            mishaps: mishap::all(recording),
            nodes: nodes::all(recording, duration_ms),
            money,
            saving: (money.baseline_usd > 0.0).then(|| 1.0 - money.spend_usd / money.baseline_usd),
            comparison: Vec::new(),
            series: Series::of(recording),
        };
        report.failures = verdict::failures(recording, &report);
        report.comparison = comparison::rows(recording, &report);
        report
    }

    /// Whether the run held what it promises.
    pub(crate) fn passed(&self) -> bool {
        self.failures.is_empty()
    }

    /// Writes `report.html` and `report.json` into `folder`, which is made where it is missing.
    pub(crate) fn write(&self, folder: &Path) -> std::io::Result<()> {
        std::fs::create_dir_all(folder)?;
        std::fs::write(folder.join("report.html"), html::page(self))?;
        std::fs::write(folder.join("report.json"), serde_json::to_vec_pretty(self)?)
    }

    /// The report for a terminal.
    pub(crate) fn to_text(&self) -> String {
        text::page(self)
    }
}

fn is_answered(sample: &Sample) -> bool {
    matches!(sample.outcome, Outcome::Answered { .. })
}

/// Whether a request came while a replica was ready, outside of a deliberate overload.
fn is_warm(recording: &Recording, sample: &Sample) -> bool {
    let phase = recording.phases.get(sample.phase);
    phase.is_some_and(|phase| !phase.refusals_expected) && ready_at(recording, sample.due_ms) > 0
}

/// Replicas ready at a moment, as last seen before it.
fn ready_at(recording: &Recording, at_ms: f64) -> usize {
    let after = recording.seen.partition_point(|seen| seen.at_ms <= at_ms);
    after.checked_sub(1).and_then(|last| recording.seen.get(last)).map_or(0, |s| ready(&s.view))
}

fn inference_ms(sample: &Sample) -> Option<f64> {
    match sample.outcome {
        Outcome::Answered { inference_ms } => Some(inference_ms),
        _ => None,
    }
}

fn lost_by_reason(samples: &[Sample]) -> BTreeMap<String, u64> {
    let mut reasons = BTreeMap::new();
    for sample in samples {
        if let Outcome::Lost { why } = sample.outcome {
            *reasons.entry(Why::to_string(&why)).or_default() += 1;
        }
    }
    reasons
}

fn duration_ms(recording: &Recording) -> f64 {
    let played = recording.phases.last().map_or(0.0, |phase| phase.end_ms);
    let answers = recording.samples.iter().map(|sample| sample.due_ms + sample.latency_ms);
    answers.fold(played, f64::max)
}
