//! What is no longer corrected, as sums by day: so long as there is room, and then without a day.

use std::collections::BTreeMap;

use jiff::{Timestamp, civil::Date};
use serde::{Deserialize, Serialize};

use super::{
    days::{Day, end_of, first_told, midnight},
    exact::{Bill, Exact, Usage},
    life::Life,
};
use crate::{
    cluster::Offering,
    pairs,
    units::{PoolName, WorkloadName},
};

/// Sums that are kept. A fleet of five pools, ten offerings and three workloads has 150 a day; beyond this the oldest
/// days are told together, so that all fits where it is kept.
const SUMS_MAX: usize = 8000;

/// What is summed apart.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(super) struct Account {
    pub(super) day: Day,
    pub(super) pool: Option<PoolName>,
    pub(super) offering: Offering,
    pub(super) workload: Option<WorkloadName>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Sum {
    pub(super) usage: Usage,
    /// What of its cost is not billed.
    pub(super) refund: Exact,
}

/// The sums.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Settled {
    #[serde(with = "pairs")]
    sums: BTreeMap<Account, Sum>,
    /// When that was which has no day.
    earlier: Option<Period>,
}

/// A time from one moment to another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Period {
    pub(super) from: Timestamp,
    pub(super) to: Timestamp,
}

// === impl Sum ===

impl Sum {
    pub(super) fn of(usage: Usage, free: bool) -> Self {
        Self { refund: if free { usage.spend } else { Exact::default() }, usage }
    }

    pub(super) fn add(&mut self, other: Self) {
        self.usage += other.usage;
        self.refund = self.refund + other.refund;
    }

    /// What is billed.
    pub(super) fn net(&self) -> Exact {
        self.usage.spend.less(self.refund)
    }
}

// === impl Settled ===

impl Settled {
    /// Adds what a life came to from a moment on.
    pub(super) fn add(&mut self, life: &Life, (from, bill): (Timestamp, &Bill), now: Timestamp) {
        for (day, workload, usage) in bill.parts() {
            let account = Account {
                day,
                pool: life.pool.clone(),
                offering: life.offering.clone(),
                workload: workload.cloned(),
            };
            if day.is_none() {
                let to = midnight(first_told(now));
                self.reach(Period { from: from.min(to), to });
            }
            self.enter(account, Sum::of(usage, life.is_free()));
        }
    }

    pub(super) fn enter(&mut self, account: Account, sum: Sum) {
        self.sums.entry(account).or_default().add(sum);
    }

    /// What has no day was within this, too.
    pub(super) fn reach(&mut self, period: Period) {
        let earlier = self.earlier.get_or_insert(period);
        earlier.from = earlier.from.min(period.from);
        earlier.to = earlier.to.max(period.to);
    }

    /// Tells days before `first` together, and more of them while there is no room.
    pub(super) fn roll_up(&mut self, first: Date) {
        while let Some(oldest) = self.sums.keys().find_map(|account| account.day)
            && (oldest < first || self.sums.len() > SUMS_MAX)
        {
            self.reach(Period { from: midnight(oldest), to: end_of(oldest) });
            let its = self.sums.extract_if(.., |account, _| account.day == Some(oldest));
            for (account, sum) in its.collect::<Vec<_>>() {
                self.enter(Account { day: None, ..account }, sum);
            }
        }
    }

    pub(super) fn sums(&self) -> impl Iterator<Item = (&Account, &Sum)> {
        self.sums.iter()
    }

    /// What was billed.
    pub(super) fn net(&self) -> Exact {
        self.sums.values().map(Sum::net).sum()
    }

    /// When that was which has no day.
    pub(super) fn earlier(&self) -> Option<Period> {
        self.earlier
    }
}
