//! How long streams may stay open, how many, and how they end: cleanly, so that KEDA's reconnect delay starts anew.

use std::{sync::Arc, time::Duration};

use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{Instant, sleep_until},
};
use tokio_util::sync::CancellationToken;
use tonic::Status;

use super::{
    config::Limits,
    metrics::{Gauged, Metrics},
};

/// Grants streams, and ends them all at once.
pub(crate) struct Streams {
    free: Arc<Semaphore>,
    age_max: Duration,
    end: CancellationToken,
    metrics: Arc<Metrics>,
}

/// The right of one stream to be open; dropped with it.
pub(crate) struct Lease {
    /// When it has been open long enough.
    pub(crate) ends_at: Instant,
    end: CancellationToken,
    _permit: OwnedSemaphorePermit,
    _gauged: Gauged,
}

impl Streams {
    /// Within these limits, and all until `end`.
    pub(crate) fn new(limits: &Limits, end: CancellationToken, metrics: Arc<Metrics>) -> Self {
        let free = Arc::new(Semaphore::new(limits.streams_max.min(Semaphore::MAX_PERMITS)));
        Self { free, age_max: limits.stream_age_max.0, end, metrics }
    }

    /// Opens one, or says that there are too many.
    pub(crate) fn lease(&self, method: &'static str) -> Result<Lease, Status> {
        let permit = self.free.clone().try_acquire_owned().map_err(|_| {
            Status::resource_exhausted("too many open streams (--streams-max), try again later")
        })?;
        // Jitter keeps a thousand streams that were opened together from ending together.
        let age = self.age_max.mul_f64(0.8 + 0.2 * fastrand::f64());
        Ok(Lease {
            ends_at: Instant::now() + age,
            end: self.end.clone(),
            _permit: permit,
            _gauged: self.metrics.stream_open(method),
        })
    }
}

impl Lease {
    /// Waits until the stream has to end.
    pub(crate) async fn ended(&self) {
        tokio::select! {
            () = self.end.cancelled() => {}
            () = sleep_until(self.ends_at) => {}
        }
    }
}
