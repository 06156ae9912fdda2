//! The right to act: of several daemons on one cluster only one has it at a time.

use async_trait::async_trait;

/// Tells whether we may act.
#[async_trait]
pub trait Gate: Send + Sync + 'static {
    /// The number of our present term; none while we may not act. It is none before anyone else may act, and a term that
    /// is won anew has another number. Asked before each write, so it answers at once.
    fn term(&self) -> Option<u64>;

    /// Waits until this term is over, however often it is prolonged. A write that is under way then is given up.
    async fn over(&self, term: u64);
}

/// The gate of a daemon that has its cluster to itself.
#[derive(Debug, Clone, Copy, Default)]
pub struct Alone;

#[async_trait]
impl Gate for Alone {
    fn term(&self) -> Option<u64> {
        Some(0)
    }

    async fn over(&self, _: u64) {
        std::future::pending::<()>().await;
    }
}
