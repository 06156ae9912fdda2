//! The body of a response on its way to the client. It holds the endpoint's slot until the last byte, and never ends
//! cleanly unless the endpoint's did: a body that breaks off midway is an error, which cuts the client's connection.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use tokio::time::{Instant, Sleep};

use super::{exchange::Exchange, lease::Lease};

/// Recorded for a response that broke off after its head was sent.
const BROKEN: u16 = 502;

/// Why a response broke off.
#[derive(Debug, thiserror::Error)]
pub(super) enum RelayError {
    /// The endpoint's connection broke.
    #[error("the replica's response broke off: {0}")]
    Broken(hyper::Error),
    /// The endpoint sent nothing for too long.
    #[error("the replica's response stalled")]
    Stalled,
}

/// A response body, and what has to happen when it ends.
pub(super) struct Relay {
    inner: Incoming,
    /// Taken when the end is known.
    open: Option<Open>,
    idle: Duration,
    /// Made at the first pause only: most responses have none.
    alarm: Option<Pin<Box<Sleep>>>,
}

struct Open {
    lease: Lease,
    exchange: Exchange,
    status: u16,
}

impl Relay {
    pub(super) fn new(
        inner: Incoming,
        lease: Lease,
        exchange: Exchange,
        (status, idle): (u16, Duration),
    ) -> Self {
        Self { inner, open: Some(Open { lease, exchange, status }), idle, alarm: None }
    }

    fn served(&mut self) {
        if let Some(Open { lease, exchange, status }) = self.open.take() {
            lease.served();
            exchange.finish(status);
        }
    }

    fn failed(&mut self) {
        if let Some(Open { exchange, .. }) = self.open.take() {
            exchange.finish(BROKEN);
        }
    }

    fn poll_alarm(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let idle = self.idle;
        let alarm = self.alarm.get_or_insert_with(|| Box::pin(tokio::time::sleep(idle)));
        alarm.as_mut().poll(cx)
    }
}

impl Body for Relay {
    type Data = Bytes;
    type Error = RelayError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, RelayError>>> {
        let this = &mut *self;
        let Poll::Ready(polled) = Pin::new(&mut this.inner).poll_frame(cx) else {
            ready!(this.poll_alarm(cx));
            this.failed();
            return Poll::Ready(Some(Err(RelayError::Stalled)));
        };
        if let Some(alarm) = &mut this.alarm {
            alarm.as_mut().reset(Instant::now() + this.idle);
        }
        match polled {
            None => this.served(),
            Some(Ok(_)) if this.inner.is_end_stream() => this.served(),
            Some(Ok(_)) => {}
            Some(Err(_)) => this.failed(),
        }
        Poll::Ready(polled.map(|frame| frame.map_err(RelayError::Broken)))
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        // A body that is empty from the start is never polled. Any other that is dropped: its client has left.
        if self.inner.is_end_stream() {
            self.served();
        }
    }
}
