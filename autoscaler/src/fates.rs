//! What became of machines that are gone without a word: while nobody looked, or because no notice came.

use async_trait::async_trait;
use jiff::Timestamp;
use spotscale_decide::{cluster::EndedBy, units::InstanceId};

/// Who can tell what became of a machine.
#[async_trait]
pub trait Fates: Send + Sync + 'static {
    /// The fates of those machines that are still known. Providers forget: EC2 about an hour after the end.
    async fn fates(&self, instances: &[InstanceId]) -> Result<Vec<Fate>, FatesError>;
}

/// What became of a machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fate {
    /// The machine.
    pub instance: InstanceId,
    /// When the provider began to bill it; unknown where the provider did not say.
    pub launched_at: Option<Timestamp>,
    /// How it ended, if it has.
    pub end: Option<End>,
}

/// How a machine ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct End {
    /// When; unknown where the provider gives no time.
    pub at: Option<Timestamp>,
    /// By whose hand. It is the provider's only where the provider says that it took the machine back, since the
    /// first-hour refund hangs on it.
    pub by: EndedBy,
}

/// Why nothing could be learned.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FatesError {
    /// The provider did not answer, or refused to.
    #[error("the provider does not tell what became of machines: {why}")]
    Unavailable {
        /// The name of the cause, for a metric label.
        kind: &'static str,
        /// The cause in words.
        why: String,
    },
}

impl FatesError {
    /// The name for a metric label.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Unavailable { kind, .. } => kind,
        }
    }
}
