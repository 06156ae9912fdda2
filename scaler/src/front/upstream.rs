//! The HTTP client of one endpoint, and what its failures prove: whether the endpoint can have seen the request decides
//! whether it may be sent again.

use std::{error::Error as _, fmt, time::Duration};

use http::{
    HeaderMap, Request, Response, Version, header,
    uri::{PathAndQuery, Scheme},
};
use hyper::body::Incoming;
use hyper_util::{
    client::legacy::{Client, Error as ClientError, connect::HttpConnector},
    rt::{TokioExecutor, TokioTimer},
};

use super::{
    endpoint::{Endpoint, Protocol},
    replay::ReplayBody,
};

/// An endpoint and its pooled connections.
pub(super) struct Upstream {
    pub(super) endpoint: Endpoint,
    /// Requests that it takes at a time.
    pub(super) concurrency: u32,
    http1: Client<HttpConnector, ReplayBody>,
    http2: Client<HttpConnector, ReplayBody>,
}

/// How connections to endpoints are made and kept.
#[derive(Debug, Clone, Copy)]
pub(super) struct Connections {
    pub(super) connect_timeout: Duration,
    /// Shorter than servers keep an idle connection, so that we close it first.
    pub(super) idle_timeout: Duration,
}

/// Why there is no response, by what it proves.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    /// No connection: the endpoint has not seen the request.
    #[error("cannot connect: {0}")]
    Connect(String),
    /// The connection ended before the request was written to it.
    #[error("the connection closed before the request was sent")]
    Unsent,
    /// The endpoint has said that it did not process it (`REFUSED_STREAM`, or `GOAWAY` below its id).
    #[error("the endpoint refused the stream")]
    Refused,
    /// The request, or a part of it, was sent, and no response came. It may have been processed.
    #[error("no response: {0}")]
    Broken(String),
    /// What came back is no HTTP.
    #[error("not a valid response: {0}")]
    Malformed(String),
}

impl Failure {
    /// As metric labels spell it.
    pub(super) const fn kind(&self) -> &'static str {
        match self {
            Self::Connect(_) => "connect",
            Self::Unsent => "unsent",
            Self::Refused => "refused_stream",
            Self::Broken(_) => "broken",
            Self::Malformed(_) => "malformed",
        }
    }

    fn of(error: &ClientError) -> Self {
        if error.is_connect() {
            return Self::Connect(innermost(error));
        }
        match error.source().and_then(|source| source.downcast_ref::<hyper::Error>()) {
            // hyper cancels a request only while it still holds all of it.
            Some(hyper) if hyper.is_canceled() => Self::Unsent,
            Some(hyper) if is_refused(hyper) => Self::Refused,
            Some(hyper) if hyper.is_parse() => Self::Malformed(innermost(hyper)),
            _ => Self::Broken(innermost(error)),
        }
    }
}

/// After this long without a sign of life, a replica's machine is asked for one.
const PEER_SILENCE: Duration = Duration::from_secs(5);

impl Upstream {
    pub(super) fn new(endpoint: Endpoint, concurrency: u32, connections: Connections) -> Self {
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        connector.set_connect_timeout(Some(connections.connect_timeout));
        // A machine that vanished sends no reset: without these its requests hang until their deadline.
        connector.set_keepalive(Some(PEER_SILENCE));
        connector.set_keepalive_interval(Some(PEER_SILENCE));
        #[cfg(target_os = "linux")]
        connector.set_tcp_user_timeout(Some(2 * PEER_SILENCE));
        let mut builder = Client::builder(TokioExecutor::new());
        builder
            .pool_timer(TokioTimer::new())
            .timer(TokioTimer::new())
            .http2_keep_alive_interval(PEER_SILENCE)
            .http2_keep_alive_timeout(PEER_SILENCE)
            .pool_idle_timeout(connections.idle_timeout)
            .pool_max_idle_per_host(concurrency as usize);
        let http1 = builder.build(connector.clone());
        let http2 = builder.http2_only(true).build(connector);
        Self { endpoint, concurrency, http1, http2 }
    }

    /// Sends the request, whose URI has only path and query, and waits for the head of the response.
    pub(super) async fn send(
        &self,
        mut request: Request<ReplayBody>,
    ) -> Result<Response<Incoming>, Failure> {
        let mut parts = std::mem::take(request.uri_mut()).into_parts();
        parts.path_and_query.get_or_insert(PathAndQuery::from_static("/"));
        parts.scheme = Some(Scheme::HTTP);
        parts.authority = Some(self.endpoint.authority.clone());
        *request.uri_mut() = parts
            .try_into()
            .map_err(|error: http::uri::InvalidUriParts| Failure::Malformed(error.to_string()))?;
        let is_http2 = self.endpoint.protocol == Protocol::H2c || is_grpc(request.headers());
        *request.version_mut() = if is_http2 { Version::HTTP_2 } else { Version::HTTP_11 };
        let client = if is_http2 { &self.http2 } else { &self.http1 };
        client.request(request).await.map_err(|error| Failure::of(&error))
    }
}

impl fmt::Debug for Upstream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Upstream({})", self.endpoint)
    }
}

fn is_grpc(headers: &HeaderMap) -> bool {
    let content_type = headers.get(header::CONTENT_TYPE).map(http::HeaderValue::as_bytes);
    content_type.is_some_and(|value| value.starts_with(b"application/grpc"))
}

/// The h2 crate fails a stream with the peer's own `GOAWAY` only when its id is above the last one processed.
fn is_refused(error: &hyper::Error) -> bool {
    let h2 = error.source().and_then(|source| source.downcast_ref::<h2::Error>());
    h2.is_some_and(|h2| {
        h2.is_remote() && (h2.is_go_away() || h2.reason() == Some(h2::Reason::REFUSED_STREAM))
    })
}

/// The innermost cause says most: the outer ones only repeat that a request failed.
pub(super) fn innermost(error: &dyn std::error::Error) -> String {
    let mut innermost = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    innermost.to_string()
}
