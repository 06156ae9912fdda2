//! The endpoints of one service, their states, and the choice among those with a free slot: one that stays before one
//! that is about to go, whatever they have to do. No I/O and no clock: the `service` around it holds the lock, the
//! `probe`s report to it.

mod pool;

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use serde::Serialize;
use spotscale_decide::admission::{Tier, TierLoad};

use self::pool::{Offer, Pool};
use super::{
    endpoint::{Endpoint, Listed},
    upstream::Upstream,
};

/// Names a seat for as long as the process lives; never reused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct SeatId(u64);

/// Whether an endpoint may be chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum State {
    /// New, and not yet known to serve.
    Probing,
    /// May be chosen.
    Ready,
    /// Has failed, and is probed until it serves again.
    Ejected,
    /// No longer listed: gets nothing new, and goes when its running requests have finished.
    Retired,
}

/// One endpoint and what it has to do.
#[derive(Debug)]
struct Seat {
    upstream: Arc<Upstream>,
    state: State,
    /// As the list said last.
    is_leaving: bool,
    outstanding: u32,
}

/// All endpoints of one service.
#[derive(Debug, Default)]
pub(super) struct Fleet {
    seats: HashMap<SeatId, Seat>,
    gpu: Pool,
    cpu: Pool,
    next_id: u64,
}

/// One endpoint, for people and metrics.
#[derive(Debug, Clone, Serialize)]
pub(super) struct SeatView {
    pub(super) endpoint: String,
    pub(super) tier: Tier,
    pub(super) state: State,
    pub(super) is_leaving: bool,
    pub(super) outstanding: u32,
    pub(super) concurrency: u32,
}

impl State {
    pub(super) const ALL: [Self; 4] = [Self::Probing, Self::Ready, Self::Ejected, Self::Retired];

    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Probing => "probing",
            Self::Ready => "ready",
            Self::Ejected => "ejected",
            Self::Retired => "retired",
        }
    }
}

impl Seat {
    fn offer(&self) -> Offer {
        if self.state != State::Ready {
            return Offer::default();
        }
        let slots = self.upstream.concurrency;
        let free = slots.saturating_sub(self.outstanding);
        Offer { slots, free, is_leaving: self.is_leaving }
    }
}

impl Fleet {
    /// Takes a new list: what is missing from it is retired, and what is new is returned, to be probed. `connect` is
    /// asked only for endpoints that have no seat yet.
    pub(super) fn update(
        &mut self,
        listed: &[Listed],
        connect: impl Fn(&Endpoint) -> Upstream,
    ) -> Vec<(SeatId, Arc<Upstream>)> {
        let seats = self.seats.iter();
        let known: HashMap<Endpoint, SeatId> =
            seats.map(|(id, seat)| (seat.upstream.endpoint.clone(), *id)).collect();
        let wanted: HashSet<&Endpoint> = listed.iter().map(|listed| &listed.endpoint).collect();
        for (_, id) in known.iter().filter(|(endpoint, _)| !wanted.contains(endpoint)) {
            self.change(*id, |seat| seat.state = State::Retired);
        }
        let seat = |Listed { endpoint, is_leaving }: &Listed| match known.get(endpoint) {
            Some(id) => self.relist(*id, *is_leaving),
            None => Some(self.add(connect(endpoint), *is_leaving)),
        };
        listed.iter().filter_map(seat).collect()
    }

    /// Listed again. Back before its last request ended, it gets the same seat, so that its slots are still counted.
    fn relist(&mut self, id: SeatId, is_leaving: bool) -> Option<(SeatId, Arc<Upstream>)> {
        self.change(id, |seat| seat.is_leaving = is_leaving);
        let seat = self.seats.get(&id).filter(|seat| seat.state == State::Retired)?;
        let upstream = Arc::clone(&seat.upstream);
        self.change(id, |seat| seat.state = State::Probing);
        Some((id, upstream))
    }

    fn add(&mut self, upstream: Upstream, is_leaving: bool) -> (SeatId, Arc<Upstream>) {
        let (id, upstream) = (SeatId(self.next_id), Arc::new(upstream));
        self.next_id += 1;
        let (state, seated) = (State::Probing, Arc::clone(&upstream));
        self.seats.insert(id, Seat { upstream: seated, state, is_leaving, outstanding: 0 });
        (id, upstream)
    }

    /// A probe has succeeded: the endpoint may be chosen from now on. Returns what it was until now.
    pub(super) fn ready(&mut self, id: SeatId) -> Option<State> {
        let old = self.seats.get(&id).map(|seat| seat.state)?;
        if matches!(old, State::Probing | State::Ejected) {
            self.change(id, |seat| seat.state = State::Ready);
        }
        Some(old)
    }

    /// A request has failed on it: true when it was in use until now, and has to be probed.
    pub(super) fn eject(&mut self, id: SeatId) -> bool {
        let found = self.seats.get(&id).is_some_and(|seat| seat.state == State::Ready);
        if found {
            self.change(id, |seat| seat.state = State::Ejected);
        }
        found
    }

    /// Whether it is still listed, and so worth probing.
    pub(super) fn is_listed(&self, id: SeatId) -> bool {
        self.seats.get(&id).is_some_and(|seat| seat.state != State::Retired)
    }

    /// Takes a slot of this tier: of two endpoints at random, the one with less to do. `random` is any number.
    pub(super) fn take(&mut self, tier: Tier, random: u64) -> Option<(SeatId, Arc<Upstream>)> {
        let candidates = self.pool(tier).candidates();
        let candidate = |index: u64| candidates.get_index(index as usize).copied();
        let id = match candidates.len() as u64 {
            0 | 1 => candidate(0)?,
            n => {
                let first = random % n;
                let second = (first + 1 + (random >> 32) % (n - 1)) % n;
                self.less_busy(candidate(first)?, candidate(second)?)
            }
        };
        self.change(id, |seat| seat.outstanding += 1);
        self.seats.get(&id).map(|seat| (id, Arc::clone(&seat.upstream)))
    }

    /// Gives a slot back.
    pub(super) fn release(&mut self, id: SeatId) {
        self.change(id, |seat| seat.outstanding = seat.outstanding.saturating_sub(1));
    }

    /// Remembers how long a request took.
    pub(super) fn served(&mut self, tier: Tier, took: Duration) {
        self.pool_mut(tier).served(took);
    }

    pub(super) fn load(&self, tier: Tier) -> TierLoad {
        self.pool(tier).load()
    }

    /// Endpoints that may be chosen, and the slots that they have together.
    pub(super) fn ready_sums(&self) -> (u32, u32) {
        (self.gpu.endpoints + self.cpu.endpoints, self.gpu.slots + self.cpu.slots)
    }

    pub(super) fn outstanding(&self) -> u64 {
        self.seats.values().map(|seat| u64::from(seat.outstanding)).sum()
    }

    pub(super) fn view(&self) -> Vec<SeatView> {
        let mut seats: Vec<_> = self.seats.iter().collect();
        seats.sort_by_key(|(id, _)| **id);
        seats.into_iter().map(|(_, seat)| SeatView::of(seat)).collect()
    }

    fn pool(&self, tier: Tier) -> &Pool {
        match tier {
            Tier::Gpu => &self.gpu,
            Tier::Cpu => &self.cpu,
        }
    }

    fn pool_mut(&mut self, tier: Tier) -> &mut Pool {
        match tier {
            Tier::Gpu => &mut self.gpu,
            Tier::Cpu => &mut self.cpu,
        }
    }

    /// Compares shares, not counts: an endpoint that takes eight at a time is idle with one.
    fn less_busy(&self, a: SeatId, b: SeatId) -> SeatId {
        let share = |id, other: SeatId| {
            let of = |id| {
                self.seats.get(&id).map_or((0, 1), |s| (s.outstanding, s.upstream.concurrency))
            };
            u64::from(of(id).0) * u64::from(of(other).1)
        };
        if share(b, a) < share(a, b) { b } else { a }
    }

    /// The only way to alter a seat, so that its pool cannot differ from it.
    fn change(&mut self, id: SeatId, alter: impl FnOnce(&mut Seat)) {
        let Some(seat) = self.seats.get_mut(&id) else { return };
        let old = seat.offer();
        alter(seat);
        let (new, tier) = (seat.offer(), seat.upstream.endpoint.tier);
        let is_done = seat.state == State::Retired && seat.outstanding == 0;
        self.pool_mut(tier).replace(id, old, new);
        if is_done {
            self.seats.remove(&id);
        }
    }
}

impl SeatView {
    fn of(seat: &Seat) -> Self {
        Self {
            endpoint: seat.upstream.endpoint.to_string(),
            tier: seat.upstream.endpoint.tier,
            state: seat.state,
            is_leaving: seat.is_leaving,
            outstanding: seat.outstanding,
            concurrency: seat.upstream.concurrency,
        }
    }
}

#[cfg(test)]
mod tests;
