//! What a run came to, as figures.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::Serialize;
use spotscale_decide::{
    cluster::Offering,
    units::{MicroUsd, Millis, Ratio},
};

use crate::{moment::Moment, setup::Setup, world::Outcome};

/// The figures of one run.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Report {
    /// What prices, capacity and requests were, in words.
    pub inputs: Vec<String>,
    /// The seed of everything that was left to chance.
    pub seed: u64,
    /// When it began.
    pub begins_at: Timestamp,
    /// How long it lasted.
    pub lasts_ms: Millis,
    /// The requests.
    pub requests: RequestFigures,
    /// How long answers took.
    pub latency: LatencyFigures,
    /// Replicas and nodes.
    pub nodes: NodeFigures,
    /// The money.
    pub money: MoneyFigures,
}

/// What became of the requests: all that arrived are in exactly one of `answered`, `refused`, `expired`, `lost` and
/// `unfinished`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct RequestFigures {
    /// All.
    pub arrived: u64,
    /// Answered.
    pub answered: u64,
    /// Turned away at their arrival, by reason.
    pub refused: BTreeMap<String, u64>,
    /// Held until their deadline, in vain.
    pub expired: u64,
    /// Cut off with their replica and not sent again.
    pub lost: u64,
    /// Held or being served when the run ended.
    pub unfinished: u64,
    /// Answered of all that ended, in percent.
    pub success_percent: f64,
    /// Held at their arrival, whatever became of them.
    pub held: u64,
    /// Of those, while no replica was ready.
    pub held_cold: u64,
    /// Cut off with their replica and sent again.
    pub sent_again: u64,
}

/// How long answers took, from a request's arrival on; right to about one percent. None without any answer.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct LatencyFigures {
    /// Half of the answers took no longer, in seconds.
    pub p50_seconds: Option<f64>,
    /// 95 in a hundred.
    pub p95_seconds: Option<f64>,
    /// 99 in a hundred.
    pub p99_seconds: Option<f64>,
    /// The promise.
    pub slo_ms: Millis,
    /// Requests answered within it, of all that ended, in percent.
    pub within_slo_percent: f64,
}

/// Replicas and nodes.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct NodeFigures {
    /// The most replicas that were asked for at a time.
    pub replicas_max: u32,
    /// How often a request had to wait for the first replica.
    pub cold_starts: u64,
    /// Nodes launched.
    pub launched: u64,
    /// Nodes that the provider gave notice of.
    pub interruptions: u64,
    /// Nodes that the provider took.
    pub taken: u64,
    /// Attempts to buy an offering of which there was none.
    pub sold_out: u64,
    /// Hours that nodes of each offering were there, from launch to end.
    pub hours: BTreeMap<String, f64>,
}

/// The money, of nodes only.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct MoneyFigures {
    /// What the nodes cost, before refunds.
    pub spend: MicroUsd,
    /// What the provider does not bill: spot nodes that it took in their first hour.
    pub refund: MicroUsd,
    /// What is paid.
    pub net: MicroUsd,
    /// What the baseline fleet would have cost.
    pub baseline: MicroUsd,
    /// What the baseline is.
    pub baseline_is: String,
    /// Of the baseline, in percent.
    pub saved_percent: Option<f64>,
    /// What a clairvoyant would pay at the least for an answer to each request within the SLO.
    pub bound: MicroUsd,
    /// The spend as so many times the bound.
    pub over_bound: Option<f64>,
}

impl Report {
    pub(crate) fn of(
        (setup, inputs): (&Setup, &[String]),
        outcome: &Outcome,
        bound: MicroUsd,
    ) -> Self {
        Self {
            inputs: inputs.to_vec(),
            seed: setup.seed,
            begins_at: setup.begins_at,
            lasts_ms: setup.lasts,
            requests: requests(outcome),
            latency: latency(setup, outcome),
            nodes: nodes(outcome),
            money: money(outcome, bound),
        }
    }
}

fn percent(part: u64, of: u64) -> f64 {
    if of == 0 { 100.0 } else { part as f64 / of as f64 * 100.0 }
}

fn ended(outcome: &Outcome) -> u64 {
    outcome.tally.arrived - outcome.held - outcome.in_flight
}

fn requests(outcome: &Outcome) -> RequestFigures {
    let tally = &outcome.tally;
    let refused = tally.refused.iter().map(|(kind, n)| ((*kind).to_owned(), *n)).collect();
    let answered = tally.latencies.count();
    RequestFigures {
        arrived: tally.arrived,
        answered,
        refused,
        expired: tally.expired,
        lost: tally.lost,
        unfinished: outcome.held + outcome.in_flight,
        success_percent: percent(answered, ended(outcome)),
        held: tally.held,
        held_cold: tally.held_cold,
        sent_again: tally.retried,
    }
}

fn latency(setup: &Setup, outcome: &Outcome) -> LatencyFigures {
    let latencies = &outcome.tally.latencies;
    let seconds =
        |percent| latencies.quantile(Ratio::from_percent(percent)).map(Moment::as_secs_f64);
    let slo = setup.service.policy.promise.slo;
    LatencyFigures {
        p50_seconds: seconds(50),
        p95_seconds: seconds(95),
        p99_seconds: seconds(99),
        slo_ms: slo,
        within_slo_percent: percent(latencies.within(slo), ended(outcome)),
    }
}

fn nodes(outcome: &Outcome) -> NodeFigures {
    let hours = |(offering, span): (&Offering, &Millis)| {
        (offering.to_string(), (span.as_secs_f64() / 36.0).round() / 100.0)
    };
    NodeFigures {
        replicas_max: outcome.replicas_max,
        cold_starts: outcome.tally.cold_starts,
        launched: outcome.census.launched,
        interruptions: outcome.census.noticed,
        taken: outcome.census.taken,
        sold_out: outcome.census.sold_out,
        hours: outcome.spans.iter().map(hours).collect(),
    }
}

fn money(outcome: &Outcome, bound: MicroUsd) -> MoneyFigures {
    let totals = &outcome.totals;
    let net = totals.spend.saturating_sub(totals.refund);
    let share =
        |part: MicroUsd, of: MicroUsd| (of > MicroUsd::ZERO).then(|| part.0 as f64 / of.0 as f64);
    MoneyFigures {
        spend: totals.spend,
        refund: totals.refund,
        net,
        baseline: totals.baseline,
        baseline_is: totals.baseline_is.clone(),
        saved_percent: share(net, totals.baseline).map(|paid| (1.0 - paid) * 100.0),
        bound,
        over_bound: share(totals.spend, bound),
    }
}
