//! What `/metrics` shows. Model names in labels are those of loaded models, never what a client
//! wrote.

use std::{
    sync::{Arc, atomic::AtomicU64},
    time::Duration,
};

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram},
    registry::{Registry, Unit},
};

type Seconds = Gauge<f64, AtomicU64>;

/// Upper bounds in seconds, finer where an answer of 100 to 500 ms is judged.
const SECONDS: [f64; 16] = [
    0.0005, 0.001, 0.0025, 0.005, 0.01, 0.02, 0.035, 0.05, 0.075, 0.1, 0.2, 0.35, 0.5, 1.0, 2.5,
    10.0,
];
const BATCH_SIZES: [f64; 8] = [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0];

/// A loaded model; both empty when a request named none that is loaded.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct ModelLabels {
    /// Its name.
    pub(crate) model: String,
    /// Its version.
    pub(crate) version: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RequestLabels {
    model: String,
    version: String,
    protocol: &'static str,
    code: u16,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct StageLabels {
    model: String,
    version: String,
    stage: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct DropLabels {
    model: String,
    version: String,
    reason: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct LoadLabels {
    model: String,
    version: String,
    device: &'static str,
    weights: String,
}

/// A part of the time that an answer takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stage {
    /// From bytes to a tensor, waiting for a core and for memory included.
    Decode,
    /// From a tensor to the start of its batch.
    Queue,
    /// The batch.
    Inference,
    /// From the request's head to its answer.
    Total,
}

impl Stage {
    fn name(self) -> &'static str {
        match self {
            Self::Decode => "decode",
            Self::Queue => "queue",
            Self::Inference => "inference",
            Self::Total => "total",
        }
    }
}

/// All metrics of the service.
#[derive(Debug)]
pub(crate) struct Metrics {
    /// What `/metrics` encodes.
    pub(crate) registry: Registry,
    /// Requests being worked on, over both ports.
    pub(crate) in_flight: Gauge,
    /// Bytes set aside for the pictures that are being decoded.
    pub(crate) decode_memory: Gauge,
    requests: Family<RequestLabels, Counter>,
    stages: Family<StageLabels, Histogram>,
    dropped: Family<DropLabels, Counter>,
    load: Family<LoadLabels, Seconds>,
    queue_depth: Family<ModelLabels, Gauge>,
    batch_size: Family<ModelLabels, Histogram>,
    batch_limit: Family<ModelLabels, Gauge>,
    busy: Family<ModelLabels, Counter<f64, AtomicU64>>,
}

/// The metrics that a model's own thread writes.
#[derive(Debug, Clone)]
pub(crate) struct ModelMetrics {
    all: Arc<Metrics>,
    labels: ModelLabels,
    /// Pictures that wait for the model.
    pub(crate) queue_depth: Gauge,
    /// Pictures in each inference.
    pub(crate) batch_size: Histogram,
    /// Most pictures in one inference; less than configured after the device ran out of memory.
    pub(crate) batch_limit: Gauge,
    /// Seconds in inferences, those that failed included.
    pub(crate) busy: Counter<f64, AtomicU64>,
}

impl Metrics {
    /// All of them, registered.
    pub(crate) fn new() -> Self {
        let seconds = || Histogram::new(SECONDS);
        let mut metrics = Self {
            registry: Registry::with_prefix("spotscale_inference"),
            in_flight: Gauge::default(),
            decode_memory: Gauge::default(),
            requests: Family::default(),
            stages: Family::new_with_constructor(seconds),
            dropped: Family::default(),
            load: Family::default(),
            queue_depth: Family::default(),
            batch_size: Family::new_with_constructor(|| Histogram::new(BATCH_SIZES)),
            batch_limit: Family::default(),
            busy: Family::default(),
        };
        metrics.register();
        metrics
    }

    fn register(&mut self) {
        let registry = &mut self.registry;
        registry.register("requests", "Requests answered", self.requests.clone());
        registry.register("in_flight", "Requests being worked on", self.in_flight.clone());
        registry.register_with_unit(
            "decode_memory",
            "Memory set aside for decoding",
            Unit::Bytes,
            self.decode_memory.clone(),
        );
        registry.register_with_unit(
            "stage",
            "Time of an answered request by stage",
            Unit::Seconds,
            self.stages.clone(),
        );
        registry.register(
            "dropped",
            "Queued requests dropped before inference",
            self.dropped.clone(),
        );
        registry.register("queue_depth", "Pictures waiting", self.queue_depth.clone());
        registry.register("batch_size", "Pictures in an inference", self.batch_size.clone());
        registry.register("batch_limit", "Most pictures in an inference", self.batch_limit.clone());
        registry.register_with_unit("busy", "Time in inferences", Unit::Seconds, self.busy.clone());
        registry.register_with_unit(
            "model_load",
            "Time to open and warm a model",
            Unit::Seconds,
            self.load.clone(),
        );
    }

    /// Counts one answer.
    pub(crate) fn answered(&self, model: &ModelLabels, protocol: &'static str, code: u16) {
        let ModelLabels { model, version } = model.clone();
        self.requests.get_or_create(&RequestLabels { model, version, protocol, code }).inc();
    }

    /// Counts a request that was refused unread, being one too many.
    pub(crate) fn refused(&self, protocol: &'static str) {
        self.answered(&ModelLabels::default(), protocol, 503);
    }

    /// Adds one answered request's time in `stage`.
    pub(crate) fn took(&self, model: &ModelLabels, stage: Stage, time: Duration) {
        let ModelLabels { model, version } = model.clone();
        let labels = StageLabels { model, version, stage: stage.name() };
        self.stages.get_or_create(&labels).observe(time.as_secs_f64());
    }

    /// Notes a model that is open and warm.
    pub(crate) fn loaded(
        &self,
        model: &ModelLabels,
        device: &'static str,
        weights: &str,
        took: Duration,
    ) {
        let ModelLabels { model, version } = model.clone();
        let labels = LoadLabels { model, version, device, weights: weights.to_owned() };
        self.load.get_or_create(&labels).set(took.as_secs_f64());
    }

    /// Those of one model.
    pub(crate) fn of_model(self: &Arc<Self>, labels: &ModelLabels) -> ModelMetrics {
        ModelMetrics {
            all: Arc::clone(self),
            queue_depth: self.queue_depth.get_or_create_owned(labels),
            batch_size: self.batch_size.get_or_create_owned(labels),
            batch_limit: self.batch_limit.get_or_create_owned(labels),
            busy: self.busy.get_or_create_owned(labels),
            labels: labels.clone(),
        }
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl ModelMetrics {
    /// Counts a queued request that no inference was spent on.
    pub(crate) fn dropped(&self, reason: &'static str) {
        let ModelLabels { model, version } = self.labels.clone();
        self.all.dropped.get_or_create(&DropLabels { model, version, reason }).inc();
    }
}
