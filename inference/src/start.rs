//! From a file to a model that takes requests: open, warm up, start its thread.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::sync::oneshot;

use crate::{
    config::{Config, ModelSpec},
    engine::{EngineError, LoadError, LoadOptions, Loaded, PICTURE_LEN, Provider, load},
    metrics::{Metrics, ModelLabels},
    model::Model,
    queue::{Pace, Queue},
    scores,
    worker::{Worker, run_within_memory},
};

/// Why a model does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Its file cannot be served.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// It does not answer.
    #[error("model {name}: warm-up: {reason}")]
    Warm {
        /// The model.
        name: String,
        /// What the engine says.
        reason: EngineError,
    },
    /// No thread for it.
    #[error("model {name}: cannot start its thread: {reason}")]
    Thread {
        /// The model.
        name: String,
        /// Why not.
        reason: std::io::Error,
    },
}

/// A model whose file is open, before its first inference.
pub(crate) struct Opened {
    spec: ModelSpec,
    loaded: Loaded,
    since: Instant,
}

/// How a started model's thread ended, when it does.
pub(crate) type End = oneshot::Receiver<Result<(), EngineError>>;

impl Opened {
    /// Reads and checks the file. Blocks.
    pub(crate) fn open(spec: &ModelSpec, config: &Config) -> Result<Self, StartError> {
        let since = Instant::now();
        let options = LoadOptions {
            device: config.device,
            threads: config.cpu_threads(),
            library: config.ort_dylib_path.clone(),
        };
        Ok(Self { spec: spec.clone(), loaded: load(spec, &options)?, since })
    }

    #[cfg(test)]
    pub(crate) fn fake(spec: ModelSpec, loaded: Loaded) -> Self {
        Self { spec, loaded, since: Instant::now() }
    }

    /// Runs the first inferences and starts the model's thread. Blocks.
    pub(crate) fn start(
        mut self,
        config: &Config,
        metrics: &Arc<Metrics>,
    ) -> Result<(Model, End), StartError> {
        let ModelSpec { name, version, .. } = self.spec.clone();
        let max_batch = if self.loaded.contract.single { 1 } else { config.max_batch };
        let warm = warm_up(&mut self.loaded, max_batch)
            .map_err(|reason| StartError::Warm { name: name.clone(), reason })?;
        let labels = ModelLabels { model: name.clone(), version };
        let took = self.since.elapsed();
        metrics.loaded(&labels, self.loaded.provider.name(), &self.loaded.weights, took);
        self.log(&warm, took);
        let own = metrics.of_model(&labels);
        own.batch_limit.set(warm.max_rows as i64);
        let pace = Arc::new(Pace::default());
        pace.observe(warm.took);
        let (queue, jobs) =
            Queue::new(config.queue, max_batch, own.queue_depth.clone(), Arc::clone(&pace));
        let Loaded { classifier, contract, weights, labels: classes, .. } = self.loaded;
        let worker = Worker {
            classifier,
            classes: contract.classes,
            jobs,
            max_rows: warm.max_rows,
            max_wait: config.max_wait.0,
            pace,
            metrics: own,
        };
        let end = worker.spawn(&name).map_err(|reason| StartError::Thread { name, reason })?;
        Ok((Model { labels, contract, weights, classes, logits: warm.logits, queue }, end))
    }

    fn log(&self, warm: &Warm, took: Duration) {
        tracing::info!(
            model = self.spec.name,
            version = self.spec.version,
            path = %self.spec.path.display(),
            device = self.loaded.provider.name(),
            weights = self.loaded.weights,
            classes = self.loaded.contract.classes,
            batch_limit = warm.max_rows,
            load_ms = took.as_millis() as u64,
            inference_ms = warm.took.as_millis() as u64,
            "model ready"
        );
    }
}

/// What the first inferences showed.
struct Warm {
    /// Whether the output still needs a softmax.
    logits: bool,
    /// Most pictures for which the device has memory.
    max_rows: usize,
    /// Time of one picture, the device being warm.
    took: Duration,
}

/// GPUs choose kernels and claim memory at the first batch of a size, so they also run the largest.
fn warm_up(loaded: &mut Loaded, max_batch: usize) -> Result<Warm, EngineError> {
    let mut max_rows = max_batch;
    if loaded.provider != Provider::Cpu && max_batch > 1 {
        let largest = vec![0.0; max_batch * PICTURE_LEN];
        run_within_memory(&mut *loaded.classifier, &largest, &mut max_rows)?;
    }
    let ramp: Vec<f32> = (0..PICTURE_LEN).map(|i| (i % 224) as f32 / 112.0 - 1.0).collect();
    let started = Instant::now();
    let row = loaded.classifier.run(&ramp, 1)?;
    let took = started.elapsed();
    if row.iter().all(|value| value.is_finite()) {
        Ok(Warm { logits: !scores::are_probabilities(&row), max_rows, took })
    } else {
        Err(EngineError::Failed("the scores are not finite numbers".to_owned()))
    }
}
