//! One node's life, and what it cost to the last fraction of a micro-dollar.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{
    days::{by_day, first_told},
    exact::{Bill, Exact, Usage},
    occupancy::{Occupancy, Serving, serving},
};
use crate::{
    cluster::{CapacityType, CordonCause, EndedBy, Index, Node, NodePhase, NoticeKind, Offering},
    prices::PriceBook,
    units::{InstanceId, Millis, NodeName, PoolName},
};

const BILLED_AT_LEAST: Millis = Millis::from_secs(60);
/// A spot node that the provider takes before this age is free.
pub(crate) const FREE_BEFORE: Millis = Millis::from_secs(3600);
/// What is settled of a life that goes on is settled in steps of this, not at every look.
const FOLD_STEP: Millis = Millis::from_secs(3600);

/// A name may be used again: the launch tells the lives apart.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(super) struct LifeKey {
    pub(super) node: NodeName,
    pub(super) launched_at: Timestamp,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Life {
    pub(super) offering: Offering,
    pub(super) pool: Option<PoolName>,
    pub(super) instance: Option<InstanceId>,
    /// The earliest launch that was ever told of it.
    pub(super) billed_from: Timestamp,
    pub(super) ended: Option<End>,
    /// When the provider said it would take the node.
    pub(super) deadline: Option<Timestamp>,
    /// When it was first seen to be on its way out.
    #[serde(default)]
    pub(super) left_at: Option<Timestamp>,
    /// When it was first seen to have ended.
    #[serde(default)]
    pub(super) gone_at: Option<Timestamp>,
    /// Since when it is closed on mere advice to leave it.
    #[serde(default)]
    pub(super) advised_at: Option<Timestamp>,
    pub(super) occupancy: Occupancy,
    /// What it cost up to a moment long ago: that is among the sums, and no longer corrected.
    pub(super) folded: Option<Folded>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Folded {
    pub(super) until: Timestamp,
    pub(super) spend: Exact,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct End {
    pub(super) at: Timestamp,
    /// It may have lived so long: later than `at` only where the end was not seen.
    pub(super) at_latest: Timestamp,
    pub(super) by: EndedBy,
    /// The node was no longer listed, and nobody has told why: whoever does is believed instead.
    pub(super) inferred: bool,
}

impl End {
    pub(super) fn told(at: Timestamp, by: EndedBy) -> Self {
        Self { at, at_latest: at, by, inferred: false }
    }
}

impl Life {
    pub(super) fn new(node: &Node) -> Self {
        Self {
            offering: node.offering.clone(),
            pool: node.pool.clone(),
            instance: node.instance.clone(),
            billed_from: node.launched_at,
            ended: None,
            deadline: None,
            left_at: None,
            gone_at: None,
            advised_at: None,
            occupancy: Occupancy::default(),
            folded: None,
        }
    }

    /// Takes note of the node as it is listed, or was in a look that is late.
    pub(super) fn see(&mut self, node: &Node, index: &Index<'_>, is_late: bool) {
        match node.phase {
            // Whoever has told of its end knows more.
            NodePhase::Ended { at, by: EndedBy::Unknown } => {
                if self.ended.is_none() {
                    self.vanish(at, index.seen.at);
                }
            }
            NodePhase::Ended { at, by } => {
                self.ended = Some(End::told(at, by));
                self.gone_at.get_or_insert(index.seen.at);
            }
            NodePhase::Provisioning
            | NodePhase::Ready
            | NodePhase::Unready { .. }
            | NodePhase::Leaving => {
                // It was missing from a list, or said to have ended, by mistake, and lives. Only a look that is late may
                // know less than whoever told of its end.
                self.ended = self.ended.filter(|end| is_late && !end.inferred);
                self.gone_at = self.gone_at.filter(|_| self.ended.is_some());
            }
        }
        self.billed_from = self.billed_from.min(node.launched_at);
        self.instance = self.instance.take().or_else(|| node.instance.clone());
        self.pool = self.pool.take().or_else(|| node.pool.clone());
        for notice in index.notices(&node.name) {
            if let NoticeKind::Interruption { deadline } = *notice {
                self.deadline = Some(self.deadline.map_or(deadline, |known| known.min(deadline)));
            }
        }
    }

    /// Takes note of whose pods serve there.
    pub(super) fn see_pods(&mut self, node: &Node, index: &Index<'_>) {
        self.occupancy.note(index.seen.at, &serving(index, node));
    }

    /// Takes note of whether it is on its way out, and whether it is closed on mere advice. Advice that is not followed
    /// costs nothing.
    pub(super) fn see_leaving(&mut self, node: &Node, index: &Index<'_>) {
        if node.is_leaving() {
            self.left_at.get_or_insert(index.seen.at);
        }
        let notices = index.notices(&node.name);
        let is_mere = notices.contains(&NoticeKind::Rebalance)
            && notices.iter().all(|kind| *kind == NoticeKind::Rebalance);
        match node.cordoned {
            _ if !node.is_alive() || node.is_leaving() => {}
            Some(CordonCause::Notice) if is_mere => {
                self.advised_at.get_or_insert(index.seen.at);
            }
            Some(_) => {}
            None => self.advised_at = None,
        }
    }

    /// The node is not there any more, and nobody said why: it was seen last at a moment. The provider is believed to
    /// have taken it only if it said that it would, and by now: a refund is never claimed on a guess. Nor is a second of
    /// life invented: it may have ended right after it was seen.
    pub(super) fn vanish(&mut self, listed_at: Timestamp, now: Timestamp) {
        let taken = self.deadline.filter(|deadline| *deadline <= now);
        let listed_at = listed_at.clamp(self.billed_from.min(now), now);
        let (at, by) = match taken {
            Some(deadline) => (deadline.max(listed_at), EndedBy::Provider),
            None => (listed_at, EndedBy::Us),
        };
        self.ended = Some(End { at, at_latest: now, by, inferred: true });
        self.gone_at.get_or_insert(now);
    }

    /// It is no longer listed, and nobody told it to leave: whoever selects nodes may have meant something else for a while.
    pub(super) fn may_come_back(&self) -> bool {
        self.ended.is_some_and(|end| end.inferred) && self.left_at.is_none()
    }

    /// Somebody tells of an end that is inferred so far. Without a time it stays where it was inferred.
    pub(super) fn tell(&mut self, at: Option<Timestamp>, by: EndedBy) -> bool {
        let Some(guessed) = self.ended.filter(|end| end.inferred) else {
            return false;
        };
        self.ended = Some(match at {
            Some(at) => End::told(at.max(self.billed_from), by),
            None => End { by, inferred: false, ..guessed },
        });
        true
    }

    /// What it comes to up to a moment, without what is among the sums already; unknown without any price.
    pub(super) fn bill(&self, prices: &PriceBook, now: Timestamp) -> Option<Bill> {
        self.bill_until(prices, self.billed_until(now))
    }

    /// What is billed of it up to a moment, without what is among the sums already. It is that of the bill, less a refund,
    /// whoever it was spent for.
    pub(super) fn net(&self, prices: &PriceBook, until: Timestamp) -> Exact {
        let stretches = prices.stretches(&self.offering, self.unsettled_from(), until);
        if self.is_free() { Exact::default() } else { stretches.map(Exact::of).sum() }
    }

    fn bill_until(&self, prices: &PriceBook, until: Timestamp) -> Option<Bill> {
        if prices.changes(&self.offering).is_empty() {
            return None;
        }
        let from = self.unsettled_from();
        // It served nobody after its end, though the last minute is billed whole.
        let served_until = self.ended.map_or(until, |end| end.at.clamp(from.min(until), until));
        let list = prices.on_demand(&self.offering);
        let cost = |offering: &Offering, from, to| -> Exact {
            prices.stretches(offering, from, to).map(Exact::of).sum()
        };
        let left_at = self.left_on_advice_at().unwrap_or(Timestamp::MAX);
        let (mut bill, first) = (Bill::default(), first_told(until));
        let mut enter = |from, to, serving: &Serving| {
            for (from, to, day) in by_day(from, to, first) {
                let usage = Usage {
                    hours: Some(Exact::hours(Millis::between(from, to))),
                    spend: cost(&self.offering, from, to),
                    list: list.map(|list| cost(list, from, to)),
                    on_advice: cost(&self.offering, from.max(left_at).min(to), to),
                };
                bill.share(day, usage, serving);
            }
        };
        for (from, to, serving) in self.occupancy.stretches(from, served_until) {
            enter(from, to, &serving);
        }
        enter(served_until.max(from), until, &Serving::new());
        Some(bill)
    }

    /// Since when its cost is worked out anew.
    pub(super) fn unsettled_from(&self) -> Timestamp {
        self.folded.map_or(self.billed_from, |folded| folded.until)
    }

    /// What it comes to up to a moment long ago, if that is enough to be settled: so that a long life is not remembered
    /// change by change. From then on it is to be among the sums.
    pub(super) fn fold(&mut self, prices: &PriceBook, until: Timestamp) -> Option<Bill> {
        // Whether it was left for nothing shows at its end.
        let until = self.advised_at.map_or(until, |at| at.min(until));
        if FOLD_STEP.after(self.unsettled_from()) > until {
            return None;
        }
        let bill = self.bill_until(prices, until)?;
        self.folded = Some(Folded { until, spend: self.folded_spend() + bill.spend() });
        self.occupancy.forget_before(until);
        Some(bill)
    }

    /// What of its cost is among the sums.
    pub(super) fn folded_spend(&self) -> Exact {
        self.folded.map(|folded| folded.spend).unwrap_or_default()
    }

    /// Whole seconds are billed, and 60 at least; while the node lives, what has passed.
    pub(super) fn billed_until(&self, now: Timestamp) -> Timestamp {
        let Some(end) = self.ended else {
            return now;
        };
        let lived = Millis::between(self.billed_from, end.at);
        let whole_seconds = Millis::from_secs(lived.0.div_ceil(1000));
        whole_seconds.max(BILLED_AT_LEAST).after(self.billed_from)
    }

    /// Did the provider take it in its first hour? Where it told neither when nor by which deadline, that must have been
    /// within the hour at the latest.
    pub(super) fn is_free(&self) -> bool {
        let in_time = |at| Millis::between(self.billed_from, at) < FREE_BEFORE;
        let spot = self.offering.capacity_type == CapacityType::Spot;
        let taken = self.ended.filter(|end| end.by == EndedBy::Provider);
        let known = |end: &End| in_time(if end.inferred { end.at } else { end.at_latest });
        spot && taken.is_some_and(|end| in_time(end.at) && known(&end))
    }

    /// Since when it was left on mere advice, if it was given back on it: the provider had not said that it would take it,
    /// and did not. Nobody can know whether it would have.
    pub(super) fn left_on_advice_at(&self) -> Option<Timestamp> {
        let given_back = self.ended.is_some_and(|end| !end.inferred && end.by == EndedBy::Us);
        self.advised_at.filter(|_| given_back && self.deadline.is_none())
    }
}
