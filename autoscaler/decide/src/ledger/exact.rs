//! Money without rounding, who it was spent for, and how it is rounded so that the parts add up to the whole.

use std::{
    collections::BTreeMap,
    iter::Sum,
    ops::{Add, AddAssign},
};

use serde::{Deserialize, Serialize};

use crate::{
    pairs,
    units::{MicroUsd, Millis, UsdPerHour, WorkloadName},
};

/// Money in micro-dollars per hour times milliseconds: sums of it lose nothing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub(super) struct Exact(u128);

/// Money by the workload that it was spent for; none for what served nobody.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub(super) struct Parts {
    #[serde(with = "pairs")]
    parts: BTreeMap<Option<WorkloadName>, Exact>,
}

/// Rounds a row of sums so that the rounded ones add up to the rounded whole.
#[derive(Debug, Default)]
pub(super) struct Rounding {
    exact: Exact,
    given: MicroUsd,
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

    pub(super) fn less(self, other: Self) -> Self {
        Self(self.0.saturating_sub(other.0))
    }

    /// To the nearest micro-dollar.
    pub(super) fn rounded(self) -> MicroUsd {
        let micros = self.0.saturating_add(Self::PER_MICRO_USD / 2) / Self::PER_MICRO_USD;
        MicroUsd(i64::try_from(micros).unwrap_or(i64::MAX))
    }

    /// `count` parts of `of`, cut to what can be told.
    fn share(self, count: u32, of: u32) -> Self {
        Self(self.0 / u128::from(of.max(1)) * u128::from(count))
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

// === impl Parts ===

impl Parts {
    /// Shares a cost among workloads by their pods; the last of them bears what cannot be shared evenly.
    pub(super) fn share(&mut self, cost: Exact, pods: &BTreeMap<WorkloadName, u32>) {
        let all: u32 = pods.values().sum();
        let mut left = cost;
        let mut rest = pods.len();
        for (workload, count) in pods {
            rest -= 1;
            let part = if rest == 0 { left } else { cost.share(*count, all) };
            left = left.less(part);
            self.bear(Some(workload.clone()), part);
        }
        if pods.is_empty() {
            self.bear(None, cost);
        }
    }

    fn bear(&mut self, workload: Option<WorkloadName>, cost: Exact) {
        let sum = self.parts.entry(workload).or_default();
        *sum = *sum + cost;
    }

    pub(super) fn total(&self) -> Exact {
        self.parts.values().copied().sum()
    }

    pub(super) fn get(&self, workload: Option<&WorkloadName>) -> Exact {
        self.parts.get(&workload.cloned()).copied().unwrap_or_default()
    }

    pub(super) fn workloads(&self) -> impl Iterator<Item = Option<&WorkloadName>> {
        self.parts.keys().map(Option::as_ref)
    }
}

impl AddAssign<&Self> for Parts {
    fn add_assign(&mut self, other: &Self) {
        for (workload, cost) in &other.parts {
            self.bear(workload.clone(), *cost);
        }
    }
}

// === impl Rounding ===

impl Rounding {
    pub(super) fn next(&mut self, exact: Exact) -> MicroUsd {
        self.exact = self.exact + exact;
        let part = self.exact.rounded().saturating_sub(self.given);
        self.given = self.given.saturating_add(part);
        part
    }
}
