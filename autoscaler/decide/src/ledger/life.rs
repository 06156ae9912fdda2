//! One node's life, and what it cost to the last fraction of a micro-dollar.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{
    exact::{Exact, Parts},
    occupancy::{Occupancy, Serving, serving},
};
use crate::{
    cluster::{CapacityType, EndedBy, Index, Node, NodePhase, NoticeKind, Offering},
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
    deadline: Option<Timestamp>,
    occupancy: Occupancy,
    /// What it cost up to a moment long ago; that is no longer corrected.
    pub(super) folded: Option<Folded>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Folded {
    pub(super) until: Timestamp,
    pub(super) parts: Parts,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct End {
    pub(super) at: Timestamp,
    /// It may have lived so long: later than `at` only where the end was not seen.
    pub(super) at_latest: Timestamp,
    pub(super) by: EndedBy,
    /// The node was no longer listed; had it been listed as ended, that would have been believed instead.
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
            occupancy: Occupancy::default(),
            folded: None,
        }
    }

    /// Takes note of the node as it is listed.
    pub(super) fn see(&mut self, node: &Node, index: &Index<'_>) {
        match node.phase {
            NodePhase::Ended { at, by } => self.ended = Some(End::told(at, by)),
            NodePhase::Provisioning | NodePhase::Ready => {
                // It was missing from a list by mistake, and lives.
                self.ended = self.ended.filter(|end| !end.inferred);
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
        self.occupancy.note(index.seen.at, serving(index, node));
    }

    /// The clock was set back to this: what was noted after is forgotten.
    pub(super) fn set_back(&mut self, now: Timestamp) {
        self.occupancy.forget_after(now);
        // Its price history is known still; who was there is not, and then nobody was.
        self.folded = self.folded.take().filter(|folded| folded.until <= now);
    }

    /// The node is no longer listed, and nobody said why: it was listed last at a moment. The provider is believed to
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
    }

    /// What it cost up to a moment, before a refund; unknown without any price.
    pub(super) fn cost(&self, prices: &PriceBook, now: Timestamp) -> Option<Parts> {
        self.cost_until(prices, self.billed_until(now))
    }

    /// What of that was spent before a moment.
    pub(super) fn cost_before(
        &self,
        prices: &PriceBook,
        at: Timestamp,
        now: Timestamp,
    ) -> Option<Parts> {
        self.cost_until(prices, self.billed_until(now).min(at))
    }

    fn cost_until(&self, prices: &PriceBook, until: Timestamp) -> Option<Parts> {
        if prices.changes(&self.offering).is_empty() {
            return None;
        }
        let mut parts = self.folded.as_ref().map(|folded| folded.parts.clone()).unwrap_or_default();
        let from = self.unfolded_from();
        // It served nobody after its end, though the last minute is billed whole.
        let served_until = self.ended.map_or(until, |end| end.at.clamp(from.min(until), until));
        let mut bill = |from, to, serving: &Serving| {
            let stretches = prices.stretches(&self.offering, from, to);
            parts.share(stretches.map(Exact::of).sum(), serving);
        };
        for (from, to, serving) in self.occupancy.stretches(from, served_until) {
            bill(from, to, &serving);
        }
        bill(served_until.max(from), until, &Serving::new());
        Some(parts)
    }

    /// Since when its cost is worked out anew.
    pub(super) fn unfolded_from(&self) -> Timestamp {
        self.folded.as_ref().map_or(self.billed_from, |folded| folded.until)
    }

    /// Settles what it cost up to a moment long ago, so that a long life is not remembered change by change.
    pub(super) fn fold(&mut self, prices: &PriceBook, until: Timestamp) {
        if FOLD_STEP.after(self.unfolded_from()) > until {
            return;
        }
        if let Some(parts) = self.cost_until(prices, until) {
            self.folded = Some(Folded { until, parts });
            self.occupancy.forget_before(until);
        }
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

    /// Did the provider take it in its first hour?
    pub(super) fn is_free(&self) -> bool {
        let spot = self.offering.capacity_type == CapacityType::Spot;
        let taken = self.ended.filter(|end| end.by == EndedBy::Provider);
        spot && taken.is_some_and(|end| Millis::between(self.billed_from, end.at) < FREE_BEFORE)
    }
}
