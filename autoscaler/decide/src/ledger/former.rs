//! The ledger as it was kept before it knew days: it is read, and never written.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::Deserialize;

use super::{
    Ledger, Month,
    exact::{Exact, Usage},
    life::{End, Folded, Life, LifeKey},
    occupancy::Occupancy,
    settled::{Account, Period, Settled, Sum},
};
use crate::{
    cluster::Offering,
    pairs,
    units::{InstanceId, PoolName, WorkloadName},
};

/// A ledger whose settled sums have no day, no time and no list price. As a [`Ledger`] it has them without a day.
#[derive(Debug, Deserialize)]
pub struct FormerLedger {
    opened_at: Option<Timestamp>,
    observed_at: Option<Timestamp>,
    month: Option<Month>,
    serving_max: u32,
    #[serde(with = "pairs")]
    lives: BTreeMap<LifeKey, FormerLife>,
    #[serde(with = "pairs")]
    settled: BTreeMap<FormerAccount, FormerSum>,
}

#[derive(Debug, Deserialize)]
struct FormerLife {
    offering: Offering,
    pool: Option<PoolName>,
    instance: Option<InstanceId>,
    billed_from: Timestamp,
    ended: Option<End>,
    deadline: Option<Timestamp>,
    occupancy: Occupancy,
    folded: Option<FormerFolded>,
}

#[derive(Debug, Deserialize)]
struct FormerFolded {
    until: Timestamp,
    parts: FormerParts,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
struct FormerAccount {
    pool: Option<PoolName>,
    offering: Offering,
}

#[derive(Debug, Deserialize)]
struct FormerSum {
    spend: FormerParts,
    refund: FormerParts,
}

#[derive(Debug, Deserialize)]
#[serde(transparent)]
struct FormerParts {
    #[serde(with = "pairs")]
    parts: BTreeMap<Option<WorkloadName>, Exact>,
}

impl From<FormerLedger> for Ledger {
    fn from(former: FormerLedger) -> Self {
        let FormerLedger { opened_at, observed_at, month, serving_max, lives, settled: sums } =
            former;
        let mut settled = Settled::default();
        let launches = lives.values().map(|life| life.billed_from);
        let from = launches.chain(opened_at).min();
        if let Some((from, to)) = from.zip(observed_at) {
            settled.reach(Period { from, to: to.max(from) });
        }
        for (account, mut sum) in sums {
            for (workload, spend) in sum.spend.parts {
                let refund = sum.refund.parts.remove(&workload).unwrap_or_default();
                settled.enter(account.clone().of(workload), undated(spend, refund));
            }
        }
        let lives = lives.into_iter().map(|(key, life)| (key, life.into(&mut settled))).collect();
        Self {
            opened_at,
            observed_at,
            steady_since: None,
            detour: None,
            month,
            serving_max: serving_max.into(),
            lives,
            settled,
        }
    }
}

impl FormerLife {
    /// What was folded of it is among the sums now.
    fn into(self, settled: &mut Settled) -> Life {
        let Self { offering, pool, instance, billed_from, ended, deadline, occupancy, folded } =
            self;
        let folded = folded.map(|FormerFolded { until, parts }| {
            let spend = parts.parts.values().copied().sum();
            for (workload, spend) in parts.parts {
                let account = FormerAccount { pool: pool.clone(), offering: offering.clone() };
                settled.enter(account.of(workload), undated(spend, Exact::default()));
            }
            Folded { until, spend }
        });
        Life {
            offering,
            pool,
            instance,
            billed_from,
            ended,
            deadline,
            left_at: None,
            gone_at: None,
            advised_at: None,
            occupancy,
            folded,
        }
    }
}

impl FormerAccount {
    fn of(self, workload: Option<WorkloadName>) -> Account {
        Account { day: None, pool: self.pool, offering: self.offering, workload }
    }
}

fn undated(spend: Exact, refund: Exact) -> Sum {
    Sum { usage: Usage { hours: None, spend, list: None, ..Usage::default() }, refund }
}
