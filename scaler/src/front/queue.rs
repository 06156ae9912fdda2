//! The held requests of one service: first come, first served, and out at once when their client leaves.
//! No I/O and no clock; the bounds are `admission`'s.

use std::{collections::BTreeMap, time::Duration};

use tokio::{sync::oneshot, time::Instant};

use super::lease::Lease;

/// A place in the line: its order of arrival. A request that is sent again keeps the one it had.
pub(super) type Ticket = u64;

/// One held request.
#[derive(Debug)]
pub(super) struct Waiter {
    /// Bytes set aside for its body.
    pub(super) bytes: u64,
    pub(super) since: Instant,
    pub(super) grant: oneshot::Sender<Lease>,
}

/// The line.
#[derive(Debug, Default)]
pub(super) struct Queue {
    waiting: BTreeMap<Ticket, Waiter>,
    bytes: u64,
}

impl Queue {
    pub(super) fn join(&mut self, ticket: Ticket, waiter: Waiter) {
        self.bytes += waiter.bytes;
        self.waiting.insert(ticket, waiter);
    }

    /// Takes one out of the line, wherever it stands.
    pub(super) fn leave(&mut self, ticket: Ticket) -> Option<Waiter> {
        let waiter = self.waiting.remove(&ticket)?;
        self.bytes -= waiter.bytes;
        Some(waiter)
    }

    /// Takes out who is next.
    pub(super) fn next(&mut self) -> Option<Waiter> {
        let ticket = *self.waiting.first_key_value()?.0;
        self.leave(ticket)
    }

    pub(super) fn len(&self) -> u64 {
        self.waiting.len() as u64
    }

    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    pub(super) const fn bytes(&self) -> u64 {
        self.bytes
    }

    /// How long the first in line has waited; zero when nobody does.
    pub(super) fn oldest(&self, now: Instant) -> Duration {
        let first = self.waiting.first_key_value();
        first.map_or(Duration::ZERO, |(_, waiter)| now.saturating_duration_since(waiter.since))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn waiter(bytes: u64) -> Waiter {
        Waiter { bytes, since: Instant::now(), grant: oneshot::channel().0 }
    }

    #[test]
    fn the_line_keeps_its_order_when_one_returns_and_one_leaves() {
        let mut queue = Queue::default();
        for ticket in [5, 7, 6] {
            queue.join(ticket, waiter(ticket));
        }
        assert_eq!(queue.leave(6).map(|w| w.bytes), Some(6));
        assert_eq!((queue.len(), queue.bytes()), (2, 12));
        queue.join(1, waiter(1));
        assert_eq!(queue.next().map(|w| w.bytes), Some(1));
        assert_eq!(queue.next().map(|w| w.bytes), Some(5));
        assert!(queue.leave(5).is_none());
        assert_eq!(queue.bytes(), 7);
    }
}
