//! One trigger of one ScaledObject, and the service that it scales: memory, inputs, the present snapshot.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, Weak,
        atomic::{AtomicU64, Ordering},
    },
};

use serde::Serialize;
use spotscale_decide::{
    demand::{Demand, Demands, ReportError, ServiceCounters},
    freshness::Aged,
    replicas::{Decision, Memory, Signals, decide},
    units::{FrontId, Millis, PriceRatio, Ratio, Replicas, Requests, UsdPerHour},
};
use spotscale_proto::externalscaler::ScaledObjectRef;
use tokio::sync::watch;

use super::{lock, metrics::Metrics, signals::Readings, snapshot::Snapshot, trigger::Trigger};

/// What tells one trigger from another. An edited trigger is a new one; the old one expires.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub(crate) struct Key {
    pub(crate) namespace: String,
    pub(crate) name: String,
    pub(crate) metadata: BTreeMap<String, String>,
}

/// A trigger that KEDA asks about.
pub(crate) struct Object {
    pub(crate) key: Key,
    pub(crate) trigger: Trigger,
    service: Arc<Service>,
    memory: Mutex<Memory>,
    current: watch::Sender<Arc<Snapshot>>,
    asked_at: AtomicU64,
}

/// A service that fronts report on, and the triggers that scale it.
#[derive(Default)]
pub(crate) struct Service {
    demand: Mutex<Demands>,
    objects: Mutex<Vec<Weak<Object>>>,
}

/// The part of the demand whose change is worth a decision at once.
type Edge = Option<(Requests, Requests, Replicas, Option<Millis>)>;

impl From<ScaledObjectRef> for Key {
    fn from(reference: ScaledObjectRef) -> Self {
        let ScaledObjectRef { name, namespace, scaler_metadata } = reference;
        Self { namespace, name, metadata: scaler_metadata.into_iter().collect() }
    }
}

impl Object {
    pub(crate) fn new(key: Key, trigger: Trigger, service: Arc<Service>, now: Millis) -> Arc<Self> {
        let decision = Decision { scale: None, reasons: Vec::new() };
        let nothing = Snapshot { id: 0, at: now, signals: Signals::default(), decision };
        let object = Arc::new(Self {
            key,
            trigger,
            service,
            memory: Mutex::default(),
            current: watch::Sender::new(Arc::new(nothing)),
            asked_at: AtomicU64::new(now.0),
        });
        lock(&object.service.objects).push(Arc::downgrade(&object));
        object
    }

    /// The present answer.
    pub(crate) fn snapshot(&self) -> Arc<Snapshot> {
        self.current.borrow().clone()
    }

    /// The present answer and every later one.
    pub(crate) fn subscribe(&self) -> watch::Receiver<Arc<Snapshot>> {
        self.current.subscribe()
    }

    /// What the next decision will remember.
    pub(crate) fn memory(&self) -> Memory {
        lock(&self.memory).clone()
    }

    /// Notes that KEDA has asked.
    pub(crate) fn touch(&self, now: Millis) {
        self.asked_at.fetch_max(now.0, Ordering::Relaxed);
    }

    /// When KEDA last asked.
    pub(crate) fn asked_at(&self) -> Millis {
        Millis(self.asked_at.load(Ordering::Relaxed))
    }

    /// Whether KEDA still cares: it has asked since `since`, or holds a stream open.
    pub(crate) fn is_wanted(&self, since: Millis) -> bool {
        self.asked_at() >= since || self.current.receiver_count() > 0
    }

    /// Decides anew and publishes the snapshot. The memory is locked throughout, so decisions come one after the other.
    pub(crate) fn decide(&self, now: Millis, readings: &Readings, metrics: &Metrics) {
        let mut memory = lock(&self.memory);
        let signals = self.signals(now, readings);
        let (decision, next) =
            decide(now, &self.trigger.policy, &signals, std::mem::take(&mut *memory));
        *memory = next;
        for reason in &decision.reasons {
            metrics.decision(reason.kind());
        }
        let id = self.current.borrow().id + 1;
        self.current.send_replace(Arc::new(Snapshot { id, at: now, signals, decision }));
    }

    fn signals(&self, now: Millis, readings: &Readings) -> Signals {
        let gpu = self.trigger.gpu.as_ref().and_then(|query| readings.get(query).good);
        let price = self.trigger.price.as_ref().and_then(|(query, on_demand)| {
            readings.get(query).good.and_then(|spot| ratio(spot, *on_demand))
        });
        Signals {
            demand: self.service.demand(now),
            gpu: gpu.and_then(|Aged { value, at }| {
                Some(Aged { value: Ratio::try_from(value).ok()?, at })
            }),
            price,
        }
    }
}

impl Service {
    /// Takes in a report; says whether the change is worth a decision at once.
    pub(crate) fn report(
        &self,
        now: Millis,
        front: &FrontId,
        sequence: u64,
        counters: ServiceCounters,
    ) -> Result<bool, ReportError> {
        let mut demand = lock(&self.demand);
        let before = edge(&demand, now);
        demand.report(now, front, sequence, counters)?;
        Ok(edge(&demand, now) != before)
    }

    /// Forgets a front now instead of at its expiry; says whether that changes anything.
    pub(crate) fn leave(&self, now: Millis, front: &FrontId) -> bool {
        let mut demand = lock(&self.demand);
        let before = edge(&demand, now);
        demand.leave(now, front);
        edge(&demand, now) != before
    }

    /// The triggers that scale it.
    pub(crate) fn objects(&self) -> Vec<Arc<Object>> {
        let mut objects = lock(&self.objects);
        objects.retain(|object| object.strong_count() > 0);
        objects.iter().filter_map(Weak::upgrade).collect()
    }

    /// What its fronts say, if any does.
    pub(crate) fn demand(&self, now: Millis) -> Option<Aged<Demand>> {
        lock(&self.demand).demand(now)
    }

    /// Whether anybody reports on it or scales it.
    pub(crate) fn is_wanted(&self, now: Millis) -> bool {
        self.demand(now).is_some() || !self.objects().is_empty()
    }
}

fn edge(demand: &Demands, now: Millis) -> Edge {
    let Aged { value, .. } = demand.demand(now)?;
    Some((value.held, value.in_flight, value.endpoints, value.last_arrival_at))
}

fn ratio(spot: Aged<f64>, on_demand: UsdPerHour) -> Option<Aged<PriceRatio>> {
    let value = PriceRatio::try_from(spot.value / on_demand.as_usd()).ok()?;
    Some(Aged { value, at: spot.at })
}
