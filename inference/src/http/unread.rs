//! The body of a request that was answered before it was read. A connection that closes on unread bytes is reset, and
//! the answer is lost with it; so they are read first, and where that is too much the answer says that this connection
//! ends, for the client to send its next request on another.

use std::{
    convert::Infallible,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use axum::{
    Router,
    body::Body,
    extract::Request,
    http::{HeaderValue, header},
    response::Response,
};
use bytes::Bytes;
use http_body_util::BodyExt as _;
use hyper::body::{Body as HttpBody, Frame, Incoming, SizeHint};
use tokio::sync::oneshot;
use tower::ServiceExt as _;

/// How long a refused client may take to send the rest of its body.
const LINGER: Duration = Duration::from_secs(1);

/// How much of it is read.
const LINGER_BYTES: usize = 16 << 20;

/// A body that comes back when whoever was to read it drops it before its end.
struct Lent {
    body: Option<Incoming>,
    back: Option<oneshot::Sender<Incoming>>,
}

/// The answer of `router`.
pub(super) async fn answer(
    router: Router,
    request: Request<Incoming>,
) -> Result<Response, Infallible> {
    // Such a client sends its body only when it is asked to, and reading on is what asks it.
    let awaits_continue = request.headers().contains_key(header::EXPECT);
    let (back, mut returned) = oneshot::channel();
    let request = request.map(|body| Body::new(Lent::new(body, back)));
    let mut response = router.oneshot(request).await?;
    let is_read = match returned.try_recv() {
        Err(oneshot::error::TryRecvError::Closed) => true,
        Ok(rest) if !awaits_continue => {
            tokio::time::timeout(LINGER, discard(rest)).await.unwrap_or(false)
        }
        Ok(_) | Err(oneshot::error::TryRecvError::Empty) => false,
    };
    if !is_read {
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    Ok(response)
}

/// Reads up to [`LINGER_BYTES`]; true where that was all.
async fn discard(mut body: Incoming) -> bool {
    let mut left = LINGER_BYTES;
    while let Some(frame) = body.frame().await {
        let Ok(frame) = frame else { return false };
        let bytes = frame.data_ref().map_or(0, Bytes::len);
        let Some(fewer) = left.checked_sub(bytes) else { return false };
        left = fewer;
    }
    true
}

impl Lent {
    fn new(body: Incoming, back: oneshot::Sender<Incoming>) -> Self {
        let body = Some(body).filter(|body| !body.is_end_stream());
        Self { body, back: Some(back) }
    }
}

impl HttpBody for Lent {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let Some(body) = &mut self.body else { return Poll::Ready(None) };
        let polled = ready!(Pin::new(&mut *body).poll_frame(cx));
        if polled.is_none() || body.is_end_stream() {
            self.body = None;
        }
        Poll::Ready(polled)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.as_ref().map_or_else(|| SizeHint::with_exact(0), Incoming::size_hint)
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        if let (Some(body), Some(back)) = (self.body.take(), self.back.take()) {
            // The receiver outlives every answer, and is gone where the client is.
            let _ = back.send(body);
        }
    }
}
