//! Where the money went: node lifetimes times price history. The ledger keeps lifetimes only and works the sums out
//! anew, so that repeating an observation, setting a clock or correcting a price late cannot count a second twice.
//!
//! Billing follows EC2's pages "Amazon EC2 On-Demand Pricing" (Linux: by the second, 60 s at least) and "Billing for
//! interrupted Spot Instances" (a Linux spot instance that EC2 takes in its first hour is free). A node is billed from its
//! launch, also where that was before the ledger was opened or while nobody looked. A node that is gone without a word
//! is billed up to when it was seen last. What is in scope is nodes, and nothing else that a provider bills.

mod baseline;
mod days;
mod detour;
mod exact;
mod former;
mod life;
mod lines;
mod occupancy;
mod reconcile;
mod rows;
mod settled;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use jiff::{Timestamp, civil::Date};
use serde::{Deserialize, Serialize};

pub(crate) use self::life::FREE_BEFORE;
pub use self::{
    baseline::Baseline,
    former::FormerLedger,
    lines::{LeftOnAdvice, LifeEnd, LifeLine, Line, SpendLine, Stretch},
    reconcile::{Difference, FeedRow, Reconciliation},
    rows::Row,
};
use self::{
    baseline::Peaks,
    days::{first_told, month_of},
    detour::Detour,
    exact::{Bill, Exact},
    life::{Life, LifeKey},
    lines::Sums,
    settled::Settled,
};
use crate::{
    cluster::{EndedBy, Index, Node, Observation, Offering, Workload},
    pairs,
    prices::PriceBook,
    units::{InstanceId, InstanceType, MicroUsd, Millis, NodeName},
};

/// A life that ended so long ago is no longer corrected: it is added to the sums of its days and forgotten. What a life
/// that goes on cost so long ago is settled likewise.
const SETTLED_AFTER: Millis = Millis::from_secs(24 * 3600);
/// What is in doubt is kept for so long after its end: a life without any price, in case one becomes known (it is in no
/// sum, and named), and one that is no longer listed though nobody was seen to end it, in case it is listed again.
const KEPT_IN_DOUBT: Millis = Millis::from_secs(7 * 24 * 3600);
/// An observation that is older than the last by less than this is late, and one that is older still was made by a clock
/// that was set back.
const LATE_MAX: Millis = Millis::from_secs(60);
/// Between two observations there is less than this, unless nobody looked or a clock was set forward.
const GAP_MAX: Millis = Millis::from_secs(3600);

/// The lives of all nodes since the ledger was opened.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ledger {
    opened_at: Option<Timestamp>,
    /// When the nodes were listed last.
    observed_at: Option<Timestamp>,
    /// Since when the clock has only gone on.
    steady_since: Option<Timestamp>,
    /// What may prove to be a clock that was set wrong.
    #[serde(default)]
    detour: Option<Detour>,
    month: Option<Month>,
    serving_max: Peaks,
    #[serde(with = "pairs")]
    lives: BTreeMap<LifeKey, Life>,
    settled: Settled,
}

/// A calendar month, in UTC, as bills have it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Month {
    begins: Timestamp,
    /// What had been spent before it, refunds taken off.
    before: Exact,
}

/// Sums since the ledger was opened.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Totals {
    /// What the nodes cost, before refunds.
    pub spend: MicroUsd,
    /// What the provider does not bill, because it took spot nodes in their first hour.
    pub refund: MicroUsd,
    /// What of the spend is of nodes that were left on mere advice, from then to their end: see [`LeftOnAdvice`].
    #[serde(default)]
    pub on_advice: MicroUsd,
    /// What the baseline fleet would have cost.
    pub baseline: MicroUsd,
    /// What the baseline is, in words.
    pub baseline_is: String,
    /// Spend and refund of each offering.
    #[serde(with = "pairs")]
    pub offerings: BTreeMap<Offering, Line>,
    /// The same by pool, offering and workload. All sums here are sums of these.
    pub lines: Vec<SpendLine>,
    /// Nodes without any known price: their cost is in no sum.
    pub unpriced: Vec<NodeName>,
}

// === impl Ledger ===

impl Ledger {
    /// Takes note of an observation. The prices are needed to settle what ended long ago.
    pub fn observe(&mut self, seen: &Observation, prices: &PriceBook) {
        let index = Index::of(seen);
        self.opened_at.get_or_insert(seen.at);
        let serving =
            |workload: &Workload| workload.replicas_wanted.0.min(index.ready(&workload.name));
        let late = self.keep_time(seen.at);
        self.rename(seen);
        for node in &seen.nodes {
            let life = self.lives.entry(LifeKey::of(node)).or_insert_with(|| Life::new(node));
            life.see(node, &index, late);
            if !late {
                life.see_pods(node, &index);
                life.see_leaving(node, &index);
            }
        }
        if !late {
            self.serving_max.note(seen.at, seen.workloads.iter().map(serving).sum());
            self.end_absent(&index);
            self.observed_at = Some(seen.at);
        }
        self.begin_month(prices, seen.at);
        self.settle(prices, seen.at);
    }

    /// A machine that is listed under another name, or with another launch, is still the same machine.
    fn rename(&mut self, seen: &Observation) {
        let known = |node: &&Node| self.lives.contains_key(&LifeKey::of(node));
        let new: Vec<_> = seen.nodes.iter().filter(|node| !known(node)).collect();
        if new.is_empty() {
            return;
        }
        let named = |(key, life): (&LifeKey, &Life)| Some((life.instance.clone()?, key.clone()));
        let keys: BTreeMap<InstanceId, LifeKey> = self.lives.iter().filter_map(named).collect();
        for node in new {
            let key = node.instance.as_ref().and_then(|instance| keys.get(instance));
            if let Some(life) = key.and_then(|key| self.lives.remove(key)) {
                self.lives.insert(LifeKey::of(node), life);
            }
        }
    }

    fn end_absent(&mut self, index: &Index<'_>) {
        let now = index.seen.at;
        let listed_at = self.observed_at.unwrap_or(now);
        for (key, life) in &mut self.lives {
            let named = index.node(&key.node);
            let is_listed = named.is_some_and(|node| node.launched_at == key.launched_at);
            if life.ended.is_none() && !is_listed {
                life.vanish(listed_at, now);
            }
        }
    }

    /// The machines that are no longer listed and of whose end nobody has told: it is inferred.
    pub fn open_ends(&self) -> impl Iterator<Item = &InstanceId> {
        let open = |life: &&Life| life.ended.is_some_and(|end| end.inferred);
        self.lives.values().filter(open).filter_map(|life| life.instance.as_ref())
    }

    /// Somebody tells by whose hand one of these machines ended, and may be when. What it was, if it was one of these.
    pub fn end(
        &mut self,
        instance: &InstanceId,
        at: Option<Timestamp>,
        by: EndedBy,
    ) -> Option<&Offering> {
        let lives = self.lives.values_mut();
        let mut its = lives.filter(|life| life.instance.as_ref() == Some(instance));
        its.find_map(|life| life.tell(at, by).then_some(&life.offering))
    }

    fn begin_month(&mut self, prices: &PriceBook, now: Timestamp) {
        let begins = month_of(now);
        if self.month.is_none_or(|month| month.begins != begins) {
            let before = self.net(|life| life.net(prices, life.billed_until(now).min(begins)));
            self.month = Some(Month { begins, before });
        }
    }

    /// What goes on is settled, and days are told together, only by a clock that has gone on for as long as that takes:
    /// one that was set far ahead, and will be set back, costs nothing.
    fn settle(&mut self, prices: &PriceBook, now: Timestamp) {
        self.detour = self.detour.take().filter(|detour| SETTLED_AFTER.after(detour.since) > now);
        let settled = &mut self.settled;
        let long_ago = SETTLED_AFTER.before(now);
        let steady = self.steady_since.is_some_and(|since| since <= long_ago);
        let given_up = KEPT_IN_DOUBT.before(now);
        self.lives.retain(|_, life| {
            let from = life.unsettled_from();
            let over = if life.may_come_back() { given_up } else { long_ago };
            let bill = match life.ended {
                None if steady => life.fold(prices, long_ago),
                Some(end) if end.at_latest <= over => life.bill(prices, now),
                _ => None,
            };
            if let Some(bill) = &bill {
                settled.add(life, (from, bill), now);
            }
            let Some(end) = life.ended else { return true };
            bill.is_none() && !(steady && end.at_latest <= given_up)
        });
        settled.roll_up(if steady { first_told(now) } else { Date::MIN });
    }

    /// What is billed of everything, if this is of each life.
    fn net(&self, of: impl Fn(&Life) -> Exact) -> Exact {
        self.settled.net() + self.lives.values().map(of).sum()
    }

    /// What was spent since the month began, in UTC, refunds taken off. Quick, unlike [`Self::totals`]: it is asked for at
    /// every look.
    pub fn spent_this_month(&self, prices: &PriceBook, now: Timestamp) -> MicroUsd {
        let net = self.net(|life| life.net(prices, life.billed_until(now)));
        let before = self.month.map_or_else(Exact::default, |month| month.before);
        net.less(before).rounded()
    }

    /// Every life, and what it comes to.
    fn bills(&self, prices: &PriceBook, now: Timestamp) -> Vec<(&LifeKey, &Life, Option<Bill>)> {
        self.lives.iter().map(|(key, life)| (key, life, life.bill(prices, now))).collect()
    }

    /// The sums up to a moment.
    pub fn totals(&self, baseline: &Baseline, prices: &PriceBook, now: Timestamp) -> Totals {
        let Sums { lines, unpriced } = self.sums(prices, now);
        let (baseline, baseline_is) = self.baseline(baseline, prices, now);
        let mut totals = Totals { baseline, baseline_is, lines, unpriced, ..Totals::default() };
        for line in &totals.lines {
            totals.spend = totals.spend.saturating_add(line.spend);
            totals.refund = totals.refund.saturating_add(line.refund);
            totals.on_advice = totals.on_advice.saturating_add(line.on_advice);
            let offering = totals.offerings.entry(line.offering.clone()).or_default();
            offering.spend = offering.spend.saturating_add(line.spend);
            offering.refund = offering.refund.saturating_add(line.refund);
        }
        totals
    }

    /// Every life that goes on or ended within the last day, by node; what ended before is in the sums only.
    pub fn lives(&self, prices: &PriceBook, now: Timestamp) -> impl Iterator<Item = LifeLine> {
        self.lives.iter().map(move |(key, life)| lines::life_line(key, life, prices, now))
    }

    /// Prices before this moment are needed no more; none when no life is.
    pub fn unsettled_since(&self) -> Option<Timestamp> {
        self.types_since().into_values().min()
    }

    /// The machine types whose prices are needed, each since when.
    pub fn types_since(&self) -> BTreeMap<&InstanceType, Timestamp> {
        let mut since = BTreeMap::new();
        for life in self.lives.values() {
            let from = life.unsettled_from();
            let earliest = since.entry(&life.offering.instance_type).or_insert(from);
            *earliest = from.min(*earliest);
        }
        since
    }
}

// === impl LifeKey ===

impl LifeKey {
    fn of(node: &Node) -> Self {
        Self { node: node.name.clone(), launched_at: node.launched_at }
    }
}
