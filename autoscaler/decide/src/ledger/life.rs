//! One node's life, and what it cost to the last fraction of a micro-dollar.

use std::{iter::Sum, ops::Add};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{
    cluster::{CapacityType, EndedBy, Node, NodePhase, NoticeKind, Observation, Offering},
    prices::PriceBook,
    units::{MicroUsd, Millis, NodeName, UsdPerHour},
};

const BILLED_AT_LEAST: Millis = Millis::from_secs(60);
/// A spot node that the provider takes before this age is free.
pub(crate) const FREE_BEFORE: Millis = Millis::from_secs(3600);

/// A name may be used again: the launch tells the lives apart.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(super) struct LifeKey {
    pub(super) node: NodeName,
    pub(super) launched_at: Timestamp,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Life {
    pub(super) offering: Offering,
    pub(super) ended: Option<End>,
    /// When the provider said it would take the node.
    deadline: Option<Timestamp>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct End {
    pub(super) at: Timestamp,
    by: EndedBy,
    /// The node was no longer listed; had it been listed as ended, that would have been believed instead.
    inferred: bool,
}

/// Money in micro-dollars per hour times milliseconds: sums of it lose nothing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub(super) struct Exact(u128);

// === impl Life ===

impl Life {
    pub(super) fn new(node: &Node) -> Self {
        Self { offering: node.offering.clone(), ended: None, deadline: None }
    }

    /// Takes note of the node as it is listed.
    pub(super) fn see(&mut self, node: &Node, seen: &Observation) {
        match node.phase {
            NodePhase::Ended { at, by } => self.ended = Some(End { at, by, inferred: false }),
            NodePhase::Provisioning | NodePhase::Ready => {
                // It was missing from a list by mistake, and lives.
                self.ended = self.ended.filter(|end| !end.inferred);
            }
        }
        let about_us = seen.notices.iter().filter(|notice| notice.node == node.name);
        for notice in about_us {
            if let NoticeKind::Interruption { deadline } = notice.kind {
                self.deadline = Some(self.deadline.map_or(deadline, |known| known.min(deadline)));
            }
        }
    }

    /// The node is no longer listed, and nobody said why. The provider is believed to have taken it only if it said
    /// that it would, and by now: a refund is never claimed on a guess.
    pub(super) fn vanish(&mut self, now: Timestamp) {
        let taken = self.deadline.filter(|deadline| *deadline <= now);
        self.ended = Some(match taken {
            Some(deadline) => End { at: deadline, by: EndedBy::Provider, inferred: true },
            None => End { at: now, by: EndedBy::Us, inferred: true },
        });
    }

    /// What it cost up to a moment, before a refund; unknown without any price.
    pub(super) fn cost(&self, key: &LifeKey, prices: &PriceBook, now: Timestamp) -> Option<Exact> {
        let until = self.billed_until(key, now);
        let mut stretches = prices.stretches(&self.offering, key.launched_at, until).peekable();
        stretches.peek()?;
        Some(stretches.map(Exact::of).sum())
    }

    /// Whole seconds are billed, and 60 at least; while the node lives, what has passed.
    fn billed_until(&self, key: &LifeKey, now: Timestamp) -> Timestamp {
        let Some(end) = self.ended else {
            return now;
        };
        let lived = Millis::between(key.launched_at, end.at);
        let whole_seconds = Millis::from_secs(lived.0.div_ceil(1000));
        whole_seconds.max(BILLED_AT_LEAST).after(key.launched_at)
    }

    /// Did the provider take it in its first hour?
    pub(super) fn is_free(&self, key: &LifeKey) -> bool {
        let spot = self.offering.capacity_type == CapacityType::Spot;
        let taken = self.ended.filter(|end| end.by == EndedBy::Provider);
        spot && taken.is_some_and(|end| Millis::between(key.launched_at, end.at) < FREE_BEFORE)
    }
}

// === impl Exact ===

impl Exact {
    const PER_MICRO_USD: u128 = 3_600_000;

    pub(super) fn of((span, price): (Millis, UsdPerHour)) -> Self {
        Self(u128::from(span.0) * u128::from(price.0))
    }

    pub(super) fn times(self, count: u32) -> Self {
        Self(self.0.saturating_mul(u128::from(count)))
    }

    /// To the nearest micro-dollar.
    pub(super) fn rounded(self) -> MicroUsd {
        let micros = self.0.saturating_add(Self::PER_MICRO_USD / 2) / Self::PER_MICRO_USD;
        MicroUsd(i64::try_from(micros).unwrap_or(i64::MAX))
    }
}

impl Add for Exact {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }
}

impl Sum for Exact {
    fn sum<I: Iterator<Item = Self>>(terms: I) -> Self {
        terms.fold(Self::default(), Self::add)
    }
}
