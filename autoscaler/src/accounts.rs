//! The money: the ledger, and every price that it still needs. A market forgets, so what it once said is kept until no
//! life that is not settled was led at that price.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use spotscale_decide::{
    cluster::{CapacityType, EndedBy, Observation, Offering},
    ledger::{Baseline, FeedRow, Ledger, LifeLine, Reconciliation, Row, Totals},
    prices::{PriceBook, PriceChange},
    units::{InstanceId, InstanceType, MicroUsd, UsdPerHour},
};

use crate::fates::{End, Fate};

/// The money in whole: what `/debug/ledger` tells, and what every account of it is made from.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Books {
    /// The moment up to which it is known.
    pub at: Timestamp,
    /// What the spend is held against.
    pub baseline: Baseline,
    /// Every life.
    pub ledger: Ledger,
    /// What they were led at.
    pub prices: PriceBook,
}

/// The money, of which whoever asks is told while the loop goes on. Never locked across a call.
#[derive(Clone)]
pub struct SharedBooks(Arc<Mutex<Accounts>>);

pub(crate) struct Accounts {
    baseline: Baseline,
    ledger: Ledger,
    /// The prices in force, and those of the past that the ledger needs.
    book: PriceBook,
    /// What the market said last, so that it is entered once.
    entered: Option<Arc<PriceBook>>,
    /// The moment up to which all is told; none while the ledger is not ours to tell of, or what it is held against is not
    /// known.
    told_at: Option<Timestamp>,
}

// === impl Books ===

impl Books {
    /// The sums. For a large cluster that is long work.
    pub fn totals(&self) -> Totals {
        self.ledger.totals(&self.baseline, &self.prices, self.at)
    }

    /// The sums day by day: see [`Ledger::rows`].
    pub fn rows(&self) -> Vec<Row> {
        self.ledger.rows(&self.prices, self.at)
    }

    /// The lives that are still told one by one.
    pub fn lives(&self) -> impl Iterator<Item = LifeLine> {
        self.ledger.lives(&self.prices, self.at)
    }

    /// The lives, held against what the provider charged.
    pub fn reconcile(&self, feed: &[FeedRow]) -> Reconciliation {
        self.ledger.reconcile(feed, &self.prices, self.at)
    }
}

// === impl SharedBooks ===

impl SharedBooks {
    pub(crate) fn new(baseline: Baseline) -> Self {
        Self(Arc::new(Mutex::new(Accounts {
            baseline,
            ledger: Ledger::default(),
            book: PriceBook::default(),
            entered: None,
            told_at: None,
        })))
    }

    /// Nothing panics while it holds this lock.
    pub(crate) fn lock(&self) -> MutexGuard<'_, Accounts> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// All that is known of the money; none while that is nothing, or may not be told.
    pub fn read(&self) -> Option<Books> {
        let accounts = self.lock();
        Some(Books {
            at: accounts.told_at?,
            baseline: accounts.baseline.clone(),
            ledger: accounts.ledger.clone(),
            prices: accounts.book.clone(),
        })
    }
}

// === impl Accounts ===

impl Accounts {
    /// What the spend is held against from now on, if anything.
    pub(crate) fn hold_against(&mut self, baseline: Option<Baseline>) {
        self.baseline = baseline.unwrap_or_else(|| self.baseline.clone());
    }

    /// Goes on where saved state ends.
    pub(crate) fn resume(&mut self, ledger: Ledger, kept: &PriceBook) {
        self.ledger = ledger;
        self.book = joined(kept, &self.book);
    }

    /// Enters what the market says.
    pub(crate) fn enter(&mut self, quoted: &Arc<PriceBook>) {
        let known = self.entered.as_ref().is_some_and(|known| Arc::ptr_eq(known, quoted));
        if !known {
            self.book = joined(&self.book, quoted);
            self.entered = Some(Arc::clone(quoted));
        }
    }

    pub(crate) fn observe(&mut self, seen: &Observation) {
        self.ledger.observe(seen, &self.book);
    }

    /// From now on all may be told up to a moment, or nothing.
    pub(crate) fn tell(&mut self, up_to: Option<Timestamp>) {
        self.told_at = up_to;
    }

    /// The machine types whose prices the ledger needs, each since when.
    pub(crate) fn types_since(&self) -> BTreeMap<&InstanceType, Timestamp> {
        self.ledger.types_since()
    }

    /// The machines of whose end nobody has told.
    pub(crate) fn open_ends(&self) -> impl Iterator<Item = &InstanceId> {
        self.ledger.open_ends()
    }

    /// The provider tells what became of one of them: what it was, if the provider took it.
    pub(crate) fn learn(&mut self, fate: &Fate) -> Option<Offering> {
        let End { at, by } = fate.end?;
        let ended = self.ledger.end(&fate.instance, at, by)?;
        (by == EndedBy::Provider).then(|| ended.clone())
    }

    /// The prices in force of these types.
    pub(crate) fn prices_at(
        &self,
        now: Timestamp,
        is_wanted: impl Fn(&InstanceType) -> bool,
    ) -> BTreeMap<Offering, UsdPerHour> {
        let wanted = self.book.offerings().filter(|it| is_wanted(&it.instance_type));
        let priced = |it: &Offering| Some((it.clone(), self.book.at(it, now)?));
        wanted.filter_map(priced).collect()
    }

    pub(crate) fn spent_this_month(&self, now: Timestamp) -> MicroUsd {
        self.ledger.spent_this_month(&self.book, now)
    }

    /// What must outlive us, for [`Accounts::resume`].
    pub(crate) fn kept(&mut self, now: Timestamp) -> (Ledger, PriceBook) {
        self.book = since(&self.book, self.ledger.unsettled_since().unwrap_or(now));
        (self.ledger.clone(), self.book.clone())
    }
}

/// One book of two. Where both tell of a moment the later telling counts, and what it says nothing about is as it was.
fn joined(earlier: &PriceBook, later: &PriceBook) -> PriceBook {
    let past = earlier.offerings().flat_map(|offering| {
        let begins = later.changes(offering).first().map_or(Timestamp::MAX, |first| first.at);
        let past = earlier.changes(offering).iter().take_while(move |change| change.at < begins);
        past.map(|change| (offering.clone(), *change))
    });
    let told = later.offerings().flat_map(|offering| {
        let told = later.changes(offering).iter();
        told.map(|change| (offering.clone(), *change))
    });
    past.chain(told).collect()
}

/// The book without what was over by then. On-demand prices change so seldom that all are kept: the baseline needs them
/// from the ledger's first day on.
fn since(book: &PriceBook, since: Timestamp) -> PriceBook {
    let kept = book.offerings().flat_map(|offering| {
        let changes = book.changes(offering);
        let over = changes.partition_point(|change| change.at <= since).saturating_sub(1);
        let over = if offering.capacity_type == CapacityType::Spot { over } else { 0 };
        let news = changes[over..].chunk_by(|one, next| one.price == next.price);
        let news = news.filter_map(<[PriceChange]>::first);
        news.map(|change| (offering.clone(), *change))
    });
    kept.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn offering(capacity_type: CapacityType) -> Offering {
        let (instance_type, zone) = ("g4dn.xlarge".parse().unwrap(), "a".parse().unwrap());
        Offering { instance_type, zone, capacity_type }
    }

    fn book(capacity_type: CapacityType, changes: &[(i64, u64)]) -> PriceBook {
        let change = |&(second, micros): &(i64, u64)| {
            let at = Timestamp::from_second(second).unwrap();
            (offering(capacity_type), PriceChange { at, price: UsdPerHour(micros) })
        };
        changes.iter().map(change).collect()
    }

    fn told(book: &PriceBook, capacity_type: CapacityType) -> Vec<(i64, u64)> {
        let changes = book.changes(&offering(capacity_type)).iter();
        changes.map(|change| (change.at.as_second(), change.price.0)).collect()
    }

    #[test]
    fn what_a_market_has_forgotten_is_kept_and_what_it_corrects_is_replaced() {
        let spot = |changes: &[(i64, u64)]| book(CapacityType::Spot, changes);
        let both = joined(&spot(&[(0, 1), (10, 2), (20, 3), (30, 9)]), &spot(&[(20, 4), (40, 5)]));
        assert_eq!(told(&both, CapacityType::Spot), [(0, 1), (10, 2), (20, 4), (40, 5)]);
        let one = joined(&spot(&[(0, 1)]), &PriceBook::default());
        assert_eq!(told(&one, CapacityType::Spot), [(0, 1)]);
    }

    #[test]
    fn the_price_in_force_is_kept_and_the_past_before_it_is_not() {
        let second = |second| Timestamp::from_second(second).unwrap();
        let changes = [(0, 1), (10, 2), (20, 2), (30, 3)];
        let spot = since(&book(CapacityType::Spot, &changes), second(15));
        assert_eq!(told(&spot, CapacityType::Spot), [(10, 2), (30, 3)]);
        let on_demand = since(&book(CapacityType::OnDemand, &changes), second(15));
        assert_eq!(told(&on_demand, CapacityType::OnDemand), [(0, 1), (10, 2), (30, 3)]);
    }
}
