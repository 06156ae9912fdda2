//! Doing a plan: look again, drop a step when what it takes for granted no longer holds, and write down what became of
//! it. No choices are made here. A call that has not been answered when our term is over is given up.
//!
//! The order of a plan is that of its kinds of steps: every node is cordoned before the first replacement is asked for,
//! and every replacement before the first pod is told to end. Steps of one kind are about different things, and are done
//! at once: ten drains do not queue behind each other's calls.
//!
//! A pod that a deadline forces out waits for no call that hangs: half a margin after that is due everything else is given
//! up, or left to the next plan, and the other half is the eviction's.

use std::{future::Future, sync::Arc, time::Duration};

use futures::{FutureExt as _, StreamExt as _, future::BoxFuture, stream};
use jiff::Timestamp;
use spotscale_decide::{
    cluster::Observation,
    planner::{Action, Plan, Step},
    units::Millis,
};
use tokio::time::{Instant, timeout};
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
    /// A pod is forced out so long before its last moment.
    pub(crate) evict_margin: Duration,
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
    /// What is not forced is given up then.
    until: Option<Instant>,
}

// === impl Executor ===

impl Executor {
    /// Does the plan that was made of `seen` in `term`. At shutdown what is under way is finished, and nothing begun.
    pub(crate) async fn execute(&self, seen: Observation, term: u64, plan: &Plan) -> Report {
        let at = seen.at;
        let look = Look::new(seen);
        let ground = Ground { at, term, look: &look, until: self.until(at, plan) };
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

    /// When what is not forced is given up for the sake of what is, now or next.
    fn until(&self, at: Timestamp, plan: &Plan) -> Option<Instant> {
        let is_due = plan.steps.iter().any(|step| is_forced(&step.action));
        let due = if is_due { Some(at) } else { plan.forced_at }?;
        let left = Duration::from_millis(Millis::between(at, due).0) + self.evict_margin / 2;
        Some(Instant::now() + left)
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
        let patience = self.patience(ground, &step.action);
        if self.shutdown.is_cancelled() || patience.is_zero() {
            return None;
        }
        let outcome = match ground.look.allows(step, self.observe()).await {
            Err(_) if self.shutdown.is_cancelled() => return None,
            Err(error) => Err(error),
            Ok(false) => Ok(Outcome::Dropped),
            Ok(true) => self.act(ground.term, &step.action, patience).await,
        };
        let no_capacity = matches!(outcome, Err(ClusterError::NoCapacity(_)));
        let outcome = outcome.unwrap_or_else(|error| Outcome::Failed { error: error.to_string() });
        let Step { action, reasons, .. } = step.clone();
        let decision = Decision { at: ground.at, action, reasons, outcome };
        self.tell(&decision);
        Some((decision, no_capacity))
    }

    fn patience(&self, ground: &Ground<'_>, action: &Action) -> Duration {
        let until = ground.until.filter(|_| !is_forced(action));
        let left = until.map_or(Duration::MAX, |at| at.saturating_duration_since(Instant::now()));
        left.min(self.call_timeout)
    }

    async fn act(
        &self,
        term: u64,
        action: &Action,
        patience: Duration,
    ) -> Result<Outcome, ClusterError> {
        if self.gate.term() != Some(term) {
            return Ok(Outcome::NotLeading);
        }
        let applied = tokio::select! {
            biased;
            applied = in_time(patience, self.cluster.apply(action)) => applied,
            // Whether it was done is not known: it counts as tried.
            () = self.gate.over(term) => Err(ClusterError::Unavailable(
                "no answer before another may lead".to_owned(),
            )),
        };
        match applied.inspect_err(|error| self.metrics.failure("apply", error.kind()))? {
            Applied::Done => Ok(Outcome::Done),
            Applied::AlreadySo => Ok(Outcome::AlreadySo),
            Applied::Forced { against } => Ok(Outcome::Forced { against }),
        }
    }

    pub(crate) async fn observe(&self) -> Result<Observation, ClusterError> {
        let seen = in_time(self.call_timeout, self.cluster.observe());
        let Some(seen) = self.shutdown.run_until_cancelled(seen).await else {
            return Err(ClusterError::Unavailable("the daemon ends".to_owned()));
        };
        seen.inspect_err(|error| self.metrics.failure("observe", error.kind()))
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

async fn in_time<T>(
    patience: Duration,
    call: impl Future<Output = Result<T, ClusterError>>,
) -> Result<T, ClusterError> {
    let late = |_| ClusterError::Unavailable(format!("no answer in {patience:?}"));
    timeout(patience, call).await.map_err(late)?
}

const fn is_forced(action: &Action) -> bool {
    matches!(action, Action::Evict { force: true, .. })
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
