//! Stands in for KEDA and the HPA: calls the real scaler over gRPC as KEDA v2.20 does (same calls, same order, same
//! reconnects) and moves a replica count as both of them would. No Kubernetes; what it knows is what the RPCs say.

mod rpc;
#[cfg(test)]
mod tests;

use std::{sync::Arc, time::Duration};

use spotscale_decide::units::Millis;
use tokio::{
    sync::Mutex,
    time::{Instant, MissedTickBehavior, interval, sleep, timeout},
};
use tokio_util::sync::CancellationToken;
use tonic::{Status, transport::Channel};
use tracing::{info, warn};

use self::rpc::Scaler;
use spotscale_simulate::{
    hpa::{self, Behavior, Metric},
    keda::{self, Activity, Limits},
};

/// The deadline of the aggregated metrics request through which an HPA asks. KEDA's own polls have none.
const HPA_TIMEOUT: Duration = Duration::from_mins(1);
const RECONNECT_FIRST: Duration = Duration::from_secs(2);
const RECONNECT_LAST: Duration = Duration::from_mins(1);

/// What is scaled: the `scale` subresource of a Deployment.
pub(crate) trait ScaleTarget: Send + Sync {
    /// The replicas asked for now.
    fn replicas(&self) -> u32;
    /// Asks for this many.
    fn scale(&self, replicas: u32);
}

/// A `ScaledObject` with one `external-push` trigger, and the HPA that KEDA makes for it.
#[derive(Debug, Clone)]
pub(crate) struct ScaledObject {
    /// Its name; the namespace is always `local`.
    pub name: String,
    /// The trigger's metadata, as the scaler gets it.
    pub metadata: Vec<(String, String)>,
    /// `minReplicaCount`.
    pub min_replicas: u32,
    /// `maxReplicaCount`.
    pub max_replicas: u32,
    /// `pollingInterval`.
    pub polling_interval: Duration,
    /// `cooldownPeriod`: from the last activity to the step to zero.
    pub cooldown: Duration,
    /// The controller manager's `--horizontal-pod-autoscaler-sync-period`.
    pub hpa_sync_period: Duration,
    /// `behavior.scaleDown.stabilizationWindowSeconds`.
    pub down_stabilization: Duration,
}

/// Plays KEDA and the HPA until `shutdown`.
pub(crate) async fn run(
    object: ScaledObject,
    scaler: Channel,
    target: Arc<dyn ScaleTarget>,
    shutdown: CancellationToken,
) {
    let operator = Operator {
        scaler: Scaler::new(scaler, &object),
        last_active: Mutex::new(None),
        target,
        object,
    };
    let _ = shutdown
        .run_until_cancelled(async {
            tokio::join!(operator.poll_forever(), operator.listen_forever(), operator.hpa_forever())
        })
        .await;
}

struct Operator {
    object: ScaledObject,
    scaler: Scaler,
    target: Arc<dyn ScaleTarget>,
    /// KEDA keeps one lock per `ScaledObject` and holds it while a poll is under way, so a slow scaler delays its own pushes.
    last_active: Mutex<Option<Instant>>,
}

impl Operator {
    async fn poll_forever(&self) {
        let mut ticks = interval(self.object.polling_interval);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            self.poll().await;
        }
    }

    async fn poll(&self) {
        let mut last_active = self.last_active.lock().await;
        // KEDA rebuilds the scaler after an error and asks once more at once.
        let gathered = match self.scaler.poll().await {
            Err(_) => self.scaler.poll().await,
            answered => answered,
        };
        let activity = match gathered {
            Ok(true) => Activity::Active,
            Ok(false) => Activity::Inactive,
            Err(error) => {
                warn!(%error, "the scaler did not answer a poll; replicas stay");
                Activity::Unknown
            }
        };
        self.act(activity, &mut last_active);
    }

    fn act(&self, activity: Activity, last_active: &mut Option<Instant>) {
        if activity == Activity::Active {
            *last_active = Some(Instant::now());
        }
        let limits = Limits {
            min_replicas: self.object.min_replicas,
            cooldown: millis(self.object.cooldown),
        };
        let current = self.target.replicas();
        let idle_for = last_active.map(|at| millis(at.elapsed()));
        if let Some(replicas) = keda::scale_to(limits, activity, current, idle_for) {
            info!(from = current, to = replicas, "KEDA's stand-in scales");
            self.target.scale(replicas);
        }
    }

    /// `StreamIsActive`, opened anew after 2 s and then twice as long each time; only a clean end resets the wait.
    async fn listen_forever(&self) {
        let mut wait = RECONNECT_FIRST;
        loop {
            match self.listen().await {
                Ok(()) => wait = RECONNECT_FIRST,
                Err(error) => warn!(%error, "the push stream broke"),
            }
            sleep(wait).await;
            wait = RECONNECT_LAST.min(wait * 2);
        }
    }

    async fn listen(&self) -> Result<(), Status> {
        let mut pushes = self.scaler.stream_is_active().await?;
        while let Some(message) = pushes.message().await? {
            // A pushed `false` has no effect: deactivation is left to the polls.
            if message.result {
                self.act(Activity::Active, &mut *self.last_active.lock().await);
            }
        }
        Ok(())
    }

    async fn hpa_forever(&self) {
        let behavior = Behavior::standard(
            self.object.min_replicas,
            self.object.max_replicas,
            millis(self.object.down_stabilization),
        );
        let (mut memory, start) = (hpa::Memory::default(), Instant::now());
        let mut ticks = interval(self.object.hpa_sync_period);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            let Some(metrics) = self.hpa_metrics().await else { continue };
            let now = millis(start.elapsed());
            let current = self.target.replicas();
            let replicas = hpa::sync(&behavior, &mut memory, now, current, &metrics);
            if replicas != current {
                info!(from = current, to = replicas, "the HPA's stand-in scales");
                self.target.scale(replicas);
            }
        }
    }

    /// The metrics of one sync; `None` at zero replicas, where the HPA is off, and when any is missing: then it holds.
    async fn hpa_metrics(&self) -> Option<Vec<Metric>> {
        if self.target.replicas() == 0 {
            return None;
        }
        let answer = timeout(HPA_TIMEOUT, self.scaler.metrics()).await;
        match answer.unwrap_or_else(|_| Err(Status::deadline_exceeded("no answer within 60 s"))) {
            Ok(metrics) if !metrics.is_empty() => Some(metrics),
            Ok(_) => {
                warn!("the scaler offers no metric; replicas stay");
                None
            }
            Err(error) => {
                warn!(%error, "the scaler did not answer the HPA; replicas stay");
                None
            }
        }
    }
}

fn millis(span: Duration) -> Millis {
    Millis(u64::try_from(span.as_millis()).unwrap_or(u64::MAX))
}
