//! Markets, a vault and a gate.

use std::sync::{Arc, Mutex, MutexGuard};

use async_trait::async_trait;
use jiff::Timestamp;
use spotscale_autoscaler::{
    FileMarket, Gate, Market, MarketError, PriceBook, Stored, Vault, VaultError, Version,
};

/// A market that answers from the series for a while, and then no more.
pub(crate) struct BrokenMarket {
    pub(crate) answers_until: Timestamp,
    pub(crate) series: FileMarket,
}

#[async_trait]
impl Market for BrokenMarket {
    async fn prices(&self, now: Timestamp) -> Result<PriceBook, MarketError> {
        if now > self.answers_until {
            return Err(MarketError::Unavailable("gone".to_owned()));
        }
        self.series.prices(now).await
    }
}

/// A market that does not even refuse.
pub(crate) struct HungMarket;

#[async_trait]
impl Market for HungMarket {
    async fn prices(&self, _: Timestamp) -> Result<PriceBook, MarketError> {
        std::future::pending().await
    }
}

/// A vault that outlives the daemons of a test.
#[derive(Default)]
pub(crate) struct SharedVault(Mutex<Shelf>);

#[derive(Default)]
struct Shelf {
    stored: Option<Stored>,
    saves: u32,
    aside: Vec<Vec<u8>>,
    broken: bool,
}

impl SharedVault {
    pub(crate) fn saves(&self) -> u32 {
        self.0.lock().unwrap().saves
    }

    pub(crate) fn aside(&self) -> Vec<Vec<u8>> {
        self.0.lock().unwrap().aside.clone()
    }

    /// Whatever is asked of it now fails, or no longer.
    pub(crate) fn breaks(&self, broken: bool) {
        self.0.lock().unwrap().broken = broken;
    }

    pub(crate) fn put(&self, bytes: &[u8]) {
        let stored = Stored { bytes: bytes.to_vec(), version: Version("put".to_owned()) };
        self.0.lock().unwrap().stored = Some(stored);
    }

    fn shelf(&self) -> Result<MutexGuard<'_, Shelf>, VaultError> {
        let kept = self.0.lock().unwrap();
        if kept.broken { Err(VaultError::Unavailable("broken".to_owned())) } else { Ok(kept) }
    }
}

#[async_trait]
impl Vault for SharedVault {
    async fn load(&self) -> Result<Option<Stored>, VaultError> {
        Ok(self.shelf()?.stored.clone())
    }

    async fn save(&self, bytes: &[u8], over: Option<&Version>) -> Result<Version, VaultError> {
        let mut kept = self.shelf()?;
        if kept.stored.as_ref().map(|stored| &stored.version) != over {
            return Err(VaultError::Conflict);
        }
        kept.saves += 1;
        let version = Version(kept.saves.to_string());
        kept.stored = Some(Stored { bytes: bytes.to_vec(), version: version.clone() });
        Ok(version)
    }

    async fn set_aside(&self, stored: &Stored) -> Result<String, VaultError> {
        self.shelf()?.aside.push(stored.bytes.clone());
        Ok("aside".to_owned())
    }
}

/// The gate of several daemons: at most one of them leads.
#[derive(Default)]
pub(crate) struct Turnstile(Mutex<(u64, Option<usize>)>);

/// One daemon's side of it.
pub(crate) struct Side(pub(crate) Arc<Turnstile>, pub(crate) usize);

impl Turnstile {
    /// This one leads from now on, or none.
    pub(crate) fn turn(&self, to: Option<usize>) {
        let mut turn = self.0.lock().unwrap();
        *turn = (turn.0 + 1, to);
    }
}

impl Gate for Side {
    fn term(&self) -> Option<u64> {
        let (term, leader) = *self.0.0.lock().unwrap();
        (leader == Some(self.1)).then_some(term)
    }
}
