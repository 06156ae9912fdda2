//! What the HTTP and gRPC sides share: the state of the service, the account of each request, and
//! the one way from a tensor to its scores.

use std::{
    future::Future,
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::sync::{Semaphore, watch};

use crate::{
    Config,
    decoding::Decoding,
    error::ServeError,
    metrics::{Metrics, ModelLabels, Stage},
    model::{Model, Registry},
    queue::{Answer, Room},
};

/// The header by which a client says how many milliseconds its answer is worth waiting for.
pub(crate) const TIMEOUT_HEADER: &str = "x-request-timeout-ms";

/// Where the service is in its life.
#[derive(Clone)]
pub(crate) enum State {
    Warming,
    Ready(Arc<Registry>),
    /// Not ready for new clients; requests that still come are served.
    Draining(Arc<Registry>),
    Stopped,
}

/// The state of the service.
pub(crate) struct Service {
    pub(crate) state: watch::Receiver<State>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) decoding: Decoding,
    pub(crate) max_body: usize,
    /// One permit for each request that may be worked on.
    pub(crate) requests: Arc<Semaphore>,
    pub(crate) request_timeout: Duration,
}

/// Times of one answered request.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Timings {
    pub(crate) queue: Duration,
    pub(crate) decode: Duration,
    pub(crate) inference: Duration,
    pub(crate) total: Duration,
}

impl Service {
    pub(crate) fn new(
        config: &Config,
        state: watch::Receiver<State>,
        metrics: Arc<Metrics>,
    ) -> Self {
        let decoding = Decoding::new(config, metrics.decode_memory.clone());
        Self {
            state,
            metrics,
            decoding,
            max_body: config.max_body,
            requests: Arc::new(Semaphore::new(config.max_requests)),
            request_timeout: config.request_timeout.0,
        }
    }

    /// `Ok` when new clients may come, else why not.
    pub(crate) fn ready(&self) -> Result<(), &'static str> {
        match *self.state.borrow() {
            State::Ready(_) => Ok(()),
            State::Warming => Err("warming"),
            State::Draining(_) => Err("draining"),
            State::Stopped => Err("stopped"),
        }
    }

    /// The models, for as long as requests are served.
    pub(crate) fn models(&self) -> Result<Arc<Registry>, ServeError> {
        match &*self.state.borrow() {
            State::Ready(models) | State::Draining(models) => Ok(Arc::clone(models)),
            State::Warming => Err(ServeError::NotReady("warming")),
            State::Stopped => Err(ServeError::NotReady("stopped")),
        }
    }

    /// Opens a request's account. `timeout_ms` is the header's value, when there is one.
    pub(crate) fn open(
        &self,
        protocol: &'static str,
        timeout_ms: Option<&str>,
    ) -> Result<Account, ServeError> {
        let account = Account::open(Arc::clone(&self.metrics), protocol, self.request_timeout);
        let Some(text) = timeout_ms else { return Ok(account) };
        if let Ok(millis) = text.trim().parse() {
            let timeout = Duration::from_millis(millis).min(self.request_timeout);
            return Ok(account.due_within(timeout));
        }
        account.close(400);
        let wrong = format!("{TIMEOUT_HEADER} is a whole number of milliseconds, not `{text}`");
        Err(ServeError::Request(wrong))
    }

    /// From a tensor to its scores.
    pub(crate) async fn infer(
        &self,
        account: &Account,
        model: &Model,
        room: Room,
        (input, decode): (Vec<f32>, Duration),
    ) -> Result<(Vec<f32>, Timings), ServeError> {
        let Answer { values, queue, inference } =
            model.queue.infer(room, input, account.deadline).await?;
        let total = account.started.elapsed();
        let timings = Timings { queue, decode, inference, total };
        for (stage, time) in [
            (Stage::Queue, queue),
            (Stage::Decode, decode),
            (Stage::Inference, inference),
            (Stage::Total, total),
        ] {
            self.metrics.took(&model.labels, stage, time);
        }
        Ok((values, timings))
    }
}

/// One request, from its head to its answer. Dropped without an answer it counts as 499: the client
/// has left.
pub(crate) struct Account {
    metrics: Arc<Metrics>,
    protocol: &'static str,
    model: ModelLabels,
    started: Instant,
    deadline: Instant,
    open: bool,
}

impl Account {
    fn open(metrics: Arc<Metrics>, protocol: &'static str, timeout: Duration) -> Self {
        metrics.in_flight.inc();
        let (model, started) = (ModelLabels::default(), Instant::now());
        Self { metrics, protocol, model, started, deadline: started + timeout, open: true }
    }

    fn due_within(mut self, timeout: Duration) -> Self {
        self.deadline = self.started + timeout;
        self
    }

    /// Notes which model is meant.
    pub(crate) fn is_for(&mut self, model: &Model) {
        self.model = model.labels.clone();
    }

    /// When the answer is worth nothing any more.
    pub(crate) fn deadline(&self) -> tokio::time::Instant {
        self.deadline.into()
    }

    /// Counts the answer.
    pub(crate) fn close(mut self, code: u16) {
        self.open = false;
        self.metrics.answered(&self.model, self.protocol, code);
    }
}

impl Drop for Account {
    fn drop(&mut self) {
        self.metrics.in_flight.dec();
        if self.open {
            self.metrics.answered(&self.model, self.protocol, 499);
        }
    }
}

/// `work`'s outcome, or that it came too late.
pub(crate) async fn in_time<T>(
    deadline: tokio::time::Instant,
    work: impl Future<Output = Result<T, ServeError>>,
) -> Result<T, ServeError> {
    tokio::time::timeout_at(deadline, work).await.unwrap_or(Err(ServeError::Late))
}
