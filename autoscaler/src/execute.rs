//! Doing a plan: look again before each step, drop it when what it takes for granted no longer holds, and write down
//! what became of it. No choices are made here.

use std::{future::Future, time::Duration};

use jiff::Timestamp;
use spotscale_decide::{
    cluster::Observation,
    planner::{Action, Plan, Step},
};
use tokio::time::timeout;
use tracing::{info, warn};

use crate::{
    cluster::{Applied, Cluster, ClusterError},
    metrics::Metrics,
    state::{Decision, Outcome},
};

pub(crate) struct Executor<'a> {
    pub(crate) cluster: &'a dyn Cluster,
    pub(crate) call_timeout: Duration,
    pub(crate) metrics: &'a Metrics,
}

/// What became of a plan.
#[derive(Default)]
pub(crate) struct Report {
    pub(crate) decisions: Vec<Decision>,
    /// Launches for which the provider had nothing left.
    pub(crate) no_capacity: Vec<Action>,
}

impl Executor<'_> {
    pub(crate) async fn execute(&self, at: Timestamp, plan: &Plan) -> Report {
        let mut report = Report::default();
        for Step { action, assumes, reasons } in &plan.steps {
            let outcome = match self.observe().await {
                Err(error) => Err(error),
                Ok(seen) if !assumes.iter().all(|that| that.holds(&seen)) => Ok(Outcome::Dropped),
                Ok(_) => self.apply(action).await,
            };
            if let Err(ClusterError::NoCapacity(_)) = &outcome {
                report.no_capacity.push(action.clone());
            }
            let outcome =
                outcome.unwrap_or_else(|error| Outcome::Failed { error: error.to_string() });
            let decision =
                Decision { at, action: action.clone(), reasons: reasons.clone(), outcome };
            self.tell(&decision);
            report.decisions.push(decision);
        }
        report
    }

    pub(crate) async fn observe(&self) -> Result<Observation, ClusterError> {
        let seen = self.in_time(self.cluster.observe()).await;
        seen.inspect_err(|error| self.metrics.failure("observe", error.kind()))
    }

    async fn apply(&self, action: &Action) -> Result<Outcome, ClusterError> {
        let applied = self.in_time(self.cluster.apply(action)).await;
        match applied.inspect_err(|error| self.metrics.failure("apply", error.kind()))? {
            Applied::Done => Ok(Outcome::Done),
            Applied::AlreadySo => Ok(Outcome::AlreadySo),
            Applied::Forced { against } => Ok(Outcome::Forced { against }),
        }
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
        let because: Vec<String> = decision.reasons.iter().map(ToString::to_string).collect();
        let Decision { action, outcome, .. } = decision;
        match outcome {
            Outcome::Failed { error } => warn!(?action, ?because, error, "an action failed"),
            Outcome::Forced { against } => {
                warn!(?action, ?because, against, "an action was forced");
            }
            outcome => info!(?action, ?because, outcome = outcome.kind(), "an action"),
        }
    }
}
