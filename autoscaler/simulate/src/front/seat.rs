//! A replica as the front sees it: its slots, and whether it should be given more.

use std::collections::BTreeMap;

use spotscale_decide::capacity::ServiceTime;

use super::Request;
use crate::dice::Dice;

/// A replica, by the number of its pod.
pub(crate) type SeatId = u32;

/// Whether a replica should be given requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Place {
    /// It stays.
    Staying,
    /// Its node is about to go: it is used while no other has a free slot.
    Leaving,
    /// It was told to end: it finishes what it has.
    Ending,
}

/// A ready replica.
#[derive(Debug)]
pub(crate) struct Seat {
    pub(crate) slots: u32,
    pub(crate) time: ServiceTime,
    pub(crate) place: Place,
    /// What it serves now; at most `slots`.
    pub(crate) running: Vec<Request>,
}

impl Seat {
    pub(crate) fn new(slots: u32, time: ServiceTime) -> Self {
        Self { slots, time, place: Place::Staying, running: Vec::new() }
    }

    pub(crate) fn free(&self) -> u32 {
        self.slots.saturating_sub(self.running.len() as u32)
    }
}

/// One with a free slot: of two at random the one with less to do, and none that is leaving while another has room.
pub(super) fn choose(seats: &BTreeMap<SeatId, Seat>, dice: &mut Dice) -> Option<SeatId> {
    [Place::Staying, Place::Leaving].into_iter().find_map(|place| {
        let fits = |(_, seat): &(&SeatId, &Seat)| seat.place == place && seat.free() > 0;
        let count = seats.iter().filter(fits).count();
        let mut draw = || seats.iter().filter(fits).nth(dice.below(count));
        let two = [draw(), draw()];
        let lighter = two.into_iter().flatten().min_by_key(|(_, seat)| seat.running.len());
        lighter.map(|(id, _)| *id)
    })
}
