//! Doing a plan: look again, drop a step when what it takes for granted no longer holds, and write down what became of
//! it. No choices are made here.
//!
//! The order of a plan is that of its kinds of steps: every node is cordoned before the first replacement is asked for,
//! and every replacement before the first pod is told to end. Steps of one kind are about different things, and are done
//! at once: ten drains do not queue behind each other's calls.

use std::{future::Future, sync::Arc, time::Duration};

use futures::{FutureExt as _, StreamExt as _, future::BoxFuture, stream};
use jiff::Timestamp;
use spotscale_decide::{
    cluster::Observation,
    planner::{Action, Plan, Step},
};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::{
    cluster::{Applied, Cluster, ClusterError},
    daemon::Tell,
    gate::Gate,
    look::Look,
    metrics::Metrics,
    state::{Decision, Outcome},
};

/// Calls to the cluster that are under way at once.
const AT_ONCE: usize = 16;

/// Who acts, and when it must not.
#[derive(Clone)]
pub(crate) struct Executor {
    pub(crate) cluster: Arc<dyn Cluster>,
    pub(crate) gate: Arc<dyn Gate>,
    pub(crate) call_timeout: Duration,
    pub(crate) shutdown: CancellationToken,
    pub(crate) metrics: Metrics,
    pub(crate) told: Option<Tell>,
}

/// What became of a plan.
#[derive(Default)]
pub(crate) struct Report {
    /// In the order of the plan.
    pub(crate) decisions: Vec<Decision>,
    /// Launches for which the provider had nothing left.
    pub(crate) no_capacity: Vec<Action>,
}

/// What a plan is done from.
struct Ground<'a> {
    at: Timestamp,
    term: u64,
    look: &'a Look,
}

// === impl Executor ===

impl Executor {
    /// Does the plan that was made of `seen` in `term`. At shutdown what is under way is finished, and nothing begun.
    pub(crate) async fn execute(&self, seen: Observation, term: u64, plan: &Plan) -> Report {
        let at = seen.at;
        let look = Look::new(seen);
        let ground = Ground { at, term, look: &look };
        let mut report = Report::default();
        for alike in plan.steps.chunk_by(|one, next| one.action.kind() == next.action.kind()) {
            let one = |(n, step)| self.step(&ground, step).map(move |done| (n, done)).boxed();
            let doing: Vec<BoxFuture<'_, _>> = alike.iter().enumerate().map(one).collect();
            let mut done: Vec<_> = stream::iter(doing).buffer_unordered(AT_ONCE).collect().await;
            done.sort_by_key(|(n, _)| *n);
            let done = done.into_iter().filter_map(|(_, done)| done);
            for (decision, no_capacity) in done {
                report.no_capacity.extend(no_capacity.then(|| decision.action.clone()));
                report.decisions.push(decision);
            }
        }
        report
    }

    /// Tells what would be done, if it is news: what is not done is planned anew at every tick.
    pub(crate) fn rehearse(&self, at: Timestamp, before: &[Step], plan: &Plan) -> Report {
        let news = |step: &&Step| !before.iter().any(|told| same(&told.action, &step.action));
        let decision = |step: &Step| {
            let Step { action, reasons, .. } = step.clone();
            let decision = Decision { at, action, reasons, outcome: Outcome::DryRun };
            self.tell(&decision);
            decision
        };
        let decisions = plan.steps.iter().filter(news).map(decision).collect();
        Report { decisions, ..Report::default() }
    }

    /// What became of the step, and whether there was no capacity for it; none when it was not even looked at.
    async fn step(&self, ground: &Ground<'_>, step: &Step) -> Option<(Decision, bool)> {
        if self.shutdown.is_cancelled() {
            return None;
        }
        let outcome = match ground.look.allows(step, self.observe()).await {
            Err(_) if self.shutdown.is_cancelled() => return None,
            Err(error) => Err(error),
            Ok(false) => Ok(Outcome::Dropped),
            Ok(true) => self.act(ground.term, &step.action).await,
        };
        let no_capacity = matches!(outcome, Err(ClusterError::NoCapacity(_)));
        let outcome = outcome.unwrap_or_else(|error| Outcome::Failed { error: error.to_string() });
        let Step { action, reasons, .. } = step.clone();
        let decision = Decision { at: ground.at, action, reasons, outcome };
        self.tell(&decision);
        Some((decision, no_capacity))
    }

    async fn act(&self, term: u64, action: &Action) -> Result<Outcome, ClusterError> {
        if self.gate.term() != Some(term) {
            return Ok(Outcome::NotLeading);
        }
        let applied = self.in_time(self.cluster.apply(action)).await;
        match applied.inspect_err(|error| self.metrics.failure("apply", error.kind()))? {
            Applied::Done => Ok(Outcome::Done),
            Applied::AlreadySo => Ok(Outcome::AlreadySo),
            Applied::Forced { against } => Ok(Outcome::Forced { against }),
        }
    }

    pub(crate) async fn observe(&self) -> Result<Observation, ClusterError> {
        let seen = self.in_time(self.cluster.observe());
        let Some(seen) = self.shutdown.run_until_cancelled(seen).await else {
            return Err(ClusterError::Unavailable("the daemon ends".to_owned()));
        };
        seen.inspect_err(|error| self.metrics.failure("observe", error.kind()))
    }

    async fn in_time<T>(
        &self,
        call: impl Future<Output = Result<T, ClusterError>>,
    ) -> Result<T, ClusterError> {
        let late = |_| ClusterError::Unavailable(format!("no answer in {:?}", self.call_timeout));
        timeout(self.call_timeout, call).await.map_err(late)?
    }

    fn tell(&self, decision: &Decision) {
        self.metrics.action(decision);
        if let Some(told) = &self.told {
            told(decision);
        }
        let because: Vec<String> = decision.reasons.iter().map(ToString::to_string).collect();
        let Decision { action, outcome, .. } = decision;
        match outcome {
            Outcome::Failed { error } => warn!(%action, ?because, error, "an action failed"),
            Outcome::Forced { against } => {
                warn!(%action, ?because, against, "an action was forced");
            }
            outcome => info!(%action, ?because, outcome = outcome.kind(), "an action"),
        }
    }
}

/// A machine that is not bought gets another name each time.
fn same(told: &Action, planned: &Action) -> bool {
    match (told, planned) {
        (Action::Launch { offering: told, .. }, Action::Launch { offering, .. }) => {
            told == offering
        }
        _ => told == planned,
    }
}
