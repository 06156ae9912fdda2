//! The ledger held against what the provider charged, row by row of its own spot data feed ("Track your Spot Instance
//! costs using the Spot Instance data feed"): one row for each machine and hour, or part of an hour.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{Ledger, life::Life};
use crate::{
    cluster::CapacityType,
    prices::PriceBook,
    units::{InstanceId, MicroUsd, Millis, NodeName, UsdPerHour},
};

const HOUR: Millis = Millis::from_secs(3600);
/// A charge may differ by so much: the feed rounds, and our clock is not the provider's.
const TOLERATED: f64 = 0.01;
const TOLERATED_AT_LEAST: MicroUsd = MicroUsd(100);

/// A row of the feed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FeedRow {
    /// The machine.
    pub instance: InstanceId,
    /// A moment in the hour that the row is about.
    pub at: Timestamp,
    /// The price that was in force.
    pub price: UsdPerHour,
    /// What was charged for that hour.
    pub charge: MicroUsd,
}

/// The ledger and the feed, side by side.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reconciliation {
    /// What the ledger has for the machines and hours that both know, refunds taken off.
    pub ledger: MicroUsd,
    /// What the feed has for them.
    pub feed: MicroUsd,
    /// What it has for hours of these machines that are settled: the ledger knows them no more one by one.
    #[serde(default)]
    pub settled: MicroUsd,
    /// Every difference that is more than rounding.
    pub differences: Vec<Difference>,
}

/// Where the two differ.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "is")]
pub enum Difference {
    /// The feed charges a machine that is none of the lives that the ledger still knows one by one.
    UnknownInstance {
        /// The machine.
        instance: InstanceId,
        /// What the feed has for it.
        feed: MicroUsd,
    },
    /// The feed does not know a spot machine that ran in the hours that it is about.
    MissingInFeed {
        /// The machine.
        instance: InstanceId,
        /// Its node.
        node: NodeName,
    },
    /// The price of an hour differs.
    Price {
        /// The machine.
        instance: InstanceId,
        /// The row's moment.
        at: Timestamp,
        /// The ledger's price then; none without any.
        ledger: Option<UsdPerHour>,
        /// The feed's.
        feed: UsdPerHour,
    },
    /// The charge of an hour differs.
    Charge {
        /// The machine.
        instance: InstanceId,
        /// The start of the hour.
        hour: Timestamp,
        /// What the ledger has.
        ledger: MicroUsd,
        /// What the feed has.
        feed: MicroUsd,
    },
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnknownInstance { instance, feed } => write!(
                f,
                "{instance} is charged with ${:.6} and is none of the lives that are still told one by one",
                feed.as_usd()
            ),
            Self::MissingInFeed { instance, node } => {
                write!(f, "{instance} ({node}) ran in these hours and is not charged")
            }
            Self::Price { instance, at, ledger, feed } => {
                let ledger = ledger.map(|price| format!("${:.6}", price.as_usd()));
                let ledger = ledger.as_deref().unwrap_or("unknown");
                let feed = feed.as_usd();
                write!(
                    f,
                    "an hour of {instance} at {at:.0} is {ledger} to the ledger and ${feed:.6} to the feed"
                )
            }
            Self::Charge { instance, hour, ledger, feed } => {
                let (ledger, feed) = (ledger.as_usd(), feed.as_usd());
                write!(
                    f,
                    "{instance} in the hour from {hour:.0} cost ${ledger:.6} by the ledger and ${feed:.6} by the feed"
                )
            }
        }
    }
}

impl Ledger {
    /// Holds the lives against the rows of a feed, in any order. `now` is the moment up to which lives are known.
    pub fn reconcile(
        &self,
        rows: &[FeedRow],
        prices: &PriceBook,
        now: Timestamp,
    ) -> Reconciliation {
        let mut found = Reconciliation::default();
        let lives: BTreeMap<&InstanceId, (&NodeName, &Life)> = self
            .lives
            .iter()
            .filter_map(|(key, life)| Some((life.instance.as_ref()?, (&key.node, life))))
            .collect();
        let mut hours = BTreeMap::<(&InstanceId, Timestamp), MicroUsd>::new();
        for row in rows {
            let charged = hours.entry((&row.instance, hour_of(row.at))).or_default();
            *charged = charged.saturating_add(row.charge);
            let life = lives.get(&row.instance).map(|(_, life)| *life);
            if let Some(life) = life.filter(|life| !is_settled(life, hour_of(row.at))) {
                found.differences.extend(price_difference(row, life, prices));
            }
        }
        let mut unknown = BTreeMap::<&InstanceId, MicroUsd>::new();
        for ((instance, hour), charged) in &hours {
            let Some((_, life)) = lives.get(*instance) else {
                let sum = unknown.entry(*instance).or_default();
                *sum = sum.saturating_add(*charged);
                continue;
            };
            if is_settled(life, *hour) {
                found.settled = found.settled.saturating_add(*charged);
                continue;
            }
            let ours = charge(life, prices, *hour, now);
            found.ledger = found.ledger.saturating_add(ours);
            found.feed = found.feed.saturating_add(*charged);
            if differ(ours, *charged) {
                found.differences.push(Difference::Charge {
                    instance: (*instance).clone(),
                    hour: *hour,
                    ledger: ours,
                    feed: *charged,
                });
            }
        }
        found.differences.extend(unknown.into_iter().map(|(instance, feed)| {
            Difference::UnknownInstance { instance: instance.clone(), feed }
        }));
        found.differences.extend(missing(&lives, &hours, now));
        found
    }
}

/// Did what the life cost in this hour begin to be settled? Its prices may be forgotten.
fn is_settled(life: &Life, hour: Timestamp) -> bool {
    life.folded.is_some_and(|folded| hour < folded.until)
}

fn price_difference(row: &FeedRow, life: &Life, prices: &PriceBook) -> Option<Difference> {
    let ledger = prices.at(&life.offering, row.at);
    (ledger != Some(row.price)).then(|| Difference::Price {
        instance: row.instance.clone(),
        at: row.at,
        ledger,
        feed: row.price,
    })
}

/// What a life cost within the hour that begins at a moment.
fn charge(life: &Life, prices: &PriceBook, hour: Timestamp, now: Timestamp) -> MicroUsd {
    if life.is_free() {
        return MicroUsd::ZERO;
    }
    let from = hour.max(life.billed_from);
    let until = HOUR.after(hour).min(life.billed_until(now));
    let stretches = prices.stretches(&life.offering, from, until.max(from));
    stretches.map(super::Exact::of).sum::<super::Exact>().rounded()
}

fn differ(one: MicroUsd, other: MicroUsd) -> bool {
    let apart = one.0.abs_diff(other.0);
    let most = one.0.unsigned_abs().max(other.0.unsigned_abs());
    apart > TOLERATED_AT_LEAST.0.unsigned_abs() && apart as f64 > most as f64 * TOLERATED
}

/// The spot machines without a row that ran, and were charged, in hours that the feed is about.
fn missing(
    lives: &BTreeMap<&InstanceId, (&NodeName, &Life)>,
    hours: &BTreeMap<(&InstanceId, Timestamp), MicroUsd>,
    now: Timestamp,
) -> Vec<Difference> {
    let known: BTreeSet<_> = hours.keys().map(|(instance, _)| *instance).collect();
    let told: BTreeSet<_> = hours.keys().map(|(_, hour)| *hour).collect();
    let expected = |life: &Life| {
        let spot = life.offering.capacity_type == CapacityType::Spot && !life.is_free();
        let hours = hour_of(life.billed_from)..life.billed_until(now);
        spot && !hours.is_empty() && told.range(hours).next().is_some()
    };
    let missing = lives.iter().filter(|(id, (_, life))| !known.contains(*id) && expected(life));
    missing
        .map(|(instance, (node, _))| Difference::MissingInFeed {
            instance: (*instance).clone(),
            node: (*node).clone(),
        })
        .collect()
}

fn hour_of(at: Timestamp) -> Timestamp {
    let second = at.as_second();
    Timestamp::from_second(second - second.rem_euclid(3600)).unwrap_or(at)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        cluster::{EndedBy, Node, NodePhase},
        prices::PriceChange,
        testing::{at, node, seen, spot},
    };

    fn row(instance: &str, second: i64, price: &str, charge: i64) -> FeedRow {
        let (instance, price) = (instance.parse().unwrap(), price.parse().unwrap());
        FeedRow { instance, at: at(second), price, charge: MicroUsd(charge) }
    }

    fn found(rows: &[FeedRow]) -> Reconciliation {
        let change = PriceChange { at: at(0), price: "0.36".parse().unwrap() };
        let book = PriceBook::from_iter([(spot("a"), change)]);
        let machine = |id: &str| Node {
            instance: Some(id.parse().unwrap()),
            phase: NodePhase::Ended { at: at(5000), by: EndedBy::Us },
            ..node(id, spot("a"), at(1800))
        };
        let mut ledger = Ledger::default();
        ledger.observe(&seen(at(5000), vec![machine("i-1"), machine("i-2")]), &book);
        ledger.reconcile(rows, &book, at(5000))
    }

    #[test]
    fn rows_that_agree_leave_nothing_to_say() {
        // Half an hour, and 1,400 seconds of the next, at 100 micro-dollars a second; the feed rounds.
        let rows = ["i-1", "i-2"]
            .map(|id| [row(id, 3599, "0.36", 180_040), row(id, 3600, "0.36", 140_000)]);
        let found = found(&rows.concat());
        assert_eq!(found.differences, []);
        assert_eq!((found.ledger.0, found.feed.0), (640_000, 640_080));
    }

    #[test]
    fn every_difference_is_named() {
        let rows = [row("i-1", 1900, "0.37", 185_000), row("i-9", 1900, "0.36", 5)];
        let kinds: Vec<_> = found(&rows).differences;
        assert!(matches!(kinds[0], Difference::Price { ledger: Some(UsdPerHour(360_000)), .. }));
        assert!(matches!(&kinds[1],
            Difference::Charge { hour, ledger: MicroUsd(180_000), .. } if *hour == at(0)));
        assert!(matches!(kinds[2], Difference::UnknownInstance { feed: MicroUsd(5), .. }));
        assert!(matches!(&kinds[3],
            Difference::MissingInFeed { node, .. } if node.as_str() == "i-2"));
        assert_eq!(kinds.len(), 4);
    }

    #[test]
    fn hours_that_are_settled_are_told_apart() {
        const HOUR: i64 = 3600;
        let prices = |changes: &[(i64, &str)]| -> PriceBook {
            let change = |(at_second, price): &(i64, &str)| PriceChange {
                at: at(*at_second),
                price: price.parse().unwrap(),
            };
            changes.iter().map(|one| (spot("a"), change(one))).collect()
        };
        let machine =
            Node { instance: Some("i-1".parse().unwrap()), ..node("n", spot("a"), at(0)) };
        let mut ledger = Ledger::default();
        for hour in 0..=72 {
            let all = prices(&[(0, "0.36"), (40 * HOUR, "0.72")]);
            ledger.observe(&seen(at(hour * HOUR), vec![machine.clone()]), &all);
        }
        let rows = [row("i-1", 10 * HOUR, "0.36", 360_000), row("i-1", 60 * HOUR, "0.72", 720_000)];
        // What was before is not known any more.
        let found = ledger.reconcile(&rows, &prices(&[(40 * HOUR, "0.72")]), at(72 * HOUR));
        assert_eq!(found.differences, []);
        let sums = [found.ledger, found.feed, found.settled];
        assert_eq!(sums, [720_000, 720_000, 360_000].map(MicroUsd));
    }

    #[test]
    fn a_feed_of_other_hours_misses_nothing() {
        assert_eq!(found(&[row("i-9", 90_000, "0.36", 5)]).differences.len(), 1);
    }
}
