//! A request body that streams, and keeps what it has streamed up to a limit, so that it can be sent once more.
//! Past that limit nothing is kept and the request can no longer be retried.

use std::{
    future::poll_fn,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;

/// How large a body may be.
#[derive(Debug, Clone, Copy)]
pub(super) struct BodyLimits {
    /// Bytes kept for a retry.
    pub(super) replay_bytes_max: u64,
    /// Bytes accepted at all.
    pub(super) body_bytes_max: u64,
}

/// Why a request body ended early.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum BodyError {
    /// It is larger than accepted.
    #[error("the request body is too large")]
    TooLarge,
    /// The client went away or broke the protocol.
    #[error("the client stopped sending its request body")]
    ClientGone,
    /// A newer attempt reads it now.
    #[error("the request is being sent to another endpoint")]
    Superseded,
}

/// The body of one request, shared by its attempts; a clone is the same body.
#[derive(Clone)]
pub(super) struct Replay {
    source: Option<Arc<Mutex<Source>>>,
}

/// The body as one attempt reads it: from its beginning.
pub(super) struct ReplayBody {
    source: Option<Arc<Mutex<Source>>>,
    attempt: u32,
    next: usize,
    trailers_sent: bool,
    /// Bytes yet to come, where the client has declared them.
    left: Option<u64>,
}

struct Source {
    rest: Incoming,
    limits: BodyLimits,
    kept: Vec<Bytes>,
    trailers: Option<HeaderMap>,
    total_bytes: u64,
    length: Option<u64>,
    is_complete: bool,
    /// Data has passed that was not kept.
    has_overflowed: bool,
    error: Option<BodyError>,
    /// It was read to what the client has sent so far.
    awaits_client: bool,
    attempt: u32,
}

impl Replay {
    pub(super) fn new(incoming: Incoming, limits: BodyLimits) -> Self {
        if incoming.is_end_stream() {
            return Self { source: None };
        }
        let length = incoming.size_hint().exact();
        let source = Source {
            rest: incoming,
            limits,
            kept: Vec::new(),
            trailers: None,
            total_bytes: 0,
            length,
            is_complete: false,
            has_overflowed: false,
            error: None,
            awaits_client: false,
            attempt: 0,
        };
        Self { source: Some(Arc::new(Mutex::new(source))) }
    }

    /// The body for a new attempt; earlier attempts read no further.
    pub(super) fn body(&self) -> ReplayBody {
        let mut body =
            ReplayBody { source: None, attempt: 0, next: 0, trailers_sent: false, left: Some(0) };
        if let Some(source) = &self.source {
            let mut locked = lock(source);
            locked.attempt += 1;
            (body.attempt, body.left) = (locked.attempt, locked.length);
            body.source = Some(Arc::clone(source));
        }
        body
    }

    /// Its bytes, where the client has declared them.
    pub(super) fn length(&self) -> Option<u64> {
        self.with(Some(0), |source| source.length)
    }

    /// Whether it was read to its end.
    pub(super) fn is_complete(&self) -> bool {
        self.with(true, |source| source.is_complete)
    }

    /// Whether a new attempt would send all of it.
    pub(super) fn is_replayable(&self) -> bool {
        self.with(true, |source| !source.has_overflowed && source.error.is_none())
    }

    /// Whether it is the client's turn to send, and not an endpoint's to read.
    pub(super) fn awaits_client(&self) -> bool {
        self.with(false, |source| source.awaits_client)
    }

    /// Why the client's side of it failed, if it did.
    pub(super) fn error(&self) -> Option<BodyError> {
        self.with(None, |source| source.error)
    }

    /// Reads ahead while the request is held. A socket nobody reads does not show that its client has gone.
    /// Never returns but by an error: past the end or the limit there is nothing more to learn here.
    pub(super) async fn read_ahead(&self, ahead_max: u64) -> BodyError {
        let Some(source) = &self.source else { return std::future::pending().await };
        poll_fn(|cx| {
            let mut source = lock(source);
            while source.total_bytes < ahead_max && source.has_room() && !source.is_complete {
                if let Err(error) = ready!(source.poll_more(cx)) {
                    return Poll::Ready(error);
                }
            }
            Poll::Pending
        })
        .await
    }

    /// Reads on, keeping nothing, to the end of the body or to the limit that a kept one has.
    pub(super) async fn discard(&self) {
        let Some(source) = &self.source else { return };
        poll_fn(|cx| {
            let mut source = lock(source);
            source.forget();
            while source.has_room() && !source.is_complete {
                if ready!(source.poll_more(cx)).is_err() {
                    break;
                }
            }
            Poll::Ready(())
        })
        .await;
    }

    fn with<T>(&self, without_body: T, ask: impl FnOnce(&Source) -> T) -> T {
        self.source.as_ref().map_or(without_body, |source| ask(&lock(source)))
    }
}

impl Source {
    fn has_room(&self) -> bool {
        self.total_bytes < self.limits.replay_bytes_max
    }

    /// Takes the next frame from the client: kept while there is room (so at most one frame too much), else returned.
    fn poll_more(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>, BodyError>> {
        if let Some(error) = self.error {
            return Poll::Ready(Err(error));
        }
        let polled = Pin::new(&mut self.rest).poll_frame(cx);
        self.awaits_client = polled.is_pending();
        let frame = ready!(polled);
        Poll::Ready(match frame {
            None => {
                self.is_complete = true;
                Ok(None)
            }
            Some(Err(_)) => self.fail(BodyError::ClientGone),
            Some(Ok(frame)) => self.accept(frame),
        })
    }

    fn accept(&mut self, frame: Frame<Bytes>) -> Result<Option<Bytes>, BodyError> {
        match frame.into_data() {
            Ok(data) => {
                let is_kept = self.has_room() && !self.has_overflowed;
                self.total_bytes += data.len() as u64;
                if self.total_bytes > self.limits.body_bytes_max {
                    return self.fail(BodyError::TooLarge);
                }
                self.is_complete = self.rest.is_end_stream();
                if is_kept {
                    self.kept.push(data);
                    return Ok(None);
                }
                self.forget();
                Ok(Some(data))
            }
            Err(frame) => {
                self.trailers = frame.into_trailers().ok();
                self.is_complete = true;
                Ok(None)
            }
        }
    }

    /// From here on it cannot be sent again.
    fn forget(&mut self) {
        self.has_overflowed = true;
        self.kept.clear();
    }

    fn fail<T>(&mut self, error: BodyError) -> Result<T, BodyError> {
        self.error = Some(error);
        Err(error)
    }
}

impl ReplayBody {
    /// A request without a body.
    pub(super) const fn empty() -> Self {
        Self { source: None, attempt: 0, next: 0, trailers_sent: true, left: Some(0) }
    }

    fn poll_data(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let Some(source) = &self.source else { return Poll::Ready(None) };
        let mut source = lock(source);
        if source.attempt != self.attempt {
            return Poll::Ready(Some(Err(BodyError::Superseded)));
        }
        loop {
            if let Some(data) = source.kept.get(self.next) {
                self.next += 1;
                return Poll::Ready(Some(Ok(Frame::data(data.clone()))));
            }
            if source.is_complete {
                let trailers = source.trailers.clone().filter(|_| !self.trailers_sent);
                self.trailers_sent = true;
                return Poll::Ready(trailers.map(|trailers| Ok(Frame::trailers(trailers))));
            }
            match ready!(source.poll_more(cx)) {
                Ok(Some(data)) => return Poll::Ready(Some(Ok(Frame::data(data)))),
                Ok(None) => {}
                Err(error) => return Poll::Ready(Some(Err(error))),
            }
        }
    }
}

impl Body for ReplayBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let polled = ready!(self.poll_data(cx));
        if let (Some(Ok(frame)), Some(left)) = (&polled, self.left) {
            let sent = frame.data_ref().map_or(0, |data| data.len() as u64);
            self.left = Some(left.saturating_sub(sent));
        }
        Poll::Ready(polled)
    }

    fn is_end_stream(&self) -> bool {
        self.left == Some(0)
    }

    fn size_hint(&self) -> SizeHint {
        self.left.map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}

fn lock(source: &Mutex<Source>) -> MutexGuard<'_, Source> {
    // No code that can panic runs under it, so a poisoned lock holds nothing half-done.
    source.lock().unwrap_or_else(PoisonError::into_inner)
}
