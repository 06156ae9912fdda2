//! A model's own thread: takes jobs from its queue in batches, runs them, answers. It ends when
//! every sender is gone and the queue is empty, or when the engine is broken for good.

use std::{
    collections::VecDeque,
    sync::{
        Arc,
        mpsc::{Receiver, RecvTimeoutError},
    },
    time::{Duration, Instant},
};

use tokio::sync::oneshot;

use crate::{
    batching::{self, Next, Policy},
    engine::{Classifier, EngineError, PICTURE_LEN},
    metrics::ModelMetrics,
    queue::{Answer, Job, Pace},
};

/// Failures in a row after which the engine is taken for broken: a CUDA context does not recover
/// from a fault.
const FAILURES_MAX: u32 = 3;

/// What a model's thread works with.
pub(crate) struct Worker {
    pub(crate) classifier: Box<dyn Classifier>,
    pub(crate) classes: usize,
    pub(crate) jobs: Receiver<Job>,
    pub(crate) max_rows: usize,
    pub(crate) max_wait: Duration,
    pub(crate) pace: Arc<Pace>,
    pub(crate) metrics: ModelMetrics,
}

impl Worker {
    /// Starts the thread; the receiver hears how it ended, or of its panic by being closed.
    pub(crate) fn spawn(
        self,
        name: &str,
    ) -> std::io::Result<oneshot::Receiver<Result<(), EngineError>>> {
        let (ended, end) = oneshot::channel();
        let run = move || {
            let _ = ended.send(self.work());
        };
        std::thread::Builder::new().name(format!("model-{name}")).spawn(run)?;
        Ok(end)
    }

    fn work(mut self) -> Result<(), EngineError> {
        let (mut queue, mut failures) = (VecDeque::new(), 0);
        while let Some(batch) = self.next_batch(&mut queue) {
            match self.answer(batch) {
                Ok(()) => failures = 0,
                Err(error) => {
                    failures += 1;
                    let memory = matches!(error, EngineError::OutOfMemory { .. });
                    if memory || failures == FAILURES_MAX {
                        return Err(error);
                    }
                }
            }
        }
        Ok(())
    }

    /// Waits for the next batch; `None` when no job can come any more.
    fn next_batch(&mut self, queue: &mut VecDeque<Job>) -> Option<Vec<Job>> {
        loop {
            queue.extend(self.jobs.try_iter());
            let now = Instant::now();
            self.drop_useless(queue, now);
            match batching::next(queue.iter().map(Job::waiting), now, &self.policy()) {
                Next::Run(count) => return Some(queue.drain(..count).collect()),
                Next::Idle => queue.push_back(self.jobs.recv().ok()?),
                Next::Wait(until) => match self.jobs.recv_timeout(until - now) {
                    Ok(job) => queue.push_back(job),
                    Err(RecvTimeoutError::Timeout) => {}
                    // Nobody else can join: what waits is the last batch.
                    Err(RecvTimeoutError::Disconnected) => self.max_wait = Duration::ZERO,
                },
            }
        }
    }

    fn policy(&self) -> Policy {
        // Twice the average, for half of the batches take longer than that.
        let service = self.pace.batch_time() * 2;
        Policy { max_rows: self.max_rows, max_wait: self.max_wait, service }
    }

    /// No inference is spent on an answer that nobody waits for.
    fn drop_useless(&self, queue: &mut VecDeque<Job>, now: Instant) {
        queue.retain(|job| {
            let reason = match job {
                job if job.reply.is_closed() => "client_gone",
                job if job.deadline <= now => "deadline",
                _ => return true,
            };
            self.metrics.dropped(reason);
            false
        });
    }

    fn answer(&mut self, batch: Vec<Job>) -> Result<(), EngineError> {
        let started = Instant::now();
        let (input, batch) = open(batch);
        let outcome = self.run(&input);
        let inference = started.elapsed();
        self.pace.observe(inference);
        self.metrics.busy.inc_by(inference.as_secs_f64());
        let values = match outcome {
            Ok(values) => values,
            Err(error) => {
                for job in batch {
                    let _ = job.reply.send(Err(error.clone()));
                }
                return Err(error);
            }
        };
        let mut rest = values.as_slice();
        for job in batch {
            let (own, others) = rest.split_at(job.rows * self.classes);
            rest = others;
            let queue = started.saturating_duration_since(job.arrived);
            let _ = job.reply.send(Ok(Answer { values: own.to_vec(), queue, inference }));
        }
        Ok(())
    }

    fn run(&mut self, input: &[f32]) -> Result<Vec<f32>, EngineError> {
        let rows = input.len() / PICTURE_LEN;
        self.metrics.batch_size.observe(rows as f64);
        let values = run_within_memory(&mut *self.classifier, input, &mut self.max_rows)?;
        self.metrics.batch_limit.set(self.max_rows as i64);
        if values.len() == rows * self.classes {
            Ok(values)
        } else {
            let (classes, got) = (self.classes, values.len());
            Err(EngineError::Failed(format!("{got} scores for {rows} pictures of {classes}")))
        }
    }
}

/// A job whose pictures are in the batch.
struct Started {
    rows: usize,
    arrived: Instant,
    reply: oneshot::Sender<Result<Answer, EngineError>>,
}

/// Joins the pictures of a batch and frees its room in the queue.
fn open(batch: Vec<Job>) -> (Vec<f32>, Vec<Started>) {
    let mut input = Vec::new();
    let started = batch
        .into_iter()
        .map(|job| {
            let rows = job.waiting().rows;
            if input.is_empty() {
                input = job.input;
            } else {
                input.extend_from_slice(&job.input);
            }
            drop(job.room);
            Started { rows, arrived: job.arrived, reply: job.reply }
        })
        .collect();
    (input, started)
}

/// Runs `input` in steps of at most `max_rows` pictures, and halves that for as long as the device
/// has no memory.
pub(crate) fn run_within_memory(
    classifier: &mut dyn Classifier,
    input: &[f32],
    max_rows: &mut usize,
) -> Result<Vec<f32>, EngineError> {
    let (mut values, mut rest) = (Vec::new(), input);
    while !rest.is_empty() {
        let rows = (rest.len() / PICTURE_LEN).min(*max_rows);
        let (step, after) = rest.split_at(rows * PICTURE_LEN);
        match classifier.run(step, rows) {
            Ok(more) => {
                values.extend(more);
                rest = after;
            }
            Err(error @ EngineError::OutOfMemory { .. }) if rows > 1 => {
                *max_rows = rows / 2;
                tracing::warn!(batch_limit = *max_rows, %error, "device out of memory");
            }
            Err(error) => return Err(error),
        }
    }
    Ok(values)
}
