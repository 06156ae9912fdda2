//! The daemon's metrics. Money is counted up: a sum that a correction made smaller stays where it was until the sum has
//! caught up, as a counter must.

use std::{collections::BTreeSet, sync::atomic::AtomicU64, time::Duration};

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{
        counter::Counter,
        family::Family,
        gauge::Gauge,
        histogram::{Histogram, exponential_buckets},
    },
    registry::{Registry, Unit},
};
use spotscale_decide::{
    cluster::Offering,
    ledger::Totals,
    planner::{Plan, Reason},
    units::MicroUsd,
};

use tokio::time::Instant;

use crate::state::{Decision, Role, State};

type Usd = Counter<f64, AtomicU64>;

/// Everything that is counted.
#[derive(Clone, Default)]
pub(crate) struct Metrics {
    spend: Family<OfferingLabels, Usd>,
    refund: Family<OfferingLabels, Usd>,
    baseline: Usd,
    interruptions: Family<KindLabel, Counter>,
    reasons: Family<ReasonLabel, Counter>,
    actions: Family<ActionLabels, Counter>,
    failures: Family<FailureLabels, Counter>,
    notices: Family<NoticeLabels, Counter>,
    price_age_seconds: Gauge<f64, AtomicU64>,
    leads: Gauge,
    state_bytes: Gauge,
    tick_seconds: Seconds,
}

/// A histogram of ticks: a tick of a small cluster takes milliseconds, one that waits for calls takes seconds.
#[derive(Clone)]
struct Seconds(Histogram);

impl Default for Seconds {
    fn default() -> Self {
        Self(Histogram::new(exponential_buckets(0.001, 3.0, 10)))
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfferingLabels {
    instance_type: String,
    zone: String,
    capacity_type: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct KindLabel {
    kind: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ReasonLabel {
    reason: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ActionLabels {
    action: &'static str,
    outcome: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct NoticeLabels {
    source: &'static str,
    kind: &'static str,
    outcome: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct FailureLabels {
    call: &'static str,
    kind: &'static str,
}

impl Metrics {
    pub(crate) fn register(&self, registry: &mut Registry) {
        let usd = || Unit::Other("usd".to_owned());
        let mut money = |name, help, metric: Family<OfferingLabels, Usd>| {
            registry.register_with_unit(name, help, usd(), metric);
        };
        money("spotscale_spend", "What nodes cost, before refunds", self.spend.clone());
        let help = "What is not billed of it: spot nodes taken in their first hour";
        money("spotscale_refund", help, self.refund.clone());
        let help = "What the all-on-demand fleet would have cost; /debug/plan says what it is";
        registry.register_with_unit("spotscale_baseline", help, usd(), self.baseline.clone());
        let help = "Notices from the provider that were acted on";
        registry.register("spotscale_interruptions", help, self.interruptions.clone());
        let help = "Why something was planned, or was not";
        registry.register("spotscale_plan_reasons", help, self.reasons.clone());
        let help = "Actions, and what became of them";
        registry.register("spotscale_actions", help, self.actions.clone());
        let help = "Calls to the cluster or the market that failed";
        registry.register("spotscale_autoscaler_failures", help, self.failures.clone());
        let help = "What became of what the provider told, one machine at a time";
        registry.register("spotscale_notices", help, self.notices.clone());
        let (help, age) = ("Age of the prices in use", self.price_age_seconds.clone());
        registry.register_with_unit("spotscale_price_age", help, Unit::Seconds, age);
        let help = "Is this the daemon that acts? 1 or 0";
        registry.register("spotscale_autoscaler_leads", help, self.leads.clone());
        let help = "What one look, one plan and its execution took";
        let ticks = self.tick_seconds.0.clone();
        registry.register_with_unit("spotscale_autoscaler_tick", help, Unit::Seconds, ticks);
        let (help, bytes) = ("Size of the state that was saved last", self.state_bytes.clone());
        registry.register_with_unit("spotscale_autoscaler_state", help, Unit::Bytes, bytes);
    }

    /// Counts one tick. What was refused counts when it begins, not at every tick that it lasts.
    pub(crate) fn tick(&self, before: Option<&State>, now: &State) {
        self.leads.set((now.role == Role::Leader).into());
        if now.role == Role::Standby {
            // The leader tells the money: told twice, every sum over daemons would be wrong.
            self.spend.clear();
            self.refund.clear();
        }
        let none = Totals::default();
        self.money(before.map_or(&none, |before| &before.totals), &now.totals);
        for notice in &now.plan.noticed {
            self.interruptions.get_or_create(&KindLabel { kind: notice.kind.kind() }).inc();
        }
        let known: BTreeSet<&Reason> =
            before.into_iter().flat_map(|before| &before.plan.refused).collect();
        let new = now.plan.refused.iter().filter(|reason| !known.contains(reason));
        planned(&now.plan).chain(new).for_each(|reason| self.reason(reason.kind()));
    }

    fn money(&self, before: &Totals, now: &Totals) {
        count_up(&self.baseline, now.baseline);
        for (offering, line) in &now.offerings {
            let labels = OfferingLabels::from(offering);
            count_up(&self.spend.get_or_create(&labels), line.spend);
            // Most offerings never see a refund, and need no series for it.
            let refunded = before.offerings.get(offering).is_some_and(|line| line.refund.0 > 0);
            if refunded || line.refund > MicroUsd::ZERO {
                count_up(&self.refund.get_or_create(&labels), line.refund);
            }
        }
    }

    fn reason(&self, reason: &'static str) {
        self.reasons.get_or_create(&ReasonLabel { reason }).inc();
    }

    pub(crate) fn action(&self, decision: &Decision) {
        let (action, outcome) = (decision.action.kind(), decision.outcome.kind());
        self.actions.get_or_create(&ActionLabels { action, outcome }).inc();
    }

    pub(crate) fn failure(&self, call: &'static str, kind: &'static str) {
        self.failures.get_or_create(&FailureLabels { call, kind }).inc();
    }

    pub(crate) fn notice(&self, source: &'static str, kind: &'static str, outcome: &'static str) {
        self.notices.get_or_create(&NoticeLabels { source, kind, outcome }).inc();
    }

    pub(crate) fn prices(&self, answered_at: Option<Instant>) {
        let age = answered_at.map_or(f64::INFINITY, |at| at.elapsed().as_secs_f64());
        self.price_age_seconds.set(age);
    }

    pub(crate) fn tick_took(&self, span: Duration) {
        self.tick_seconds.0.observe(span.as_secs_f64());
    }

    pub(crate) fn state_bytes(&self, bytes: usize) {
        self.state_bytes.set(i64::try_from(bytes).unwrap_or(i64::MAX));
    }
}

fn planned(plan: &Plan) -> impl Iterator<Item = &Reason> {
    plan.steps.iter().flat_map(|step| &step.reasons)
}

fn count_up(counter: &Usd, sum: MicroUsd) {
    let more = sum.as_usd() - counter.get();
    if more > 0.0 {
        counter.inc_by(more);
    }
}

impl From<&Offering> for OfferingLabels {
    fn from(offering: &Offering) -> Self {
        Self {
            instance_type: offering.instance_type.to_string(),
            zone: offering.zone.to_string(),
            capacity_type: offering.capacity_type.to_string(),
        }
    }
}
