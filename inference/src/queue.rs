//! The bounded queue in front of a model: who gets in, what a job is, and how long the queue takes.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
        mpsc,
    },
    time::{Duration, Instant},
};

use prometheus_client::metrics::gauge::Gauge;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

use crate::{
    batching::Waiting,
    engine::{EngineError, PICTURE_LEN},
    error::ServeError,
};

/// The side of the queue on which requests come.
pub(crate) struct Queue {
    jobs: mpsc::Sender<Job>,
    room: Arc<Semaphore>,
    depth: Gauge,
    pace: Arc<Pace>,
    max_batch: usize,
}

/// Room in the queue for some pictures, free again when dropped.
pub(crate) struct Room {
    _permit: OwnedSemaphorePermit,
    rows: usize,
    depth: Gauge,
}

/// One request's pictures, on their way to the model.
pub(crate) struct Job {
    pub(crate) input: Vec<f32>,
    pub(crate) arrived: Instant,
    pub(crate) deadline: Instant,
    /// Closed by the other side when the client has left.
    pub(crate) reply: oneshot::Sender<Result<Answer, EngineError>>,
    /// Held until the batch starts.
    pub(crate) room: Room,
}

/// What the model says to one request.
#[derive(Debug)]
pub(crate) struct Answer {
    /// One row of scores for each picture.
    pub(crate) values: Vec<f32>,
    pub(crate) queue: Duration,
    pub(crate) inference: Duration,
}

/// How long a batch takes, smoothed; written by the model's thread.
#[derive(Debug, Default)]
pub(crate) struct Pace {
    micros: AtomicU64,
}

impl Queue {
    /// A queue for `capacity` pictures, and the end at which the model takes them.
    pub(crate) fn new(
        capacity: usize,
        max_batch: usize,
        depth: Gauge,
        pace: Arc<Pace>,
    ) -> (Self, mpsc::Receiver<Job>) {
        let (jobs, taken) = mpsc::channel();
        let room = Arc::new(Semaphore::new(capacity));
        (Self { jobs, room, depth, pace, max_batch }, taken)
    }

    /// Takes room for `rows` pictures, or says when there may be some.
    pub(crate) fn admit(&self, rows: usize) -> Result<Room, ServeError> {
        if rows == 0 || rows > self.max_batch {
            let most = self.max_batch;
            return Err(ServeError::Request(format!("{rows} pictures; a request has 1 to {most}")));
        }
        match Arc::clone(&self.room).try_acquire_many_owned(rows as u32) {
            Ok(permit) => {
                self.depth.inc_by(rows as i64);
                Ok(Room { _permit: permit, rows, depth: self.depth.clone() })
            }
            Err(_) => Err(ServeError::QueueFull { retry_after_s: self.retry_after_s() }),
        }
    }

    /// Queues pictures and waits for their scores; dropping the future takes them out again.
    pub(crate) async fn infer(
        &self,
        room: Room,
        input: Vec<f32>,
        deadline: Instant,
    ) -> Result<Answer, ServeError> {
        debug_assert_eq!(input.len(), room.rows * PICTURE_LEN, "one tensor for each picture");
        let (reply, answer) = oneshot::channel();
        let job = Job { input, arrived: Instant::now(), deadline, reply, room };
        self.jobs.send(job).map_err(|_| ServeError::Stopped)?;
        match answer.await {
            Ok(outcome) => Ok(outcome?),
            // The model's thread drops what is late, and everything when it ends.
            Err(_) if Instant::now() >= deadline => Err(ServeError::Late),
            Err(_) => Err(ServeError::Stopped),
        }
    }

    /// Pictures that have room, those that are still being decoded included.
    pub(crate) fn depth(&self) -> usize {
        usize::try_from(self.depth.get()).unwrap_or(0)
    }

    /// The time to work off the queue as it stands, and at least one second, which is all the
    /// header can say.
    fn retry_after_s(&self) -> u64 {
        let batches = self.depth().div_ceil(self.max_batch) as u32;
        (self.pace.batch_time() * batches).as_secs() + 1
    }
}

impl Job {
    pub(crate) fn waiting(&self) -> Waiting {
        Waiting { rows: self.room.rows, arrived: self.arrived, deadline: self.deadline }
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        self.depth.dec_by(self.rows as i64);
    }
}

impl Pace {
    pub(crate) fn batch_time(&self) -> Duration {
        Duration::from_micros(self.micros.load(Ordering::Relaxed))
    }

    pub(crate) fn observe(&self, took: Duration) {
        let (before, now) = (self.micros.load(Ordering::Relaxed), took.as_micros() as u64);
        let smoothed = if before == 0 { now } else { (before * 7 + now) / 8 };
        self.micros.store(smoothed, Ordering::Relaxed);
    }
}
