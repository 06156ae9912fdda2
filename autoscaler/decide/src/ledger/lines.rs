//! Where each dollar went: sums by who it was spent for, and single lives for whoever wants to check them.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{
    Ledger,
    exact::Rounding,
    life::{Life, LifeKey},
    settled::{Account, Sum},
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
    /// What of it is of nodes that were left on mere advice, from then to their end: see [`LeftOnAdvice`].
    #[serde(default)]
    pub on_advice: MicroUsd,
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
    /// Whether it was left on mere advice.
    pub left_on_advice: Option<LeftOnAdvice>,
}

/// A node was closed because the provider recommended to leave it, and given back before the provider had said that it
/// would take it: a false alarm, as far as anybody can tell. Another took its place from about then on, so that what it
/// still cost bought nothing else.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeftOnAdvice {
    /// When it was closed.
    pub at: Timestamp,
    /// What it cost from then on; none without any price.
    pub cost: Option<MicroUsd>,
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

/// The pool, the offering and the workload that a sum is of.
type Payer<'a> = (Option<&'a PoolName>, &'a Offering, Option<&'a WorkloadName>);

/// What all days come to.
pub(super) struct Sums {
    /// Rounded so that they add up.
    pub(super) lines: Vec<SpendLine>,
    /// The nodes without a price.
    pub(super) unpriced: Vec<NodeName>,
}

impl Ledger {
    /// The sums of all days. Every life is billed once for them.
    pub(super) fn sums(&self, prices: &PriceBook, now: Timestamp) -> Sums {
        let bills = self.bills(prices, now);
        let mut sums = BTreeMap::<Payer<'_>, Sum>::new();
        for (Account { pool, offering, workload, .. }, sum) in self.settled.sums() {
            sums.entry((pool.as_ref(), offering, workload.as_ref())).or_default().add(*sum);
        }
        let mut unpriced = vec![];
        for (key, life, bill) in &bills {
            let Some(bill) = bill else {
                unpriced.push(key.node.clone());
                continue;
            };
            for (_, workload, usage) in bill.parts() {
                let payer = (life.pool.as_ref(), &life.offering, workload);
                sums.entry(payer).or_default().add(Sum::of(usage, life.is_free()));
            }
        }
        let [mut spend, mut refund, mut on_advice] = [(); 3].map(|()| Rounding::default());
        let lines = sums.into_iter().map(|((pool, offering, workload), sum)| SpendLine {
            pool: pool.cloned(),
            offering: offering.clone(),
            workload: workload.cloned(),
            spend: spend.next(sum.usage.spend),
            refund: refund.next(sum.refund),
            on_advice: on_advice.next(sum.usage.on_advice),
        });
        Sums { lines: lines.collect(), unpriced }
    }
}

pub(super) fn life_line(
    key: &LifeKey,
    life: &Life,
    prices: &PriceBook,
    now: Timestamp,
) -> LifeLine {
    let earlier = life.folded_spend();
    let bill = life.bill(prices, now);
    let cost = bill.as_ref().map(|bill| (earlier + bill.spend()).rounded());
    let on_advice = bill.as_ref().map(|bill| bill.on_advice().rounded());
    let mut from = life.unsettled_from();
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
        earlier: earlier.rounded(),
        refund: cost.filter(|_| life.is_free()).unwrap_or_default(),
        left_on_advice: life.left_on_advice_at().map(|at| LeftOnAdvice { at, cost: on_advice }),
        cost,
    }
}
