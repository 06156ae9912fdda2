//! Where each dollar went: sums by who it was spent for, and single lives for whoever wants to check them.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{
    exact::{Exact, Parts, Rounding},
    life::{Life, LifeKey},
};
use crate::{
    cluster::{EndedBy, Offering},
    prices::PriceBook,
    units::{InstanceId, MicroUsd, NodeName, PoolName, UsdPerHour, WorkloadName},
};

/// The money of one offering.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Line {
    /// What its nodes cost, before refunds.
    pub spend: MicroUsd,
    /// What of that is not billed.
    pub refund: MicroUsd,
}

/// The money that one workload took of one offering in one pool.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SpendLine {
    /// The pool.
    pub pool: Option<PoolName>,
    /// The offering.
    pub offering: Offering,
    /// The workload whose pods served there, by their number where several did; none for idle time, when no pod of any
    /// workload was ready there.
    pub workload: Option<WorkloadName>,
    /// What it cost, before refunds.
    pub spend: MicroUsd,
    /// What of that is not billed.
    pub refund: MicroUsd,
}

/// One node's life as it is billed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LifeLine {
    /// The node.
    pub node: NodeName,
    /// The machine.
    pub instance: Option<InstanceId>,
    /// What was bought.
    pub offering: Offering,
    /// The pool that it was bought for.
    pub pool: Option<PoolName>,
    /// When it was launched, which may be before the ledger was opened: a node is billed from its launch.
    pub from: Timestamp,
    /// Its end, if it has ended.
    pub end: Option<LifeEnd>,
    /// What it cost before the first of `stretches`, where it has lived for so long that this is settled.
    pub earlier: MicroUsd,
    /// From when to when which price was in force.
    pub stretches: Vec<Stretch>,
    /// What it cost, before a refund; none without any price.
    pub cost: Option<MicroUsd>,
    /// What of that is not billed.
    pub refund: MicroUsd,
}

/// The end of a life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct LifeEnd {
    /// When it ended, as it is billed.
    pub at: Timestamp,
    /// When it ended at the latest: its end was not seen where this differs.
    pub at_latest: Timestamp,
    /// Who ended it.
    pub by: EndedBy,
    /// Nobody told of the end: the node was no longer there. It is billed up to when it was seen last.
    pub inferred: bool,
}

/// A time of one price.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stretch {
    /// Its start.
    pub from: Timestamp,
    /// Its end.
    pub to: Timestamp,
    /// The price.
    pub price: UsdPerHour,
}

/// What is summed apart.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(super) struct Account {
    pool: Option<PoolName>,
    offering: Offering,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Sum {
    spend: Parts,
    refund: Parts,
}

impl Account {
    pub(super) fn of(life: &Life) -> Self {
        Self { pool: life.pool.clone(), offering: life.offering.clone() }
    }
}

impl Sum {
    pub(super) fn add(&mut self, life: &Life, cost: &Parts) {
        self.spend += cost;
        if life.is_free() {
            self.refund += cost;
        }
    }

    /// What is billed.
    pub(super) fn net(&self) -> Exact {
        self.spend.total().less(self.refund.total())
    }
}

/// The lines of all sums, rounded so that they add up.
pub(super) fn lines(sums: &BTreeMap<Account, Sum>) -> Vec<SpendLine> {
    let (mut spend, mut refund) = (Rounding::default(), Rounding::default());
    let mut lines = vec![];
    for (Account { pool, offering }, sum) in sums {
        for workload in sum.spend.workloads() {
            lines.push(SpendLine {
                pool: pool.clone(),
                offering: offering.clone(),
                workload: workload.cloned(),
                spend: spend.next(sum.spend.get(workload)),
                refund: refund.next(sum.refund.get(workload)),
            });
        }
    }
    lines
}

pub(super) fn life_line(
    key: &LifeKey,
    life: &Life,
    prices: &PriceBook,
    now: Timestamp,
) -> LifeLine {
    let cost = life.cost(prices, now).map(|parts| parts.total().rounded());
    let earlier = life.folded.as_ref().map(|folded| folded.parts.total().rounded());
    let mut from = life.unfolded_from();
    let until = life.billed_until(now);
    let stretches = prices.stretches(&life.offering, from, until).map(|(span, price)| {
        let stretch = Stretch { from, to: span.after(from), price };
        from = stretch.to;
        stretch
    });
    LifeLine {
        stretches: stretches.collect(),
        node: key.node.clone(),
        instance: life.instance.clone(),
        offering: life.offering.clone(),
        pool: life.pool.clone(),
        from: life.billed_from,
        end: life.ended.map(|end| LifeEnd {
            at: end.at,
            at_latest: end.at_latest,
            by: end.by,
            inferred: end.inferred,
        }),
        earlier: earlier.unwrap_or_default(),
        refund: cost.filter(|_| life.is_free()).unwrap_or_default(),
        cost,
    }
}
