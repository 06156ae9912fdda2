//! Kubernetes events that tell of decisions, on the objects that they are about, for `kubectl describe`. What repeats is
//! counted up in one event; when there are too many, for instance when hundreds of nodes are lost at once, the rest is
//! left out here: the log, the metrics and `/debug/plan` have all.

use std::{sync::Arc, time::Duration};

use k8s_openapi::api::core::v1::ObjectReference;
use kube::{
    Resource as _,
    runtime::{
        events::{Event, EventType, Recorder, Reporter},
        reflector::ObjectRef,
    },
};
use spotscale_decide::planner::Action;
use tokio::{sync::mpsc, time::Instant};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{
    KubeCluster,
    kinds::{Kind, Object},
    metrics::Metrics,
    names::MANAGER,
    watch::Watched,
};
use crate::state::{Decision, Outcome};

/// Events that may come at once.
const BURST: f64 = 100.0;
/// And then so many a second.
const PER_SECOND: f64 = 1.0;
/// That wait for the API server.
const WAITING_MAX: usize = 200;
/// The API server takes no more.
const NOTE_MAX: usize = 1000;

/// Where decisions are told.
pub struct Events {
    cluster: Arc<KubeCluster>,
    queue: mpsc::Sender<(ObjectReference, Event)>,
}

impl Events {
    /// Tells as `instance`, until `end`.
    pub fn start(
        cluster: &Arc<KubeCluster>,
        instance: &str,
        tasks: &TaskTracker,
        end: &CancellationToken,
    ) -> Self {
        let (queue, waiting) = mpsc::channel(WAITING_MAX);
        let reporter = Reporter {
            controller: format!("spotscale.dev/{MANAGER}"),
            instance: Some(instance.to_owned()),
        };
        let recorder = Recorder::new(cluster.client.clone(), reporter);
        let teller =
            Teller { recorder, metrics: cluster.metrics.clone(), allowance: Allowance::new() };
        tasks.spawn(end.clone().run_until_cancelled_owned(teller.run(waiting)));
        Self { cluster: Arc::clone(cluster), queue }
    }

    /// Tells of a decision, if it changed something or failed. Never waits.
    pub fn tell(&self, decision: &Decision) {
        let Some((event, about)) = event(decision).zip(self.cluster.about(&decision.action)) else {
            return;
        };
        if self.queue.try_send((about, event)).is_err() {
            self.cluster.metrics.event_left_out();
        }
    }
}

impl KubeCluster {
    /// The object that an action is about, if it is still known.
    fn about(&self, action: &Action) -> Option<ObjectReference> {
        match action {
            Action::Protect { node }
            | Action::Cordon { node, .. }
            | Action::Uncordon { node }
            | Action::Terminate { node } => reference(&self.stores.nodes, node.as_str(), None)
                .or_else(|| reference(&self.stores.claims, node.as_str(), None)),
            Action::Surge { pod } | Action::Evict { pod, .. } => {
                let (namespace, name) = pod.as_str().split_once('/')?;
                reference(&self.stores.pods, name, Some(namespace))
            }
            Action::Weigh { pool, .. } | Action::Close { pool, .. } => {
                reference(&self.stores.pools, pool.as_str(), None)
            }
            Action::Launch { .. } | Action::Overlay { .. } => None,
        }
    }
}

fn reference<K: Kind>(
    watched: &Watched<K>,
    name: &str,
    namespace: Option<&str>,
) -> Option<ObjectReference> {
    let key = ObjectRef::<Object<K>>::new(name);
    let key = namespace.map_or(key.clone(), |namespace| key.within(namespace));
    let object = watched.store.get(&key)?;
    // Of the state that it was in when it was looked at, nobody wants to know.
    Some(ObjectReference { resource_version: None, ..object.object_ref(&()) })
}

fn event(decision: &Decision) -> Option<Event> {
    let type_ = match &decision.outcome {
        Outcome::Done => EventType::Normal,
        Outcome::Forced { .. } | Outcome::Failed { .. } => EventType::Warning,
        Outcome::AlreadySo | Outcome::Dropped | Outcome::DryRun | Outcome::NotLeading => {
            return None;
        }
    };
    let mut note = decision.to_string();
    note.truncate(note.floor_char_boundary(NOTE_MAX));
    let kind = decision.action.kind();
    Some(Event {
        type_,
        reason: format!("Spotscale{}{}", kind[..1].to_uppercase(), &kind[1..]),
        note: Some(note),
        action: kind.to_owned(),
        secondary: None,
    })
}

struct Teller {
    recorder: Recorder,
    metrics: Metrics,
    allowance: Allowance,
}

impl Teller {
    async fn run(mut self, mut waiting: mpsc::Receiver<(ObjectReference, Event)>) {
        while let Some((about, event)) = waiting.recv().await {
            if !self.allowance.take(Instant::now()) {
                self.metrics.event_left_out();
            } else if let Err(error) = self.recorder.publish(&event, &about).await {
                self.metrics.event_left_out();
                tracing::debug!(%error, "an event was not told");
            }
        }
    }
}

/// A bucket that fills with time.
struct Allowance {
    left: f64,
    at: Instant,
}

impl Allowance {
    fn new() -> Self {
        Self { left: BURST, at: Instant::now() }
    }

    fn take(&mut self, now: Instant) -> bool {
        let passed: Duration = now.duration_since(self.at);
        self.left = PER_SECOND.mul_add(passed.as_secs_f64(), self.left).min(BURST);
        self.at = now;
        let is_left = self.left >= 1.0;
        if is_left {
            self.left -= 1.0;
        }
        is_left
    }
}

#[cfg(test)]
mod tests {
    use spotscale_decide::planner::Reason;

    use super::*;
    use crate::kubernetes::mapping::testing::at;

    fn decision(outcome: Outcome) -> Decision {
        Decision {
            at: at(0),
            action: Action::Uncordon { node: "a".parse().unwrap() },
            reasons: vec![Reason::NoticeWithdrawn { node: "a".parse().unwrap() }],
            outcome,
        }
    }

    #[test]
    fn what_was_done_is_told_with_its_reasons() {
        let told = event(&decision(Outcome::Done)).unwrap();
        assert_eq!((told.type_, told.reason.as_str()), (EventType::Normal, "SpotscaleUncordon"));
        let expected = format!("uncordon a: {}", decision(Outcome::Done).reasons[0]);
        assert_eq!(told.note, Some(expected));
        assert!(event(&decision(Outcome::AlreadySo)).is_none());
        let failed = event(&decision(Outcome::Failed { error: "é".repeat(800) })).unwrap();
        assert_eq!(failed.type_, EventType::Warning);
        assert!(failed.note.unwrap().len() <= NOTE_MAX);
    }

    #[tokio::test(start_paused = true)]
    async fn a_flood_is_cut_off_and_recovers() {
        let mut allowance = Allowance::new();
        let now = Instant::now();
        assert_eq!((0..5000).filter(|_| allowance.take(now)).count(), 100);
        let later = now + Duration::from_secs(10);
        assert_eq!((0..5000).filter(|_| allowance.take(later)).count(), 10);
    }
}
