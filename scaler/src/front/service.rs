//! One service: what requests, probes and lists of endpoints do to its state, one at a time, and who is told of it. A
//! slot that is given back goes to the next in line. The choices are `admission`'s; this page carries them out.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use spotscale_decide::{
    admission::{self, Admission, Ask, Limits, Reason, Tier},
    units::Millis,
};
use spotscale_proto::demand::ServiceDemand;
use tokio::{
    sync::{mpsc, oneshot, watch},
    time::Instant,
};

use super::{
    endpoint::{Endpoint, Listed},
    fleet::{self, SeatId},
    lease::{Held, Lease},
    metrics::Metrics,
    probe::ToProbe,
    queue::{Queue, Ticket, Waiter},
    retry::Budget,
    state::{ServiceView, State},
    upstream::Upstream,
};

/// A service that this front serves.
#[derive(Debug)]
pub(super) struct Service {
    pub(super) name: Arc<str>,
    pub(super) budget: Budget,
    limits: Limits,
    state: Mutex<State>,
    links: Links,
}

/// Whom a service tells what.
#[derive(Debug, Clone)]
pub(super) struct Links {
    /// Endpoints that are new or have failed.
    pub(super) to_probe: mpsc::UnboundedSender<ToProbe>,
    /// Every change that a scaler wants to know at once.
    pub(super) changed: watch::Sender<()>,
    pub(super) metrics: Arc<Metrics>,
}

/// What a service starts with.
#[derive(Debug, Clone)]
pub(super) struct Settings {
    pub(super) name: Arc<str>,
    pub(super) limits: Limits,
    pub(super) cold_start_guess: Duration,
    pub(super) retry_ratio: f64,
    pub(super) retry_per_second_min: u32,
}

/// Where a request stands after it has asked.
#[derive(Debug)]
pub(super) enum Entry {
    /// It may go at once.
    Forward(Lease),
    /// It has to wait.
    Held(Held),
}

/// A request that was turned away.
#[derive(Debug, Clone, Copy)]
pub(super) struct Turned {
    pub(super) reason: Reason,
    pub(super) retry_after: Millis,
}

impl Service {
    pub(super) fn new(settings: Settings, links: Links) -> Arc<Self> {
        let state = State::new(settings.cold_start_guess);
        let budget = Budget::new(settings.retry_ratio, settings.retry_per_second_min);
        let Settings { name, limits, .. } = settings;
        Arc::new(Self { name, budget, limits, state: Mutex::new(state), links })
    }

    /// A request arrives and asks for a slot.
    pub(super) fn enter(self: &Arc<Self>, ask: Ask) -> Result<(Ticket, Entry), Turned> {
        let now = Instant::now();
        let mut state = self.lock();
        state.totals.arrivals += 1;
        let ticket = state.totals.arrivals;
        let load = state.load(now);
        let answer = admission::admit(&self.limits, &load, ask);
        match answer {
            Admission::Forward(tier) => {
                // Under this same lock the load said that a slot is free; holding is the safe answer if not.
                let entry = match state.fleet.take(tier, fastrand::u64(..)) {
                    Some((seat, upstream)) => Entry::Forward(Lease::new(self, seat, upstream)),
                    None => self.join(state, ticket, ask.bytes),
                };
                Ok((ticket, entry))
            }
            Admission::Hold => {
                if load.is_cold() {
                    state.cold.wanted(now);
                }
                Ok((ticket, self.join(state, ticket, ask.bytes)))
            }
            Admission::Refuse { reason, retry_after } => Err(Turned { reason, retry_after }),
        }
    }

    /// A request that was let in before, and failed on its endpoint, goes back to its place in the line. It is not held
    /// against the bounds again: it has been counted, and refusing it now would lose it.
    pub(super) fn reenter(self: &Arc<Self>, ticket: Ticket, bytes: u64) -> Entry {
        self.join(self.lock(), ticket, bytes)
    }

    /// Takes a new list of endpoints; `connect` makes the clients of those that are new.
    pub(super) fn update(
        self: &Arc<Self>,
        listed: &[Listed],
        connect: impl Fn(&Endpoint) -> Upstream,
    ) {
        let new = self.lock().fleet.update(listed, connect);
        for endpoint in new {
            let _ = self.links.to_probe.send(endpoint);
        }
        self.tell();
        // Without the GPUs that have gone, the bridge may be worth taking.
        self.pump();
    }

    /// A probe has succeeded.
    pub(super) fn ready(self: &Arc<Self>, seat: SeatId) {
        let mut state = self.lock();
        let was_cold = state.fleet.ready_sums().0 == 0;
        let cold_start = match state.fleet.ready(seat) {
            Some(fleet::State::Probing) if was_cold => state.cold.served(Instant::now()),
            _ => None,
        };
        // One that has only recovered says nothing about how long a new one takes.
        state.cold.abandoned();
        drop(state);
        if let Some(took) = cold_start {
            self.links.metrics.cold_start(&self.name, took);
        }
        self.tell();
        self.pump();
    }

    /// A slot is free again.
    pub(super) fn release(self: &Arc<Self>, seat: SeatId) {
        self.lock().fleet.release(seat);
        self.pump();
    }

    /// An endpoint has answered a request to the last byte.
    pub(super) fn served(&self, tier: Tier, took: Duration) {
        let mut state = self.lock();
        state.totals.count(took);
        state.fleet.served(tier, took);
    }

    /// An endpoint has failed a request. It is out of use until a probe succeeds: a few milliseconds if only that one
    /// connection was at fault, and until it is back if it has died.
    pub(super) fn eject(&self, seat: SeatId, upstream: &Arc<Upstream>, reason: &'static str) {
        if !self.lock().fleet.eject(seat) {
            return;
        }
        tracing::warn!(endpoint = %upstream.endpoint, reason, "ejected");
        self.links.metrics.ejected(&self.name, reason);
        let _ = self.links.to_probe.send((seat, Arc::clone(upstream)));
        self.tell();
    }

    /// A client has left the line, or has had its turn.
    pub(super) fn leave(&self, ticket: Ticket) {
        let mut state = self.lock();
        if state.queue.leave(ticket).is_none() {
            return;
        }
        if state.queue.is_empty() {
            state.cold.abandoned();
        }
        drop(state);
        self.tell();
    }

    pub(super) fn is_listed(&self, seat: SeatId) -> bool {
        self.lock().fleet.is_listed(seat)
    }

    /// From now on nothing new is held.
    pub(super) fn drain(&self) {
        self.lock().draining = true;
    }

    /// Nobody is held any longer: who still is, is turned away.
    pub(super) fn stop(&self) {
        let mut state = self.lock();
        state.draining = true;
        state.queue = Queue::default();
    }

    /// When somebody who is turned away now should come back.
    pub(super) fn retry_after(&self) -> Millis {
        self.lock().load(Instant::now()).retry_after()
    }

    /// What the scalers are told.
    pub(super) fn demand(&self, concurrency_default: u32) -> ServiceDemand {
        self.lock().demand(&self.name, concurrency_default)
    }

    pub(super) fn view(&self) -> ServiceView {
        self.lock().view(&self.name)
    }

    /// Joins the line. A longer line can make the bridge worth taking, so somebody in it may be able to go.
    fn join(
        self: &Arc<Self>,
        mut state: MutexGuard<'_, State>,
        ticket: Ticket,
        bytes: u64,
    ) -> Entry {
        let (sender, grant) = oneshot::channel();
        let since = Instant::now();
        state.queue.join(ticket, Waiter { bytes, since, grant: sender });
        drop(state);
        self.tell();
        let mut held = Held::new(self, ticket, since, grant);
        self.pump();
        held.try_lease().map_or_else(|| Entry::Held(held), Entry::Forward)
    }

    /// Hands free slots to the first in line. One at a time, and outside of the lock: a lease that nobody takes any
    /// more comes back through its own drop, which takes the lock again.
    fn pump(self: &Arc<Self>) {
        loop {
            let next = self.lock().next_grant();
            let Some((seat, upstream, waiter)) = next else { return };
            self.tell();
            let _ = waiter.grant.send(Lease::new(self, seat, upstream));
        }
    }

    fn tell(&self) {
        self.links.changed.send_replace(());
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // No code that can panic runs under it, so a poisoned lock holds nothing half-done.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
