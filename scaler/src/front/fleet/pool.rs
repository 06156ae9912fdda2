//! The sums over one tier of a fleet, and which of its endpoints have a free slot: kept up to date, so that a choice
//! costs O(1) and allocates nothing.

use std::time::Duration;

use indexmap::IndexSet;
use spotscale_decide::{admission::TierLoad, units::Millis};

use super::SeatId;

/// What an endpoint adds to its tier.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Offer {
    /// Requests that it takes at a time; none while it may not be chosen.
    pub(super) slots: u32,
    /// Those of them that are free.
    pub(super) free: u32,
    /// It is the second choice.
    pub(super) is_leaving: bool,
}

/// All offers of one tier. Endpoints that are about to go count in every sum: what they take need not be held, and
/// the HPA counts them too. They are only chosen last.
#[derive(Debug, Default)]
pub(super) struct Pool {
    staying: IndexSet<SeatId>,
    leaving: IndexSet<SeatId>,
    pub(super) endpoints: u32,
    pub(super) slots: u32,
    free: u32,
    service_seconds: Option<f64>,
}

impl Pool {
    /// An endpoint that offered `old` offers `new`.
    pub(super) fn replace(&mut self, id: SeatId, old: Offer, new: Offer) {
        self.endpoints = self.endpoints + u32::from(new.slots > 0) - u32::from(old.slots > 0);
        self.slots = self.slots + new.slots - old.slots;
        self.free = self.free + new.free - old.free;
        let moves = old.is_leaving != new.is_leaving;
        if old.free > 0 && (new.free == 0 || moves) {
            self.of_kind(old).swap_remove(&id);
        }
        if new.free > 0 && (old.free == 0 || moves) {
            self.of_kind(new).insert(id);
        }
    }

    /// Those with a free slot among which the choice is: all that stay, or else all that leave.
    pub(super) fn candidates(&self) -> &IndexSet<SeatId> {
        if self.staying.is_empty() { &self.leaving } else { &self.staying }
    }

    /// Remembers how long a request took, most of all the recent ones.
    pub(super) fn served(&mut self, took: Duration) {
        const WEIGHT: f64 = 0.1;
        let took = took.as_secs_f64();
        let mean = self.service_seconds.map_or(took, |mean| mean + WEIGHT * (took - mean));
        self.service_seconds = Some(mean);
    }

    pub(super) fn load(&self) -> TierLoad {
        let service = self.service_seconds.map(|s| Millis((s * 1000.0).round() as u64));
        TierLoad { slots: self.slots, free: self.free, service }
    }

    fn of_kind(&mut self, offer: Offer) -> &mut IndexSet<SeatId> {
        if offer.is_leaving { &mut self.leaving } else { &mut self.staying }
    }
}
