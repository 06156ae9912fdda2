//! Where the daemon's state outlives it: a few bytes under one name, replaced as a whole by whoever read them last.

mod file;

use async_trait::async_trait;

pub use self::file::FileVault;

/// A place that keeps one piece of state.
#[async_trait]
pub trait Vault: Send + Sync + 'static {
    /// What is kept; none when nothing was saved yet.
    async fn load(&self) -> Result<Option<Stored>, VaultError>;

    /// Replaces `over`, or makes the first entry where that is none. [`VaultError::Conflict`] where something else is
    /// kept by now: then nothing is replaced.
    async fn save(&self, bytes: &[u8], over: Option<&Version>) -> Result<Version, VaultError>;

    /// Keeps a copy of what cannot be used, out of the way of [`Vault::save`]. Returns where, in words. Doing it twice
    /// with the same bytes is doing it once.
    async fn set_aside(&self, stored: &Stored) -> Result<String, VaultError>;
}

/// What a vault kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stored {
    /// The bytes as they were saved.
    pub bytes: Vec<u8>,
    /// Which state of the entry this is.
    pub version: Version,
}

/// Tells one state of an entry from the next. Only the vault knows what it means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Version(pub String);

/// Why nothing was loaded or saved.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum VaultError {
    /// Another daemon saved meanwhile.
    #[error("the saved state was replaced by someone else")]
    Conflict,
    /// The vault has no room for so much.
    #[error("the state takes {bytes} bytes, and {bytes_max} are the most that can be kept")]
    TooLarge {
        /// What there is to keep.
        bytes: usize,
        /// What can be kept.
        bytes_max: usize,
    },
    /// The state cannot be turned into bytes.
    #[error("the state cannot be written down: {0}")]
    Unwritten(String),
    /// The vault did not answer, or refused to.
    #[error("the saved state cannot be reached: {0}")]
    Unavailable(String),
}

impl VaultError {
    /// The name for a metric label.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Conflict => "conflict",
            Self::TooLarge { .. } => "too-large",
            Self::Unwritten(_) => "unwritten",
            Self::Unavailable(_) => "unavailable",
        }
    }
}
