//! The clock of every decision: starts at the calendar's time, then only ever goes forward.

use std::time::SystemTime;

use spotscale_decide::units::Millis;
use tokio::time::Instant;

/// Milliseconds since 1970 when the process started, and monotonic from there.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Clock {
    started_at: Millis,
    origin: Instant,
}

impl Clock {
    /// Starts it.
    pub(crate) fn new() -> Self {
        let since_1970 = SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default();
        let started_at = Millis(u64::try_from(since_1970.as_millis()).unwrap_or(u64::MAX));
        Self { started_at, origin: Instant::now() }
    }

    /// Now.
    pub(crate) fn now(&self) -> Millis {
        let passed = u64::try_from(self.origin.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.started_at.saturating_add(Millis(passed))
    }
}
