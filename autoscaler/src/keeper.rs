//! Keeps the daemon's state in its vault: loaded once a term, saved when lives change and every minute, beside the loop.
//! Nothing is saved over state that was not loaded first, so that a vault out of reach costs no history.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use jiff::Timestamp;
use spotscale_decide::{cluster::Observation, units::NodeName};
use tokio::{
    task::spawn_blocking,
    time::{Instant, timeout},
};
use tracing::{error, info, warn};

use crate::{
    job::Job,
    metrics::Metrics,
    saved::Saved,
    vault::{Vault, VaultError, Version},
};

/// State that has not changed much is saved this often.
const SAVE_EVERY: Duration = Duration::from_mins(1);
/// After a failure it is tried again sooner.
const SAVE_AGAIN: Duration = Duration::from_secs(10);
/// A term waits so long for its state before it begins to act.
const LOAD_WAIT: Duration = Duration::from_secs(1);

/// The lives of nodes, as far as a change of them is worth a save.
type Lives = BTreeSet<(NodeName, Timestamp, bool)>;

pub(crate) struct Keeper {
    vault: Option<Arc<dyn Vault>>,
    call_timeout: Duration,
    metrics: Metrics,
    /// The term whose state is in use.
    term: Option<u64>,
    version: Option<Version>,
    loading: Job<Result<Loaded, VaultError>>,
    saving: Job<Result<Version, Unsaved>>,
    /// What was given to the vault last, while it is not known to have taken it.
    unsure: Option<Arc<[u8]>>,
    due_at: Instant,
    lives: Lives,
}

/// A save that failed, and what the vault may have taken all the same.
struct Unsaved {
    error: VaultError,
    bytes: Option<Arc<[u8]>>,
}

struct Loaded {
    version: Option<Version>,
    saved: Option<Saved>,
}

// === impl Keeper ===

impl Keeper {
    pub(crate) fn new(
        vault: Option<Arc<dyn Vault>>,
        call_timeout: Duration,
        metrics: Metrics,
    ) -> Self {
        Self {
            vault,
            call_timeout,
            metrics,
            term: None,
            version: None,
            loading: Job::default(),
            saving: Job::default(),
            unsure: None,
            due_at: Instant::now(),
            lives: Lives::new(),
        }
    }

    /// Is the state of this term in use?
    pub(crate) fn has(&self, term: u64) -> bool {
        self.term == Some(term)
    }

    /// Another has the state now, or may have.
    pub(crate) fn let_go(&mut self) {
        self.term = None;
        self.loading.give_up();
        self.saving.give_up();
    }

    /// The state to begin a term with. None where it is still awaited, a moment at first and then no more; and where there
    /// is none that can be used: then what we know ourselves is the best there is, and [`Self::has`] says so.
    pub(crate) async fn load(&mut self, term: u64) -> Option<Saved> {
        let Some(vault) = &self.vault else {
            self.term = Some(term);
            return None;
        };
        let wait = if self.loading.is_begun() { Duration::ZERO } else { LOAD_WAIT };
        if !self.loading.is_begun() {
            self.loading.begin(load(Arc::clone(vault), self.call_timeout, self.metrics.clone()));
        }
        let loaded = match self.loading.fetch(wait).await? {
            Ok(loaded) => loaded,
            Err(error) => {
                warn!(%error, "the saved state is not loaded yet: the ledger waits");
                self.metrics.failure("load", error.kind());
                return None;
            }
        };
        (self.term, self.version, self.unsure) = (Some(term), loaded.version, None);
        self.due_at = Instant::now();
        loaded.saved
    }

    /// Does the vault lack something that is worth a save, and is it free to take it?
    pub(crate) async fn is_due(&mut self, seen: &Observation) -> bool {
        self.conclude(Duration::ZERO).await;
        let free = self.vault.is_some() && self.term.is_some() && !self.saving.is_begun();
        free && (self.due_at <= Instant::now() || lives(seen) != self.lives)
    }

    /// Begins to save.
    pub(crate) fn save(&mut self, saved: Saved, seen: &Observation) {
        let Some(vault) = self.vault.clone() else { return };
        (self.due_at, self.lives) = (Instant::now() + SAVE_EVERY, lives(seen));
        let (over, patience) = (self.version.clone(), self.call_timeout);
        let (unsure, metrics) = (self.unsure.take(), self.metrics.clone());
        self.saving.begin(async move {
            let bytes = match write_down(saved).await {
                Ok(bytes) => bytes,
                Err(error) => return Err(Unsaved { error, bytes: unsure }),
            };
            metrics.state_bytes(bytes.len());
            let late = |_| Err(VaultError::Unavailable(format!("no answer in {patience:?}")));
            let stored = timeout(patience, store(&*vault, &bytes, over, unsure)).await;
            stored.unwrap_or_else(late).map_err(|error| Unsaved { error, bytes: Some(bytes) })
        });
    }

    /// Waits for what is being saved.
    pub(crate) async fn finish(&mut self) {
        self.conclude(self.call_timeout).await;
    }

    async fn conclude(&mut self, within: Duration) {
        let Unsaved { error, bytes } = match self.saving.fetch(within).await {
            None => return,
            Some(Ok(version)) => return self.version = Some(version),
            Some(Err(unsaved)) => unsaved,
        };
        self.unsure = bytes;
        warn!(%error, "the state was not saved");
        self.metrics.failure("save", error.kind());
        self.due_at = Instant::now() + SAVE_AGAIN;
        if error == VaultError::Conflict {
            // Whoever saved led after us: what is there counts, if we are asked to lead again.
            self.term = None;
        }
    }
}

/// The state as bytes: of a large cluster that is too much work to be done between two ticks.
async fn write_down(saved: Saved) -> Result<Arc<[u8]>, VaultError> {
    let written = spawn_blocking(move || saved.to_bytes()).await;
    let written = written.map_err(|error| VaultError::Unwritten(error.to_string()))?;
    written.map(Arc::from).map_err(|error| VaultError::Unwritten(error.to_string()))
}

/// Saves over `over`, or over what a save that seemed to fail has left.
async fn store(
    vault: &dyn Vault,
    bytes: &[u8],
    over: Option<Version>,
    unsure: Option<Arc<[u8]>>,
) -> Result<Version, VaultError> {
    let saved = vault.save(bytes, over.as_ref()).await;
    let (Err(VaultError::Conflict), Some(unsure)) = (&saved, unsure) else {
        return saved;
    };
    let ours = vault.load().await?.filter(|stored| *stored.bytes == *unsure);
    vault.save(bytes, Some(&ours.ok_or(VaultError::Conflict)?.version)).await
}

async fn load(
    vault: Arc<dyn Vault>,
    patience: Duration,
    metrics: Metrics,
) -> Result<Loaded, VaultError> {
    let late = |_| VaultError::Unavailable(format!("no answer in {patience:?}"));
    let Some(stored) = timeout(patience, vault.load()).await.map_err(late)?? else {
        info!("there is no saved state");
        return Ok(Loaded { version: None, saved: None });
    };
    let version = Some(stored.version.clone());
    let refused = match Saved::from_bytes(&stored.bytes) {
        Ok(saved) => return Ok(Loaded { version, saved: Some(saved) }),
        Err(refused) => refused,
    };
    let kept_in = timeout(patience, vault.set_aside(&stored)).await.map_err(late)??;
    error!(%refused, kept_in, "the saved state is refused: without it, nodes are billed from their launch");
    metrics.failure("load", refused.kind());
    Ok(Loaded { version, saved: None })
}

fn lives(seen: &Observation) -> Lives {
    seen.nodes.iter().map(|n| (n.name.clone(), n.launched_at, n.is_alive())).collect()
}
