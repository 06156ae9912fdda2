//! What is true of one service: its endpoints, its held requests and its counters, and how that is told. The `service`
//! around it holds the lock.

use std::{sync::Arc, time::Duration};

use spotscale_decide::{
    admission::{self, Load, Tier},
    units::Requests,
};
use spotscale_proto::demand::ServiceDemand;
use tokio::time::Instant;

use super::{
    cold_start::{ColdStarts, millis},
    fleet::{Fleet, SeatId, SeatView},
    queue::{Queue, Waiter},
    upstream::Upstream,
};

/// All of it.
#[derive(Debug)]
pub(super) struct State {
    pub(super) fleet: Fleet,
    pub(super) queue: Queue,
    pub(super) cold: ColdStarts,
    pub(super) totals: Totals,
    pub(super) draining: bool,
}

/// Counters since the start, as the demand report carries them.
#[derive(Debug, Default)]
pub(super) struct Totals {
    pub(super) arrivals: u64,
    served: u64,
    service_micros: u64,
    service_seconds_squared: f64,
}

/// Everything about a service at one moment, for people and metrics.
#[derive(Debug, serde::Serialize)]
pub(super) struct ServiceView {
    pub(super) service: String,
    pub(super) load: Load,
    pub(super) in_flight: u64,
    pub(super) oldest_held_ms: u64,
    pub(super) arrivals_total: u64,
    pub(super) served_total: u64,
    pub(super) endpoints: Vec<SeatView>,
}

impl State {
    pub(super) fn new(cold_start_guess: Duration) -> Self {
        Self {
            fleet: Fleet::default(),
            queue: Queue::default(),
            cold: ColdStarts::new(cold_start_guess),
            totals: Totals::default(),
            draining: false,
        }
    }

    pub(super) fn load(&self, now: Instant) -> Load {
        Load {
            held: Requests(self.queue.len()),
            held_bytes: self.queue.bytes(),
            gpu: self.fleet.load(Tier::Gpu),
            cpu: self.fleet.load(Tier::Cpu),
            cold_start: self.cold.view(now),
            draining: self.draining,
        }
    }

    /// A free slot and who is next in line for it.
    pub(super) fn next_grant(&mut self) -> Option<(SeatId, Arc<Upstream>, Waiter)> {
        if self.queue.is_empty() {
            return None;
        }
        let tier = admission::tier(&self.load(Instant::now()))?;
        let (seat, upstream) = self.fleet.take(tier, fastrand::u64(..))?;
        let Some(waiter) = self.queue.next() else {
            self.fleet.release(seat);
            return None;
        };
        Some((seat, upstream, waiter))
    }

    pub(super) fn demand(&self, service: &str, concurrency_default: u32) -> ServiceDemand {
        let (endpoints, slots) = self.fleet.ready_sums();
        ServiceDemand {
            service: service.to_owned(),
            held: self.queue.len(),
            in_flight: self.fleet.outstanding(),
            oldest_held_ms: self.oldest_held_ms(),
            arrivals_total: self.totals.arrivals,
            served_total: self.totals.served,
            service_micros_total: self.totals.service_micros,
            service_seconds_squared_total: self.totals.service_seconds_squared,
            endpoints,
            concurrency_per_endpoint: slots.checked_div(endpoints).unwrap_or(concurrency_default),
        }
    }

    pub(super) fn view(&self, service: &str) -> ServiceView {
        ServiceView {
            service: service.to_owned(),
            load: self.load(Instant::now()),
            in_flight: self.fleet.outstanding(),
            oldest_held_ms: self.oldest_held_ms(),
            arrivals_total: self.totals.arrivals,
            served_total: self.totals.served,
            endpoints: self.fleet.view(),
        }
    }

    fn oldest_held_ms(&self) -> u64 {
        millis(self.queue.oldest(Instant::now())).0
    }
}

impl Totals {
    pub(super) fn count(&mut self, took: Duration) {
        self.served += 1;
        self.service_micros += u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        self.service_seconds_squared += took.as_secs_f64().powi(2);
    }
}
