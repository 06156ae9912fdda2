//! What the cluster looks like while a plan is done: looked at again when the last look is no longer fresh, and not at
//! every step, since a look at thousands of nodes is not for nothing. What we did since then counts as seen.

use std::time::Duration;

use spotscale_decide::{
    cluster::{Observation, PodPhase},
    planner::{Action, Step},
};
use tokio::{sync::Mutex, time::Instant};

use crate::cluster::ClusterError;

/// A look is fresh for so long. A cluster's own view of itself lags by about as much.
const FRESH: Duration = Duration::from_millis(100);

pub(crate) struct Look(Mutex<Seen>);

struct Seen {
    at: Instant,
    seen: Observation,
}

// === impl Look ===

impl Look {
    /// From a look that was taken just now.
    pub(crate) fn new(seen: Observation) -> Self {
        Self(Mutex::new(Seen { at: Instant::now(), seen }))
    }

    /// Does what the step takes for granted hold? If so it counts as done from now on: of two evictions that each need
    /// one pod to spare, the second one is asked about what the first one leaves.
    pub(crate) async fn allows(
        &self,
        step: &Step,
        observe: impl Future<Output = Result<Observation, ClusterError>>,
    ) -> Result<bool, ClusterError> {
        let mut last = self.0.lock().await;
        if last.at.elapsed() >= FRESH {
            last.seen = observe.await?;
            last.at = Instant::now();
        }
        let holds = step.assumes.iter().all(|that| that.holds(&last.seen));
        if let (true, Action::Evict { pod, .. }) = (holds, &step.action) {
            let evicted = last.seen.pods.iter_mut().filter(|seen| &seen.name == pod);
            evicted.for_each(|pod| pod.phase = PodPhase::Terminating);
        }
        Ok(holds)
    }
}

#[cfg(test)]
mod tests {
    use spotscale_decide::{
        cluster::Pod,
        planner::Assumption,
        units::{Millis, PodName, WorkloadName},
    };

    use super::*;

    fn workload() -> WorkloadName {
        "resnet".parse().unwrap()
    }

    fn pod(name: &str) -> Pod {
        Pod {
            name: name.parse().unwrap(),
            workload: Some(workload()),
            node: None,
            phase: PodPhase::Ready,
            surged: true,
            grace_ms: Millis::ZERO,
            critical: false,
        }
    }

    /// Of one pod that is wanted another must serve, whoever goes.
    fn eviction(pod: &str) -> Step {
        let pod: PodName = pod.parse().unwrap();
        let serving = Assumption::Serving { workload: workload(), pods_min: 2 };
        let action = Action::Evict { pod, by: None, force: false };
        Step { action, assumes: vec![serving], reasons: vec![] }
    }

    #[tokio::test(start_paused = true)]
    async fn what_we_evicted_serves_no_more_and_an_old_look_is_renewed() {
        let seen = Observation {
            at: jiff::Timestamp::UNIX_EPOCH,
            workloads: vec![],
            nodes: vec![],
            pods: ["a", "b", "c"].map(pod).to_vec(),
            notices: vec![],
            provisioner: None,
        };
        let look = Look::new(seen.clone());
        let unasked = || async { panic!("the look is fresh") };
        assert_eq!(look.allows(&eviction("a"), unasked()).await, Ok(true));
        assert_eq!(look.allows(&eviction("b"), unasked()).await, Ok(true));
        assert_eq!(look.allows(&eviction("c"), unasked()).await, Ok(false), "the last one");
        tokio::time::advance(FRESH).await;
        assert_eq!(look.allows(&eviction("c"), async { Ok(seen) }).await, Ok(true));
    }
}
