//! The front and the replicas behind it, request by request: the line, the slots, who is served where and for how long.
//! Whether a request is held, forwarded or refused is `decide::admission`'s to say.

mod cold;
mod seat;
#[cfg(test)]
mod tests;

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BinaryHeap, VecDeque},
};

use spotscale_decide::{
    admission::{self, Admission, Ask, Load, Tier, TierLoad},
    capacity::ServiceTime,
    demand::ServiceCounters,
    units::{Millis, Replicas, Requests},
};

use self::cold::Cold;
pub(crate) use self::seat::{Place, Seat, SeatId};
use crate::{
    dice::{Dice, Purpose},
    histogram::Histogram,
    moment::Moment,
    setup::Service,
};

/// How much the newest service time counts in the mean that waits are reckoned with.
const NEWEST: f64 = 0.1;

/// A request that was let in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Request {
    pub(crate) arrived: Moment,
    /// Its place in the order of arrival.
    pub(crate) ticket: u64,
}

/// The end of a request's service, unless its replica dies before.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct End {
    at: Moment,
    ticket: u64,
    seat: SeatId,
    began: Moment,
}

/// What became of the requests.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    pub(crate) arrived: u64,
    pub(crate) refused: BTreeMap<&'static str, u64>,
    /// Held until their deadline in vain.
    pub(crate) expired: u64,
    /// Cut off with their replica, and not sent again.
    pub(crate) lost: u64,
    /// Cut off with their replica, and sent again.
    pub(crate) retried: u64,
    /// Held at their arrival.
    pub(crate) held: u64,
    /// Of those, while no replica was ready.
    pub(crate) held_cold: u64,
    pub(crate) cold_starts: u64,
    /// Of those that were answered.
    pub(crate) latencies: Histogram,
}

/// The front of one service.
#[derive(Debug)]
pub(crate) struct Front {
    rules: Service,
    dice: Dice,
    line: VecDeque<Request>,
    seats: BTreeMap<SeatId, Seat>,
    ends: BinaryHeap<Reverse<End>>,
    cold: Cold,
    /// What waits are reckoned with, in seconds.
    mean: Option<f64>,
    served: u64,
    service_micros: u64,
    service_seconds_squared: f64,
    pub(crate) tally: Tally,
}

impl Front {
    pub(crate) fn new(rules: Service, seed: u64) -> Self {
        Self {
            cold: Cold::new(rules.cold_start_guess),
            rules,
            dice: Dice::new(seed, Purpose::Service),
            line: VecDeque::new(),
            seats: BTreeMap::new(),
            ends: BinaryHeap::new(),
            mean: None,
            served: 0,
            service_micros: 0,
            service_seconds_squared: 0.0,
            tally: Tally::default(),
        }
    }

    /// Lives up to a moment, with these arrivals.
    pub(crate) fn run(&mut self, until: Moment, arrivals: &mut dyn Arriving) {
        loop {
            let arrival = arrivals.next_at();
            let end = self.ends.peek().map(|Reverse(end)| end.at);
            let deadline = self.line.front().map(|first| self.deadline(first));
            let next = [end, deadline, arrival].into_iter().flatten().min();
            let Some(now) = next.filter(|next| *next < until) else { return };
            if end == Some(now) {
                self.finish();
            } else if deadline == Some(now) {
                self.line.pop_front();
                self.tally.expired += 1;
                self.cold.abandoned_if(self.line.is_empty());
            } else {
                arrivals.come();
                self.arrive(now);
            }
        }
    }

    fn deadline(&self, request: &Request) -> Moment {
        request.arrived.plus(self.rules.timeout.into())
    }

    fn arrive(&mut self, now: Moment) {
        self.tally.arrived += 1;
        let request = Request { arrived: now, ticket: self.tally.arrived };
        let load = self.load(now);
        let ask = Ask { bytes: self.rules.body_bytes, remaining: self.rules.timeout };
        match admission::admit(&self.rules.limits, &load, ask) {
            Admission::Forward(_) => self.serve(now, request),
            Admission::Hold => {
                self.tally.held += 1;
                if load.is_cold() {
                    self.tally.held_cold += 1;
                    self.cold.wanted(now);
                }
                self.line.push_back(request);
            }
            Admission::Refuse { reason, .. } => {
                *self.tally.refused.entry(reason.kind()).or_default() += 1;
            }
        }
    }

    fn load(&self, now: Moment) -> Load {
        let mut gpu = TierLoad { service: self.mean.map(whole_millis), ..TierLoad::default() };
        for seat in self.seats.values().filter(|seat| seat.place != Place::Ending) {
            gpu.slots += seat.slots;
            gpu.free += seat.free();
        }
        Load {
            held: Requests(self.line.len() as u64),
            held_bytes: self.rules.body_bytes.saturating_mul(self.line.len() as u64),
            gpu,
            cpu: TierLoad::default(),
            cold_start: self.cold.view(now),
            draining: false,
        }
    }

    /// Hands free slots to the first in line.
    fn pump(&mut self, now: Moment) {
        while !self.line.is_empty() && admission::tier(&self.load(now)) == Some(Tier::Gpu) {
            if let Some(request) = self.line.pop_front() {
                self.serve(now, request);
            }
        }
        self.cold.abandoned_if(self.line.is_empty());
    }

    fn serve(&mut self, now: Moment, request: Request) {
        let Some(id) = seat::choose(&self.seats, &mut self.dice) else {
            return self.line.push_front(request);
        };
        let Some(seat) = self.seats.get_mut(&id) else { return };
        let takes = self.dice.service(&seat.time);
        seat.running.push(request);
        let end = End { at: now.plus(takes), ticket: request.ticket, seat: id, began: now };
        self.ends.push(Reverse(end));
    }

    /// The next service ends, if its replica is still there.
    fn finish(&mut self) {
        let Some(Reverse(end)) = self.ends.pop() else { return };
        let Some(seat) = self.seats.get_mut(&end.seat) else { return };
        let Some(place) = seat.running.iter().position(|known| known.ticket == end.ticket) else {
            return;
        };
        let request = seat.running.swap_remove(place);
        let took = end.at.since(end.began);
        self.served += 1;
        self.service_micros += took.0;
        self.service_seconds_squared += took.as_secs_f64().powi(2);
        let mean = self.mean.get_or_insert(took.as_secs_f64());
        *mean += NEWEST * (took.as_secs_f64() - *mean);
        self.tally.latencies.add(end.at.since(request.arrived));
        self.pump(end.at);
    }

    /// A replica has become ready.
    pub(crate) fn open(&mut self, now: Moment, id: SeatId, time: ServiceTime) {
        if !self.seats.values().any(|seat| seat.place != Place::Ending) {
            self.tally.cold_starts += u64::from(self.cold.served(now));
        }
        self.seats.insert(id, Seat::new(self.rules.policy.concurrency.get(), time));
        self.pump(now);
    }

    /// What the front hears of a replica's node or of the replica itself.
    pub(crate) fn mark(&mut self, id: SeatId, place: Place) {
        if let Some(seat) = self.seats.get_mut(&id) {
            seat.place = place;
        }
    }

    /// Does the replica still work on something?
    pub(crate) fn works(&self, id: SeatId) -> bool {
        self.seats.get(&id).is_some_and(|seat| !seat.running.is_empty())
    }

    /// A replica is gone. What it was serving is sent again, or lost.
    pub(crate) fn close(&mut self, now: Moment, id: SeatId) {
        let Some(mut seat) = self.seats.remove(&id) else { return };
        if self.rules.retries {
            self.tally.retried += seat.running.len() as u64;
            seat.running.sort_by_key(|request| Reverse(request.ticket));
            // They were let in before all that waits.
            seat.running.into_iter().for_each(|request| self.line.push_front(request));
            self.pump(now);
        } else {
            self.tally.lost += seat.running.len() as u64;
        }
    }

    /// What the scalers are told.
    pub(crate) fn counters(&self, now: Moment) -> ServiceCounters {
        let ready = self.seats.values().filter(|seat| seat.place != Place::Ending).count();
        ServiceCounters {
            held: Requests(self.line.len() as u64),
            in_flight: Requests(self.in_flight()),
            oldest_held: self
                .line
                .front()
                .map_or(Millis::ZERO, |first| now.since(first.arrived).millis()),
            arrivals_total: self.tally.arrived,
            served_total: self.served,
            service_micros_total: self.service_micros,
            service_seconds_squared_total: self.service_seconds_squared,
            endpoints: Replicas(ready as u32),
            concurrency: self.rules.policy.concurrency.get(),
        }
    }

    /// Requests at replicas.
    pub(crate) fn in_flight(&self) -> u64 {
        self.seats.values().map(|seat| seat.running.len() as u64).sum()
    }

    /// Requests in line.
    pub(crate) fn held(&self) -> u64 {
        self.line.len() as u64
    }
}

/// The requests to come, in the order of time.
pub(crate) trait Arriving {
    /// When the next one comes, if one does.
    fn next_at(&mut self) -> Option<Moment>;
    /// It has come.
    fn come(&mut self);
}

fn whole_millis(seconds: f64) -> Millis {
    Millis((seconds * 1000.0).round() as u64)
}
