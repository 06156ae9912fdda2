//! Money without rounding, who it was spent for, and how it is rounded so that the parts add up to the whole.

use std::{
    collections::BTreeMap,
    iter::Sum,
    ops::{Add, AddAssign},
};

use serde::{Deserialize, Serialize};

use super::days::Day;
use crate::units::{MicroUsd, Millis, UsdPerHour, WorkloadName};

/// Money in micro-dollars per hour times milliseconds: sums of it lose nothing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub(super) struct Exact(u128);

/// A time on a machine, and what it comes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Usage {
    /// The time, as what it would cost at a dollar an hour: millionths of it are hours. Unknown of what was summed up
    /// before times were kept.
    pub(super) hours: Option<Exact>,
    /// What it cost, before a refund.
    pub(super) spend: Exact,
    /// What it would have cost on demand; unknown where some of it has no on-demand price.
    pub(super) list: Option<Exact>,
    /// What of the spend machines cost that were left on mere advice, from then on.
    #[serde(default)]
    pub(super) on_advice: Exact,
}

/// What a life comes to, by the day and by the workload that it was spent for; none for what served nobody.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Bill(BTreeMap<(Day, Option<WorkloadName>), Usage>);

/// Rounds a row of sums so that the rounded ones add up to the rounded whole.
#[derive(Debug, Default)]
pub(super) struct Rounding {
    exact: Exact,
    given: MicroUsd,
}

// === impl Exact ===

impl Exact {
    const PER_MICRO_USD: u128 = 3_600_000;
    /// At this price a micro-dollar is a millionth of an hour.
    const HOURLY: UsdPerHour = UsdPerHour(1_000_000);

    pub(super) fn of((span, price): (Millis, UsdPerHour)) -> Self {
        Self(u128::from(span.0) * u128::from(price.0))
    }

    /// A time, as what it costs at a dollar an hour.
    pub(super) fn hours(span: Millis) -> Self {
        Self::of((span, Self::HOURLY))
    }

    /// The price at which the time comes to this; none without any time.
    pub(super) fn price(self, hours: Self) -> Option<UsdPerHour> {
        let scaled = self.0.checked_mul(u128::from(Self::HOURLY.0))?;
        let price = scaled.checked_add(hours.0 / 2)?.checked_div(hours.0)?;
        u64::try_from(price).ok().map(UsdPerHour)
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

// === impl Usage ===

impl Default for Usage {
    /// No time, of which all is known.
    fn default() -> Self {
        let nothing = Exact::default();
        Self { hours: Some(nothing), spend: nothing, list: Some(nothing), on_advice: nothing }
    }
}

impl Usage {
    fn share(self, count: u32, of: u32) -> Self {
        Self {
            hours: self.hours.map(|hours| hours.share(count, of)),
            spend: self.spend.share(count, of),
            list: self.list.map(|list| list.share(count, of)),
            on_advice: self.on_advice.share(count, of),
        }
    }

    fn less(self, other: Self) -> Self {
        let less = |one: Option<Exact>, other: Option<Exact>| Some(one?.less(other?));
        Self {
            hours: less(self.hours, other.hours),
            spend: self.spend.less(other.spend),
            list: less(self.list, other.list),
            on_advice: self.on_advice.less(other.on_advice),
        }
    }
}

impl AddAssign for Usage {
    fn add_assign(&mut self, other: Self) {
        let add = |one: Option<Exact>, other: Option<Exact>| Some(one? + other?);
        self.hours = add(self.hours, other.hours);
        self.spend = self.spend + other.spend;
        self.list = add(self.list, other.list);
        self.on_advice = self.on_advice + other.on_advice;
    }
}

// === impl Bill ===

impl Bill {
    /// Shares a usage among workloads by their pods; the last of them bears what cannot be shared evenly.
    pub(super) fn share(&mut self, day: Day, usage: Usage, pods: &BTreeMap<WorkloadName, u32>) {
        let all: u32 = pods.values().sum();
        let mut left = usage;
        let mut rest = pods.len();
        for (workload, count) in pods {
            rest -= 1;
            let part = if rest == 0 { left } else { usage.share(*count, all) };
            left = left.less(part);
            self.bear(day, Some(workload.clone()), part);
        }
        if pods.is_empty() {
            self.bear(day, None, usage);
        }
    }

    fn bear(&mut self, day: Day, workload: Option<WorkloadName>, usage: Usage) {
        *self.0.entry((day, workload)).or_default() += usage;
    }

    /// What it cost, before a refund.
    pub(super) fn spend(&self) -> Exact {
        self.0.values().map(|usage| usage.spend).sum()
    }

    /// What of that was on advice.
    pub(super) fn on_advice(&self) -> Exact {
        self.0.values().map(|usage| usage.on_advice).sum()
    }

    pub(super) fn parts(&self) -> impl Iterator<Item = (Day, Option<&WorkloadName>, Usage)> {
        self.0.iter().map(|((day, workload), usage)| (*day, workload.as_ref(), *usage))
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
