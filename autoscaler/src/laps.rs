//! What the parts of something take, one after the other.

use std::time::Duration;

use tokio::time::Instant;

pub(crate) struct Laps {
    began: Instant,
    last: Instant,
}

// === impl Laps ===

impl Laps {
    /// Begins the first.
    pub(crate) fn begin() -> Self {
        let began = Instant::now();
        Self { began, last: began }
    }

    /// Ends one and begins the next; milliseconds.
    pub(crate) fn lap_ms(&mut self) -> f64 {
        let now = Instant::now();
        let lap = now - std::mem::replace(&mut self.last, now);
        lap.as_secs_f64() * 1000.0
    }

    /// All of them so far.
    pub(crate) fn total(&self) -> Duration {
        self.began.elapsed()
    }
}
