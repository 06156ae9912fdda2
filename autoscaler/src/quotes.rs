//! The prices in use. A task of its own asks the market, so that one that hangs delays no decision; until it answers,
//! the last prices stay in use and grow old.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use jiff::{SignedDuration, Timestamp};
use spotscale_decide::{
    offers::Shape,
    prices::PriceBook,
    units::{InstanceType, Millis},
};
use tokio::{
    sync::watch,
    time::{Instant, sleep, timeout},
};
use tokio_util::task::AbortOnDropHandle;
use tracing::warn;

use crate::{
    config::Config,
    market::{Market, MarketError, Prior},
    metrics::Metrics,
};

/// A market that failed is asked again after so long, if not sooner.
const ASK_AGAIN: Duration = Duration::from_secs(15);
/// A market may read weeks of history, page by page, while nobody waits for it.
const ANSWER_WITHIN: Duration = Duration::from_mins(2);

/// What the market said last.
#[derive(Clone, Default)]
pub(crate) struct Quoted {
    pub(crate) book: Arc<PriceBook>,
    pub(crate) prior: Arc<Prior>,
    /// What machine types are; nothing before the market has been asked.
    pub(crate) shapes: Option<Arc<BTreeMap<InstanceType, Shape>>>,
    pub(crate) answered_at: Option<Instant>,
}

/// The task that asks, and what it learned.
pub(crate) struct Quotes {
    /// What time the cluster has: the market is asked for the past up to then.
    clock: watch::Sender<Option<Moment>>,
    quoted: watch::Receiver<Quoted>,
    _asking: AbortOnDropHandle<()>,
}

/// The cluster's time, and when it was told.
#[derive(Clone, Copy)]
struct Moment {
    at: Timestamp,
    told: Instant,
}

struct Asking {
    market: Arc<dyn Market>,
    refresh: Duration,
    /// Interruptions per hour of what nothing is known of.
    usual: f64,
    metrics: Metrics,
    clock: watch::Receiver<Option<Moment>>,
    quoted: watch::Sender<Quoted>,
}

// === impl Quotes ===

impl Quotes {
    pub(crate) fn start(market: Arc<dyn Market>, config: &Config, metrics: Metrics) -> Self {
        let (refresh, usual) = (config.prices.refresh, config.risk.interruptions_per_hour);
        let (clock, moments) = watch::channel(None);
        let (sender, quoted) = watch::channel(Quoted::default());
        let asking = Asking { market, refresh, usual, metrics, clock: moments, quoted: sender };
        let asking = AbortOnDropHandle::new(tokio::spawn(asking.run()));
        Self { clock, quoted, _asking: asking }
    }

    /// What is known now. At the very first the market is given a moment, so that nothing is decided without prices
    /// just because the program has started.
    pub(crate) async fn now(&mut self, at: Timestamp, patience: Duration) -> Quoted {
        let first = self.clock.borrow().is_none();
        self.clock.send_replace(Some(Moment { at, told: Instant::now() }));
        if first {
            // Late or not at all: then there are no prices yet.
            let _ = timeout(patience, self.quoted.changed()).await;
        }
        self.quoted.borrow_and_update().clone()
    }
}

// === impl Asking ===

impl Asking {
    async fn run(mut self) {
        while let Some(now) = self.now().await {
            let asked_at = Instant::now();
            let answer = timeout(ANSWER_WITHIN, self.market.prices(now)).await;
            let answer =
                answer.unwrap_or_else(|_| Err(MarketError::Unavailable("no answer".to_owned())));
            let pause = match answer {
                Ok(book) => {
                    self.quote(Arc::new(book), Some(asked_at));
                    self.refresh
                }
                Err(error) => self.failed(error),
            };
            sleep(pause).await;
        }
    }

    /// The cluster's time, once it is known; none at the end.
    async fn now(&mut self) -> Option<Timestamp> {
        let moment = (*self.clock.wait_for(Option::is_some).await.ok()?)?;
        let passed = SignedDuration::try_from(moment.told.elapsed()).ok()?;
        moment.at.checked_add(passed).ok()
    }

    fn quote(&self, book: Arc<PriceBook>, answered_at: Option<Instant>) {
        let prior = Arc::new(self.market.prior(self.usual));
        let shapes = Some(Arc::new(self.market.shapes()));
        self.quoted.send_replace(Quoted { book, prior, shapes, answered_at });
    }

    /// What is known in spite of a failure is used, and is as old as it was.
    fn failed(&self, error: MarketError) -> Duration {
        warn!(%error, "no new prices");
        self.metrics.failure("prices", error.kind());
        let Quoted { answered_at, book, .. } = self.quoted.borrow().clone();
        match error {
            MarketError::Partly { known, .. } => self.quote(Arc::new(known), answered_at),
            MarketError::Unavailable(_) => self.quote(book, answered_at),
        }
        ASK_AGAIN.min(self.refresh)
    }
}

// === impl Quoted ===

impl Quoted {
    /// Since the market answered in full.
    pub(crate) fn age_ms(&self) -> Option<Millis> {
        let age = self.answered_at?.elapsed();
        Some(Millis(u64::try_from(age.as_millis()).unwrap_or(u64::MAX)))
    }
}
