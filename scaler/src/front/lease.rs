//! What a request holds of its service: a slot of one endpoint, or a place in the line. Dropping either gives it back,
//! so that nothing is kept by a request whose client has left.

use std::sync::Arc;

use spotscale_decide::admission::Tier;
use tokio::{sync::oneshot, time::Instant};

use super::{fleet::SeatId, queue::Ticket, service::Service, upstream::Upstream};

/// The right to send one request to one endpoint.
#[derive(Debug)]
pub(super) struct Lease {
    service: Arc<Service>,
    seat: SeatId,
    pub(super) upstream: Arc<Upstream>,
    since: Instant,
}

/// A place in the line.
#[derive(Debug)]
pub(super) struct Held {
    service: Arc<Service>,
    ticket: Ticket,
    pub(super) since: Instant,
    grant: oneshot::Receiver<Lease>,
}

impl Lease {
    pub(super) fn new(service: &Arc<Service>, seat: SeatId, upstream: Arc<Upstream>) -> Self {
        Self { service: Arc::clone(service), seat, upstream, since: Instant::now() }
    }

    pub(super) fn tier(&self) -> Tier {
        self.upstream.endpoint.tier
    }

    /// The endpoint has answered to the last byte.
    pub(super) fn served(self) {
        self.service.served(self.tier(), self.since.elapsed());
    }

    /// The endpoint has failed this request.
    pub(super) fn eject(&self, reason: &'static str) {
        self.service.eject(self.seat, &self.upstream, reason);
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.service.release(self.seat);
    }
}

impl Held {
    pub(super) fn new(
        service: &Arc<Service>,
        ticket: Ticket,
        since: Instant,
        grant: oneshot::Receiver<Lease>,
    ) -> Self {
        Self { service: Arc::clone(service), ticket, since, grant }
    }

    /// Waits for a slot; none when nobody is held any longer.
    pub(super) async fn lease(&mut self) -> Option<Lease> {
        (&mut self.grant).await.ok()
    }

    /// The slot, if it has been given already.
    pub(super) fn try_lease(&mut self) -> Option<Lease> {
        self.grant.try_recv().ok()
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.service.leave(self.ticket);
    }
}
