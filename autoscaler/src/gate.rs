//! The right to act: of several daemons on one cluster only one has it at a time.

/// Tells whether we may act.
pub trait Gate: Send + Sync + 'static {
    /// The number of our present term; none while we may not act. It is none before anyone else may act, and a term that
    /// is won anew has another number. Asked before each write, so it answers at once.
    fn term(&self) -> Option<u64>;
}

/// The gate of a daemon that has its cluster to itself.
#[derive(Debug, Clone, Copy, Default)]
pub struct Alone;

impl Gate for Alone {
    fn term(&self) -> Option<u64> {
        Some(0)
    }
}
