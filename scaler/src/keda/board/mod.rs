//! All that the scaler knows: ScaledObjects by what KEDA calls them, services by what fronts call them. Bounded, and
//! every entry is forgotten when nobody asks or reports any more.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::{Arc, Mutex},
    time::Duration,
};

use spotscale_decide::units::Millis;
use spotscale_proto::externalscaler::ScaledObjectRef;
use tokio::{
    task::yield_now,
    time::{MissedTickBehavior, interval},
};
use tokio_util::sync::CancellationToken;
use tonic::Status;

use super::{
    clock::Clock,
    config::Limits,
    demand::Report,
    lock,
    metrics::Metrics,
    object::{Key, Object, Service},
    signals::Readings,
    trigger::{NamedQueries, Trigger, TriggerError},
};

/// Without a report that changes something, every object is decided on this often.
const TICK: Duration = Duration::from_secs(1);

/// The state of one scaler process.
pub(crate) struct Board {
    pub(crate) clock: Clock,
    pub(crate) readings: Arc<Readings>,
    limits: Limits,
    queries: NamedQueries,
    metrics: Arc<Metrics>,
    objects: Mutex<BTreeMap<Key, Arc<Object>>>,
    services: Mutex<HashMap<String, Arc<Service>>>,
}

/// Why a ScaledObject cannot be looked up.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BoardError {
    /// KEDA sent no name.
    #[error("scaledObjectRef: {0} is empty")]
    Nameless(&'static str),
    /// The trigger is wrong.
    #[error(transparent)]
    Trigger(#[from] TriggerError),
    /// The table is full.
    #[error("already {objects_max} triggers are known (--objects-max)")]
    Full {
        /// The limit.
        objects_max: usize,
    },
}

impl From<BoardError> for Status {
    fn from(error: BoardError) -> Self {
        match error {
            BoardError::Full { .. } => Self::resource_exhausted(error.to_string()),
            _ => Self::invalid_argument(error.to_string()),
        }
    }
}

impl Board {
    pub(crate) fn new(
        limits: Limits,
        queries: NamedQueries,
        readings: Arc<Readings>,
        clock: Clock,
        metrics: Arc<Metrics>,
    ) -> Self {
        let (objects, services) = (Mutex::default(), Mutex::default());
        Self { clock, readings, limits, queries, metrics, objects, services }
    }

    /// The object that KEDA means, made and decided on when it is new.
    pub(crate) fn object(&self, reference: ScaledObjectRef) -> Result<Arc<Object>, BoardError> {
        let now = self.clock.now();
        let key = Key::from(reference);
        let mut objects = lock(&self.objects);
        if let Some(object) = objects.get(&key) {
            object.touch(now);
            return Ok(object.clone());
        }
        let trigger = self.trigger(&key)?;
        let objects_max = self.limits.objects_max;
        if objects.len() >= objects_max {
            return Err(BoardError::Full { objects_max });
        }
        for query in trigger.queries() {
            self.readings.want(query);
        }
        let object = {
            // Under the lock until the object holds on to it, so that `forget` cannot come between.
            let mut services = lock(&self.services);
            let service = services.entry(trigger.service.clone()).or_default().clone();
            Object::new(key.clone(), trigger, service, now)
        };
        objects.insert(key, object.clone());
        object.decide(now, &self.readings, &self.metrics);
        Ok(object)
    }

    /// Takes in a front's report, and decides at once wherever it changes something.
    pub(crate) fn report(&self, report: &Report) {
        let now = self.clock.now();
        for (name, counters) in &report.services {
            let Some(service) = self.service(name) else {
                self.metrics.report("no_room");
                continue;
            };
            match service.report(now, &report.front, report.sequence, *counters) {
                Ok(changed) => {
                    self.metrics.report("accepted");
                    if changed {
                        self.decide(now, &service.objects());
                    }
                }
                Err(error) => self.metrics.report(error.kind()),
            }
        }
        if report.leaving {
            let services: Vec<_> = lock(&self.services).values().cloned().collect();
            for service in services {
                if service.leave(now, &report.front) {
                    self.decide(now, &service.objects());
                }
            }
        }
    }

    /// Every object known.
    pub(crate) fn objects(&self) -> Vec<Arc<Object>> {
        lock(&self.objects).values().cloned().collect()
    }

    /// Every service known.
    pub(crate) fn services(&self) -> Vec<(String, Arc<Service>)> {
        lock(&self.services).iter().map(|(name, one)| (name.clone(), one.clone())).collect()
    }

    /// Decides on every object once a tick, and forgets what nobody wants, until `shutdown`.
    pub(crate) async fn run(&self, shutdown: CancellationToken) {
        let mut ticks = interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while shutdown.run_until_cancelled(ticks.tick()).await.is_some() {
            self.forget();
            for some in self.objects().chunks(16) {
                self.decide(self.clock.now(), some);
                // Calls are answered between the chunks, so that a thousand decisions do not delay one answer.
                yield_now().await;
            }
        }
    }

    fn trigger(&self, key: &Key) -> Result<Trigger, BoardError> {
        if key.name.is_empty() {
            return Err(BoardError::Nameless("name"));
        }
        if key.namespace.is_empty() {
            return Err(BoardError::Nameless("namespace"));
        }
        let default_service = format!("{}/{}", key.namespace, key.name);
        Ok(Trigger::parse(&key.metadata, default_service, &self.queries)?)
    }

    fn service(&self, name: &str) -> Option<Arc<Service>> {
        let mut services = lock(&self.services);
        if let Some(service) = services.get(name) {
            return Some(service.clone());
        }
        let has_room = services.len() < self.limits.services_max;
        has_room.then(|| services.entry(name.to_owned()).or_default().clone())
    }

    fn decide(&self, now: Millis, objects: &[Arc<Object>]) {
        for object in objects {
            object.decide(now, &self.readings, &self.metrics);
        }
    }

    fn forget(&self) {
        let now = self.clock.now();
        let since = now.saturating_sub(self.limits.object_expiry.millis());
        lock(&self.objects).retain(|_, object| object.is_wanted(since));
        lock(&self.services).retain(|_, service| service.is_wanted(now));
        let objects = self.objects();
        let wanted: BTreeSet<_> =
            objects.iter().flat_map(|o| o.trigger.queries()).cloned().collect();
        self.readings.keep(&wanted);
    }
}

#[cfg(test)]
mod tests;
