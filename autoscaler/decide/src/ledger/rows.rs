//! The ledger day by day: what each node cost for each workload, and of what is settled each pool and offering. The rows
//! are what an export by FOCUS has, the open specification of cost and usage, without its names.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{
    Ledger,
    days::{Day, end_of, first_told, midnight, month_after, month_of},
    exact::{Exact, Rounding},
    life::{Life, LifeKey},
    settled::{Account, Period, Sum},
};
use crate::{
    cluster::Offering,
    prices::PriceBook,
    units::{InstanceId, MicroUsd, NodeName, PoolName, UsdPerHour, WorkloadName},
};

/// What one node, or all settled ones of a pool and an offering, cost for one workload on one day.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Row {
    /// The start of the day, in UTC; of what is too long ago to be told by the day, the first of it.
    pub from: Timestamp,
    /// The end of the day, which may be yet to come.
    pub to: Timestamp,
    /// The start of the month, or months, that this is in.
    pub billed_from: Timestamp,
    /// The end of the same.
    pub billed_to: Timestamp,
    /// The node; none for what is settled, which is told node by node no more.
    pub node: Option<NodeName>,
    /// The node's machine, where that is known.
    pub instance: Option<InstanceId>,
    /// The pool.
    pub pool: Option<PoolName>,
    /// What was bought.
    pub offering: Offering,
    /// The workload that it served; none for idle time.
    pub workload: Option<WorkloadName>,
    /// For how long, in millionths of an hour; unknown of what was settled before that was kept.
    pub micro_hours: Option<i64>,
    /// What an hour is on demand; the mean where that changed meanwhile.
    pub list_price: Option<UsdPerHour>,
    /// What the same time is on demand; unknown where the machine type has no on-demand price.
    pub list: Option<MicroUsd>,
    /// What it cost, without what is not billed.
    pub billed: MicroUsd,
    /// What is not billed of it.
    pub refund: MicroUsd,
    /// What of it is of nodes that were left on mere advice, from then to their end.
    pub on_advice: MicroUsd,
}

/// What is told in one row, in the order of the rows.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Key<'a> {
    day: Day,
    life: Option<&'a LifeKey>,
    pool: Option<&'a PoolName>,
    offering: &'a Offering,
    workload: Option<&'a WorkloadName>,
}

/// A sum, and what else is known of what it is of.
struct Entry<'a> {
    sum: Sum,
    instance: Option<&'a InstanceId>,
    /// Where it has no day.
    earlier: Period,
}

/// Each column is rounded so that it adds up.
#[derive(Default)]
struct Columns {
    hours: Rounding,
    list: Rounding,
    billed: Rounding,
    refund: Rounding,
    on_advice: Rounding,
}

impl Ledger {
    /// Every row up to a moment, the oldest first. What was billed adds up to spend less refund of
    /// [`Ledger::totals`] to a micro-dollar, and what was refunded to all of it. A node without any price has no row.
    pub fn rows(&self, prices: &PriceBook, now: Timestamp) -> Vec<Row> {
        let bills = self.bills(prices, now);
        let mut entries = BTreeMap::new();
        let opened = Period { from: self.opened_at.unwrap_or(now), to: now };
        let earlier = self.settled.earlier().unwrap_or(opened);
        for (account, sum) in self.settled.sums() {
            let Account { day, pool, offering, workload } = account;
            let (pool, workload) = (pool.as_ref(), workload.as_ref());
            let key = Key { day: *day, life: None, pool, offering, workload };
            entries.insert(key, Entry { sum: *sum, instance: None, earlier });
        }
        for (key, life, bill) in &bills {
            for (day, workload, usage) in bill.iter().flat_map(super::Bill::parts) {
                let Life { pool, offering, instance, .. } = life;
                let key = Key { day, life: Some(key), pool: pool.as_ref(), offering, workload };
                let sum = Sum::of(usage, life.is_free());
                let to = midnight(first_told(life.billed_until(now)));
                let earlier = Period { from: life.unsettled_from(), to };
                entries.insert(key, Entry { sum, instance: instance.as_ref(), earlier });
            }
        }
        let mut columns = Columns::default();
        entries.into_iter().map(|(key, entry)| columns.row(&key, &entry)).collect()
    }
}

impl Columns {
    fn row(&mut self, key: &Key<'_>, entry: &Entry<'_>) -> Row {
        let Entry { sum, instance, earlier } = entry;
        let Period { from, to } =
            key.day.map_or(*earlier, |day| Period { from: midnight(day), to: end_of(day) });
        let usage = sum.usage;
        Row {
            from,
            to,
            billed_from: month_of(from),
            billed_to: month_after(to),
            node: key.life.map(|life| life.node.clone()),
            instance: instance.cloned(),
            pool: key.pool.cloned(),
            offering: key.offering.clone(),
            workload: key.workload.cloned(),
            micro_hours: usage.hours.map(|hours| self.hours.next(hours).0),
            list_price: usage.list.zip(usage.hours).and_then(|(list, hours)| list.price(hours)),
            list: usage.list.map(|list: Exact| self.list.next(list)),
            billed: self.billed.next(sum.net()),
            refund: self.refund.next(sum.refund),
            on_advice: self.on_advice.next(usage.on_advice),
        }
    }
}
