//! Where the provider's notices come from and where they go: a queue of events that one daemon reads for the whole
//! cluster, or a watcher on each node that tells of its own machine alone.

mod event;

use std::time::Duration;

use async_trait::async_trait;
use spotscale_decide::cluster::NoticeKind;
use tracing::info;

pub use self::event::{Ending, Event, EventKind, Unasked};
use crate::cluster::ClusterError;

/// A queue of events, each delivered at least once: it comes again until it is done with.
#[async_trait]
pub trait NoticeSource: Send + Sync + 'static {
    /// The next messages; waits for one a while, and then returns none.
    async fn receive(&self) -> Result<Vec<Received>, QueueError>;

    /// These need not come again. Those that could not be taken off the queue do.
    async fn done(&self, receipts: &[Receipt]) -> Result<(), QueueError>;

    /// These come again only after so long, unless they are done with before.
    async fn keep(&self, receipts: &[Receipt], hidden_for: Duration) -> Result<(), QueueError>;
}

/// The right to say of one delivery of a message that it is done with.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Receipt(pub String);

/// One delivery of a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Received {
    /// To be handed back.
    pub receipt: Receipt,
    /// What it says, or why it asks nothing of us: then it is done with at once.
    pub event: Result<Event, Unasked>,
}

/// Why the queue was not read or not written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum QueueError {
    /// There is no such queue.
    #[error("the queue does not exist: {0}")]
    Missing(String),
    /// We may not use it.
    #[error("the queue refuses us: {0}")]
    AccessDenied(String),
    /// Some messages were left as they were; they come again.
    #[error("{left} of {of} messages were left on the queue: {why}")]
    Partly {
        /// How many were left.
        left: usize,
        /// Of how many.
        of: usize,
        /// What the queue said of the last of them.
        why: String,
    },
    /// The queue did not answer as it should.
    #[error("the queue cannot be used: {why}")]
    Unavailable {
        /// The name of the cause, for a metric label.
        kind: &'static str,
        /// The cause in words.
        why: String,
    },
}

/// Where a watcher on a node leaves what it learned: on the node itself.
#[async_trait]
pub trait NodeNotices: Send + Sync + 'static {
    /// Adds to the notices that stand for this node. Saying a thing twice is saying it once.
    async fn tell(&self, kinds: &[NoticeKind]) -> Result<(), ClusterError>;
}

/// A dry run: what would be left on the node is only told in the log.
#[derive(Debug, Clone, Copy)]
pub struct Unwritten;

#[async_trait]
impl NodeNotices for Unwritten {
    async fn tell(&self, kinds: &[NoticeKind]) -> Result<(), ClusterError> {
        info!(?kinds, "a dry run: the node is not told");
        Ok(())
    }
}

impl QueueError {
    /// The name for a metric label.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Missing(_) => "missing",
            Self::AccessDenied(_) => "access-denied",
            Self::Partly { .. } => "partly",
            Self::Unavailable { kind, .. } => kind,
        }
    }
}
