//! The daemon's metrics. Money is counted up: a sum that a correction made smaller stays where it was until the sum has
//! caught up, as a counter must.

use std::{collections::BTreeSet, sync::atomic::AtomicU64};

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, gauge::Gauge},
    registry::{Registry, Unit},
};
use spotscale_decide::{
    cluster::Offering,
    ledger::Totals,
    planner::{Plan, Reason},
    units::MicroUsd,
};

use crate::state::{Decision, State};

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
    price_age_seconds: Gauge<f64, AtomicU64>,
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
        let (help, age) = ("Age of the prices in use", self.price_age_seconds.clone());
        registry.register_with_unit("spotscale_price_age", help, Unit::Seconds, age);
    }

    /// Counts one tick. What was refused counts when it begins, not at every tick that it lasts.
    pub(crate) fn tick(&self, before: Option<&State>, now: &State) {
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

    pub(crate) fn price_age_seconds(&self, seconds: f64) {
        self.price_age_seconds.set(seconds);
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
