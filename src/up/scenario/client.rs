//! One client of the service: sends a picture, waits within its patience, judges what came back. It
//! never retries, because a retry would hide exactly what the scenario is there to count.

use std::{net::SocketAddr, time::Duration};

use bytes::Bytes;
use http::{Request, Uri, header::CONTENT_TYPE};
use http_body_util::{BodyExt, Full, Limited};
use hyper_util::{
    client::legacy::{Client as HttpClient, connect::HttpConnector},
    rt::{TokioExecutor, TokioTimer},
};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::{sync::Semaphore, time::Instant};

use super::{
    outcome::{Outcome, Why},
    pictures::Picture,
};

/// Requests that are under way at once, where the system allows it. More are sent as these end;
/// their latency counts from when they were due.
const OUTSTANDING_MAX: u64 = 4_000;
/// A request takes a file descriptor here and one in the front, which is the same process; replicas
/// take a few more.
const DESCRIPTORS_PER_REQUEST: u64 = 2;
const DESCRIPTORS_FOR_OTHERS: u64 = 256;
/// How long a client waits, from the moment its request was due.
pub(super) const PATIENCE: Duration = Duration::from_mins(1);
const ANSWER_BYTES_MAX: usize = 1 << 20;
/// Shorter than any server's own, so that no request is written into a connection that is just
/// being closed.
const IDLE_MAX: Duration = Duration::from_secs(4);

/// Sends to one front.
pub(super) struct Client {
    http: HttpClient<HttpConnector, Full<Bytes>>,
    uri: Uri,
    slots: Semaphore,
}

impl Client {
    pub(super) fn new(front: SocketAddr) -> Result<Self, http::Error> {
        let uri = Uri::builder()
            .scheme("http")
            .authority(front.to_string())
            .path_and_query("/v1/classify")
            .build()?;
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        let http = HttpClient::builder(TokioExecutor::new())
            .retry_canceled_requests(false)
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE_MAX)
            .build(connector);
        Ok(Self { http, uri, slots: Semaphore::new(outstanding_max()) })
    }

    /// What becomes of a request that was due at `due`.
    pub(super) async fn classify(&self, picture: Picture, due: Instant) -> Outcome {
        let answer = async {
            let slot = self.slots.acquire().await;
            let outcome = self.exchange(picture, due).await;
            drop(slot);
            outcome.unwrap_or_else(Outcome::lost)
        };
        match tokio::time::timeout_at(due + PATIENCE, answer).await {
            Ok(outcome) => outcome,
            Err(_) => Outcome::lost(Why::Timeout),
        }
    }

    async fn exchange(&self, picture: Picture, due: Instant) -> Result<Outcome, Why> {
        let patience_ms = (due + PATIENCE).saturating_duration_since(Instant::now()).as_millis();
        let request = Request::post(self.uri.clone())
            .header(CONTENT_TYPE, picture.content_type)
            .header("x-request-timeout-ms", patience_ms.to_string())
            .body(Full::new(picture.bytes))
            .map_err(|_| Why::Connection)?;
        let response = self.http.request(request).await.map_err(|_| Why::Connection)?;
        let (head, body) = response.into_parts();
        let body = Limited::new(body, ANSWER_BYTES_MAX).collect().await;
        let body = body.map_err(|_| Why::Truncated)?.to_bytes();
        Ok(Outcome::of(head.status, &head.headers, &body))
    }
}

/// What the limit on open files allows, after asking for as much as this process may have: 1,024 is
/// a common start.
fn outstanding_max() -> usize {
    let wanted = OUTSTANDING_MAX * DESCRIPTORS_PER_REQUEST + DESCRIPTORS_FOR_OTHERS;
    let limit = getrlimit(Resource::Nofile);
    let granted = limit.maximum.map_or(wanted, |maximum| maximum.min(wanted));
    if limit.current.is_some_and(|current| current < granted) {
        // Where it is refused, the limit read next is simply the old one.
        let _ = setrlimit(Resource::Nofile, Rlimit { current: Some(granted), ..limit });
    }
    let descriptors = getrlimit(Resource::Nofile).current.unwrap_or(wanted).min(wanted);
    let requests = descriptors.saturating_sub(DESCRIPTORS_FOR_OTHERS) / DESCRIPTORS_PER_REQUEST;
    requests.max(1) as usize
}
