//! What one client connection is doing: nothing, sending a head, or waiting for responses. Idling and sending a head have
//! a bound each: other proxies keep idle connections for minutes and send the next request on them at any moment, while
//! a head that has begun is there at once or never.

use std::{
    io,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, ready},
    time::Duration,
};

use http_body::{Body, Frame, SizeHint};
use tokio::{
    io::{AsyncRead, ReadBuf},
    time::{Instant, Sleep, sleep_until},
};

/// No method of HTTP/1 begins like HTTP/2's preface.
const HTTP2_BEGINNING: &[u8] = b"PRI";

/// Shared by those who see a part of it.
#[derive(Debug)]
pub(super) struct Activity(Mutex<Doing>);

#[derive(Debug)]
struct Doing {
    /// Requests whose responses have not ended.
    under_way: usize,
    /// The end of the last one, or the connection's beginning.
    idle_since: Instant,
    /// The first byte of a head that is not complete yet.
    head_since: Option<Instant>,
}

/// A request that is under way.
#[derive(Debug)]
pub(super) struct UnderWay(Arc<Activity>);

/// A response body: its request is under way until it is dropped.
pub(super) struct Tracked<B> {
    pub(super) body: B,
    pub(super) _under_way: UnderWay,
}

/// What a client sends. Reading fails when a head takes too long.
pub(super) struct Heads<R> {
    inner: R,
    activity: Arc<Activity>,
    timeout: Duration,
    /// The connection's first bytes, as many as tell HTTP/2.
    beginning: Vec<u8>,
    /// Made at the first head that comes in pieces only.
    alarm: Option<Pin<Box<Sleep>>>,
}

impl Activity {
    pub(super) fn new() -> Arc<Self> {
        let doing = Doing { under_way: 0, idle_since: Instant::now(), head_since: None };
        Arc::new(Self(Mutex::new(doing)))
    }

    /// A whole head is there.
    pub(super) fn request(self: &Arc<Self>) -> UnderWay {
        let mut doing = self.lock();
        doing.under_way += 1;
        doing.head_since = None;
        UnderWay(Arc::clone(self))
    }

    /// Returns when nothing has been under way for `bound`.
    pub(super) async fn idle(&self, bound: Duration) {
        loop {
            let now = Instant::now();
            let end = self.idle_since().unwrap_or(now) + bound;
            if now >= end {
                return;
            }
            sleep_until(end).await;
        }
    }

    fn idle_since(&self) -> Option<Instant> {
        let doing = self.lock();
        (doing.under_way == 0).then_some(doing.idle_since)
    }

    /// Bytes have come; between requests they are the beginning of the next one's head.
    fn bytes(&self) {
        let mut doing = self.lock();
        if doing.under_way == 0 {
            doing.head_since.get_or_insert_with(Instant::now);
        }
    }

    fn head_since(&self) -> Option<Instant> {
        self.lock().head_since
    }

    fn lock(&self) -> MutexGuard<'_, Doing> {
        // No code that can panic runs under it, so a poisoned lock holds nothing half-done.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        let mut doing = self.0.lock();
        doing.under_way -= 1;
        doing.idle_since = Instant::now();
    }
}

impl<B: Body + Unpin> Body for Tracked<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl<R> Heads<R> {
    pub(super) fn new(inner: R, activity: Arc<Activity>, timeout: Duration) -> Self {
        Self { inner, activity, timeout, beginning: Vec::new(), alarm: None }
    }

    fn note(&mut self, bytes: &[u8]) {
        let missing = HTTP2_BEGINNING.len() - self.beginning.len();
        self.beginning.extend(bytes.iter().take(missing));
        if !bytes.is_empty() {
            self.activity.bytes();
        }
    }

    /// HTTP/2 has frames besides those of requests, and its pings find out a client that stops in the middle of one.
    fn head_deadline(&self) -> Option<Instant> {
        let is_http1 = self.beginning != HTTP2_BEGINNING;
        let since = self.activity.head_since().filter(|_| is_http1);
        since.map(|since| since + self.timeout)
    }
}

impl<R: AsyncRead + Unpin> AsyncRead for Heads<R> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.inner).poll_read(cx, buffer);
        if read.is_ready() {
            self.note(&buffer.filled()[before..]);
            return read;
        }
        let Some(deadline) = self.head_deadline() else { return Poll::Pending };
        let alarm = self.alarm.get_or_insert_with(|| Box::pin(sleep_until(deadline)));
        if alarm.deadline() != deadline {
            alarm.as_mut().reset(deadline);
        }
        ready!(alarm.as_mut().poll(cx));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}
