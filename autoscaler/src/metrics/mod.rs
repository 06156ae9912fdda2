//! The daemon's metrics.

mod drains;
mod money;

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
    cluster::Notice,
    ledger::Totals,
    planner::{Plan, Reason},
};

use tokio::time::Instant;

use self::{drains::Drains, money::Money};
use crate::state::{Decision, Role, State};

/// Everything that is counted.
#[derive(Clone, Default)]
pub(crate) struct Metrics {
    money: Money,
    drains: Drains,
    interruptions: Family<InterruptionLabels, Counter>,
    reasons: Family<ReasonLabel, Counter>,
    actions: Family<ActionLabels, Counter>,
    failures: Family<FailureLabels, Counter>,
    notices: Family<NoticeLabels, Counter>,
    price_age_seconds: Gauge<f64, AtomicU64>,
    throughput: Family<ThroughputLabels, Gauge<f64, AtomicU64>>,
    leads: Gauge,
    dry_run: Gauge,
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
struct InterruptionLabels {
    kind: &'static str,
    zone: String,
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
struct ThroughputLabels {
    instance_type: String,
    source: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct FailureLabels {
    call: &'static str,
    kind: &'static str,
}

impl Metrics {
    pub(crate) fn register(&self, registry: &mut Registry) {
        self.money.register(registry);
        self.drains.register(registry);
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
        let help = "What a machine of the type is taken to answer, and how that is known";
        let throughput = self.throughput.clone();
        registry.register_with_unit(
            "spotscale_autoscaler_throughput",
            help,
            per_second(),
            throughput,
        );
        let help = "Is this the daemon that acts? 1 or 0";
        registry.register("spotscale_autoscaler_leads", help, self.leads.clone());
        let help = "Does this daemon only tell what it would do? 1 or 0";
        registry.register("spotscale_autoscaler_dry_run", help, self.dry_run.clone());
        let help = "What one look, one plan and its execution took";
        let ticks = self.tick_seconds.0.clone();
        registry.register_with_unit("spotscale_autoscaler_tick", help, Unit::Seconds, ticks);
        let (help, bytes) = ("Size of the state that was saved last", self.state_bytes.clone());
        registry.register_with_unit("spotscale_autoscaler_state", help, Unit::Bytes, bytes);
    }

    /// Counts one tick. What was refused counts when it begins, not at every tick that it lasts.
    pub(crate) fn tick(&self, before: Option<&State>, now: &State) {
        self.leads.set((now.role == Role::Leader).into());
        self.dry_run.set((now.role == Role::DryRun).into());
        self.drains.see(&now.snapshot.seen);
        self.money.rates(&now.snapshot);
        self.throughput.clear();
        for rate in &now.plan.rates {
            let (instance_type, source) = (rate.instance_type.to_string(), rate.source.kind());
            let labels = ThroughputLabels { instance_type, source };
            self.throughput.get_or_create(&labels).set(rate.per_second.get());
        }
        if now.role == Role::Standby {
            self.money.hush();
        }
        for Notice { node, kind } in &now.plan.noticed {
            let node = now.snapshot.seen.nodes.iter().find(|known| &known.name == node);
            let zone = node.map(|node| node.offering.zone.to_string()).unwrap_or_default();
            let labels = InterruptionLabels { kind: kind.kind(), zone };
            self.interruptions.get_or_create(&labels).inc();
        }
        let known: BTreeSet<&Reason> =
            before.into_iter().flat_map(|before| &before.plan.refused).collect();
        let new = now.plan.refused.iter().filter(|reason| !known.contains(reason));
        planned(&now.plan).chain(new).for_each(|reason| self.reason(reason.kind()));
    }

    /// Counts the money up to these sums.
    pub(crate) fn money(&self, totals: &Totals) {
        self.money.count(totals);
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

fn per_second() -> Unit {
    Unit::Other("requests_per_second".to_owned())
}

fn planned(plan: &Plan) -> impl Iterator<Item = &Reason> {
    plan.steps.iter().flat_map(|step| &step.reasons)
}
