//! The prices in use. A task of its own asks the market, so that one that hangs delays no decision; until it answers,
//! the last prices stay in use and grow old. It asks about what may be bought, and about what of the rest is there.

use std::{
    collections::{BTreeMap, BTreeSet},
    future::pending,
    sync::Arc,
    time::Duration,
};

use jiff::{SignedDuration, Timestamp};
use spotscale_decide::{
    offers::Shape,
    prices::PriceBook,
    units::{InstanceType, Millis},
};
use tokio::{
    sync::watch,
    time::{Instant, sleep, sleep_until, timeout},
};
use tokio_util::task::AbortOnDropHandle;
use tracing::warn;

use crate::{
    config::Config,
    market::{Market, MarketError, Prior, TypesSince},
    metrics::Metrics,
};

/// A market that failed is asked again after so long, if not sooner, and so is one that has not been asked about a type.
const ASK_AGAIN: Duration = Duration::from_secs(15);
/// So many types are asked about besides those that may be bought. A fleet has fewer, and a market takes so many: EC2 in
/// one question.
const BESIDES_MAX: usize = 200;
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
    for_sale: BTreeSet<InstanceType>,
    besides: watch::Sender<TypesSince>,
    left_out: usize,
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
    besides: watch::Receiver<TypesSince>,
    quoted: watch::Sender<Quoted>,
}

// === impl Quotes ===

impl Quotes {
    pub(crate) fn start(market: Arc<dyn Market>, config: &Config, metrics: Metrics) -> Self {
        let (refresh, usual) = (config.prices.refresh, config.risk.interruptions_per_hour);
        let (clock, moments) = watch::channel(None);
        let (besides, wanted) = watch::channel(TypesSince::new());
        let (sender, quoted) = watch::channel(Quoted::default());
        let asking = Asking {
            market,
            refresh,
            usual,
            metrics,
            clock: moments,
            besides: wanted,
            quoted: sender,
        };
        let asking = AbortOnDropHandle::new(tokio::spawn(asking.run()));
        let for_sale = config.types().into_iter().collect();
        Self { clock, for_sale, besides, left_out: 0, quoted, _asking: asking }
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

    /// The prices of these types are needed, since when: from now on, and no others'. What may be bought is asked about
    /// anyway, and a new type soon.
    pub(crate) fn need(&mut self, types: BTreeMap<&InstanceType, Timestamp>) {
        let besides = types.into_iter().filter(|(name, _)| !self.for_sale.contains(*name));
        let mut besides: Vec<_> = besides.collect();
        let left_out = besides.len().saturating_sub(BESIDES_MAX);
        if left_out > 0 {
            // What was asked about goes on to be, or none would ever be known in full.
            let known = self.besides.borrow();
            besides.sort_by_key(|(name, _)| !known.contains_key(*name));
            besides.truncate(BESIDES_MAX);
        }
        if std::mem::replace(&mut self.left_out, left_out) < left_out {
            warn!(left_out, "there are nodes of too many machine types to ask about all prices");
        }
        let besides = besides.into_iter().map(|(name, since)| (name.clone(), since)).collect();
        self.besides.send_if_modified(|known| {
            let is_changed = *known != besides;
            *known = besides;
            is_changed
        });
    }
}

// === impl Asking ===

impl Asking {
    async fn run(mut self) {
        while let Some(now) = self.now().await {
            let asked_at = Instant::now();
            let besides = self.besides.borrow_and_update().clone();
            let answer = timeout(ANSWER_WITHIN, self.market.prices(now, &besides)).await;
            let answer =
                answer.unwrap_or_else(|_| Err(MarketError::Unavailable("no answer".to_owned())));
            let pause = match answer {
                Ok(book) => {
                    self.quote(Arc::new(book), Some(asked_at));
                    self.refresh
                }
                Err(error) => self.failed(error),
            };
            self.rest(pause, &besides).await;
        }
    }

    /// Waits until it is time to ask again: sooner when something was not asked about that is needed by now.
    async fn rest(&mut self, pause: Duration, asked: &TypesSince) {
        let soon = Instant::now() + ASK_AGAIN.min(self.refresh);
        let is_new = |(name, since): (&InstanceType, &Timestamp)| {
            asked.get(name).is_none_or(|asked| since < asked)
        };
        let needed = async {
            let needed = self.besides.wait_for(|besides| besides.iter().any(is_new)).await;
            if needed.map(drop).is_err() {
                pending::<()>().await;
            }
            sleep_until(soon).await;
        };
        tokio::select! {
            () = sleep(pause) => {}
            () = needed => {}
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
