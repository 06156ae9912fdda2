//! Markets, a vault, a gate, and one who knows what became of machines.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard},
};

use async_trait::async_trait;
use jiff::Timestamp;
use spotscale_autoscaler::{
    Fate, Fates, FatesError, FileMarket, Gate, Market, MarketError, PriceBook, Stored, TypesSince,
    Vault, VaultError, Version,
};
use spotscale_decide::{
    offers::Shape,
    units::{InstanceId, InstanceType},
};
use tokio::{sync::watch, time::Instant};

/// A market that answers from the series for a while, and then no more.
pub(crate) struct BrokenMarket {
    pub(crate) answers_until: Timestamp,
    pub(crate) series: FileMarket,
}

#[async_trait]
impl Market for BrokenMarket {
    async fn prices(&self, now: Timestamp, besides: &TypesSince) -> Result<PriceBook, MarketError> {
        if now > self.answers_until {
            return Err(MarketError::Unavailable("gone".to_owned()));
        }
        self.series.prices(now, besides).await
    }
}

/// A market that says what its machine types are.
pub(crate) struct ShapedMarket(pub(crate) FileMarket, pub(crate) Shape);

#[async_trait]
impl Market for ShapedMarket {
    async fn prices(&self, now: Timestamp, besides: &TypesSince) -> Result<PriceBook, MarketError> {
        self.0.prices(now, besides).await
    }

    fn shapes(&self) -> BTreeMap<InstanceType, Shape> {
        [("g4dn.xlarge".parse().unwrap(), self.1)].into()
    }
}

/// A market that does not even refuse.
pub(crate) struct HungMarket;

#[async_trait]
impl Market for HungMarket {
    async fn prices(&self, _: Timestamp, _: &TypesSince) -> Result<PriceBook, MarketError> {
        std::future::pending().await
    }
}

/// A market that tells the prices of g4dn.xlarge, of what else it is asked about, and of nothing besides, as EC2 does.
pub(crate) struct AskedMarket {
    pub(crate) series: FileMarket,
    asked: Mutex<Vec<(Timestamp, TypesSince)>>,
}

impl AskedMarket {
    pub(crate) fn new(series: FileMarket) -> Arc<Self> {
        Arc::new(Self { series, asked: Mutex::default() })
    }

    /// When it was asked, and about what else.
    pub(crate) fn asked(&self) -> Vec<(Timestamp, TypesSince)> {
        self.asked.lock().unwrap().clone()
    }
}

#[async_trait]
impl Market for AskedMarket {
    async fn prices(&self, now: Timestamp, besides: &TypesSince) -> Result<PriceBook, MarketError> {
        self.asked.lock().unwrap().push((now, besides.clone()));
        let book = self.series.prices(now, besides).await?;
        let told = book.offerings().filter(|one| {
            one.instance_type.as_str() == "g4dn.xlarge" || besides.contains_key(&one.instance_type)
        });
        let changes = told.flat_map(|one| {
            let changes = book.changes(one).iter();
            changes.map(|change| (one.clone(), *change))
        });
        Ok(changes.collect())
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
pub(crate) struct Turnstile(watch::Sender<(u64, Option<usize>)>);

/// One daemon's side of it.
pub(crate) struct Side(pub(crate) Arc<Turnstile>, pub(crate) usize);

impl Turnstile {
    /// This one leads from now on, or none.
    pub(crate) fn turn(&self, to: Option<usize>) {
        self.0.send_modify(|turn| *turn = (turn.0 + 1, to));
    }
}

#[async_trait]
impl Gate for Side {
    fn term(&self) -> Option<u64> {
        let (term, leader) = *self.0.0.borrow();
        (leader == Some(self.1)).then_some(term)
    }

    async fn over(&self, term: u64) {
        let mut turns = self.0.0.subscribe();
        turns.wait_for(|turn| turn.0 != term).await.unwrap();
    }
}

/// Answers as it is told to, one question after the other, and then knows nothing more.
#[derive(Default)]
pub(crate) struct ScriptedFates {
    script: Mutex<VecDeque<Answer>>,
    asked: Mutex<Vec<(Instant, Vec<InstanceId>)>>,
}

pub(crate) enum Answer {
    Fates(Vec<Fate>),
    Fails,
    Hangs,
}

impl ScriptedFates {
    pub(crate) fn new(script: impl IntoIterator<Item = Answer>) -> Arc<Self> {
        let script = Mutex::new(script.into_iter().collect());
        Arc::new(Self { script, ..Self::default() })
    }

    /// When it was asked, and about what.
    pub(crate) fn asked(&self) -> Vec<(Instant, Vec<InstanceId>)> {
        self.asked.lock().unwrap().clone()
    }
}

#[async_trait]
impl Fates for ScriptedFates {
    async fn fates(&self, instances: &[InstanceId]) -> Result<Vec<Fate>, FatesError> {
        self.asked.lock().unwrap().push((Instant::now(), instances.to_vec()));
        let answer = self.script.lock().unwrap().pop_front();
        match answer {
            None => Ok(vec![]),
            Some(Answer::Fates(fates)) => Ok(fates),
            Some(Answer::Fails) => {
                Err(FatesError::Unavailable { kind: "denied", why: "scripted".to_owned() })
            }
            Some(Answer::Hangs) => std::future::pending().await,
        }
    }
}
