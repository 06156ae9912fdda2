//! One request, from its arrival to the head of its response: let in, held, sent, and sent again where that is safe.
//! The rules are elsewhere (`admission`, `retry`); this page is their order.

use std::{net::IpAddr, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Uri, Version, header};
use http_body_util::{Either, Full};
use hyper::body::Incoming;
use spotscale_decide::admission::Ask;
use tokio::time::{Instant, sleep_until, timeout_at};

use super::{
    cold_start::millis,
    exchange::Exchange,
    headers,
    health::Health,
    lease::{Held, Lease},
    metrics::Metrics,
    relay::Relay,
    replay::{BodyError, BodyLimits, Replay, ReplayBody},
    reply::Problem,
    retry,
    route::Route,
    service::{Entry, Service},
    upstream::Failure,
};

const URI_BYTES_MAX: usize = 8192;

/// Set aside for a held body of unknown length, and read ahead of it: gRPC and chunked requests declare none.
const UNSIZED_BYTES: u64 = 256 << 10;

/// How long a refused client may take to send the rest of its body.
const LINGER: Duration = Duration::from_secs(1);

/// What the client gets: a response passed on, or the front's own words.
pub(super) type ProxyBody = Either<Relay, Full<Bytes>>;

/// The services of this front, and what holds for all of their requests.
pub(super) struct Proxy {
    /// The first one takes what no route claims.
    pub(super) services: Vec<Arc<Service>>,
    pub(super) routes: Vec<(Route, Arc<Service>)>,
    /// Asked before the services are.
    pub(super) health: Option<Health>,
    pub(super) metrics: Arc<Metrics>,
    pub(super) idempotent_paths: Vec<String>,
    pub(super) limits: BodyLimits,
    pub(super) timeout: Duration,
    pub(super) stream_idle: Duration,
}

/// A response, and whether its request has been read to the end: only then can the connection carry another.
pub(super) type Answer = (Response<ProxyBody>, bool);

/// A request that was found to be in order.
struct Call {
    service: Arc<Service>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    replay: Replay,
    /// Bytes set aside for its body while it is held.
    bytes: u64,
    is_idempotent: bool,
    deadline: Instant,
}

impl Proxy {
    /// Answers one request, whatever happens to it.
    pub(super) async fn answer(&self, request: Request<Incoming>, client: IpAddr) -> Answer {
        let request = request.map(|body| Replay::new(body, self.limits));
        let replay = request.body().clone();
        if let Some(health) = self.health.as_ref().and_then(|health| health.answer(&request)) {
            return (health.map(Either::Right), replay.is_complete());
        }
        // Such a client sends its body only when it is asked to, and reading on is what asks it.
        let awaits_continue = request.headers().contains_key(header::EXPECT);
        let service = Arc::clone(self.service(&request));
        let mut exchange = Exchange::begin(Arc::clone(&self.metrics), Arc::clone(&service.name));
        let outcome = match self.check(service, request, client) {
            Ok(call) => call.run(&mut exchange).await,
            Err(problem) => Err(problem),
        };
        let response = match outcome {
            Ok((response, lease, id)) => self.relay(response, lease, exchange, id),
            Err(problem) => {
                if !awaits_continue {
                    // A connection that closes on unread bytes is reset, and the answer is lost with it.
                    let _ = tokio::time::timeout(LINGER, replay.discard()).await;
                }
                exchange.refused(problem.kind());
                exchange.finish(problem.status().as_u16());
                problem.into_response().map(Either::Right)
            }
        };
        (response, replay.is_complete())
    }

    fn service<B>(&self, request: &Request<B>) -> &Arc<Service> {
        let routed = self.routes.iter().find(|(route, _)| route.fits(request));
        routed.map_or(&self.services[0], |(_, service)| service)
    }

    fn check(
        &self,
        service: Arc<Service>,
        mut request: Request<Replay>,
        client: IpAddr,
    ) -> Result<Call, Problem> {
        if request.method() == Method::CONNECT {
            return Err(Problem::Connect);
        }
        if request.uri().path_and_query().is_some_and(|path| path.as_str().len() > URI_BYTES_MAX) {
            return Err(Problem::UriTooLong);
        }
        let length = request.body().length();
        if length.is_some_and(|bytes| bytes > self.limits.body_bytes_max) {
            return Err(Problem::Body(BodyError::TooLarge));
        }
        let asked = headers::timeout(request.headers()).map_err(|()| Problem::BadTimeout)?;
        let deadline = Instant::now() + asked.unwrap_or(self.timeout).min(self.timeout);
        headers::prepare(&mut request, client);
        let (head, replay) = request.into_parts();
        Ok(Call {
            is_idempotent: retry::is_idempotent(
                &head.method,
                head.uri.path(),
                &self.idempotent_paths,
            ),
            bytes: length.unwrap_or(UNSIZED_BYTES).min(self.limits.replay_bytes_max),
            replay,
            service,
            method: head.method,
            uri: head.uri,
            headers: head.headers,
            deadline,
        })
    }

    fn relay(
        &self,
        response: Response<Incoming>,
        lease: Lease,
        exchange: Exchange,
        id: Option<HeaderValue>,
    ) -> Response<ProxyBody> {
        let (mut head, body) = response.into_parts();
        head.version = Version::HTTP_11;
        headers::remove_hop_by_hop(&mut head.headers);
        if let Some(held) = exchange.held() {
            head.headers.insert(headers::HELD, HeaderValue::from(millis(held).0));
        }
        if let Some(id) = id {
            head.headers.entry(headers::REQUEST_ID).or_insert(id);
        }
        let end = (head.status.as_u16(), self.stream_idle);
        Response::from_parts(head, Either::Left(Relay::new(body, lease, exchange, end)))
    }
}

/// A response that has begun, the slot that it occupies, and the request's name.
type Begun = (Response<Incoming>, Lease, Option<HeaderValue>);

impl Call {
    async fn run(mut self, exchange: &mut Exchange) -> Result<Begun, Problem> {
        self.service.budget.deposit();
        let ask = Ask { bytes: self.bytes, remaining: millis(self.remaining()) };
        let (ticket, mut entry) = self.service.enter(ask).map_err(Problem::Turned)?;
        let mut retries = 0;
        loop {
            let lease = match entry {
                Entry::Forward(lease) => lease,
                Entry::Held(held) => self.wait(held, exchange).await?,
            };
            exchange.sent_to(lease.tier());
            let failure = match self.send(&lease).await? {
                Ok(response) => return Ok((response, lease, self.take_id())),
                Err(failure) => failure,
            };
            lease.eject(failure.kind());
            if let Err(denial) = self.may_retry(&failure, retries) {
                return Err(Problem::Failed { failure, denial });
            }
            exchange.retried(failure.kind());
            retries += 1;
            drop(lease);
            entry = self.service.reenter(ticket, self.bytes);
        }
    }

    async fn wait(&self, mut held: Held, exchange: &mut Exchange) -> Result<Lease, Problem> {
        let outcome = tokio::select! {
            lease = held.lease() => lease.ok_or_else(|| Problem::Stopped(self.retry_after())),
            error = self.replay.read_ahead(self.bytes) => Err(Problem::Body(error)),
            () = sleep_until(self.deadline) => Err(Problem::HeldTooLong(self.retry_after())),
        };
        exchange.held_for(held.since.elapsed());
        outcome
    }

    /// The inner result is the endpoint's, the outer one ends the request.
    async fn send(&self, lease: &Lease) -> Result<Result<Response<Incoming>, Failure>, Problem> {
        let sending = lease.upstream.send(self.attempt());
        match timeout_at(self.deadline, sending).await {
            Ok(Ok(response)) if self.is_unframed(&response) => Err(Problem::Unframed),
            Ok(Ok(response)) => Ok(Ok(response)),
            Ok(Err(failure)) => match self.replay.error() {
                Some(error) => Err(Problem::Body(error)),
                None => Ok(Err(failure)),
            },
            Err(_) if self.replay.awaits_client() => Err(Problem::RequestTimeout),
            Err(_) => Err(Problem::DeadlineExceeded),
        }
    }

    fn attempt(&self) -> Request<ReplayBody> {
        let mut request = Request::new(self.replay.body());
        *request.method_mut() = self.method.clone();
        *request.uri_mut() = self.uri.clone();
        *request.headers_mut() = self.headers.clone();
        let remaining = HeaderValue::from(millis(self.remaining()).0);
        request.headers_mut().insert(headers::TIMEOUT, remaining);
        request
    }

    fn may_retry(&self, failure: &Failure, retries: u32) -> Result<(), retry::Denial> {
        let is_replayable = self.replay.is_replayable();
        let (is_idempotent, now) = (self.is_idempotent, Instant::now());
        let request = retry::Request { is_idempotent, is_replayable, retries, now };
        retry::permits(&self.service.budget, failure, request)
    }

    /// A body that ends when the connection does, as HTTP/1.0 had it: cut short, it looks complete.
    fn is_unframed(&self, response: &Response<Incoming>) -> bool {
        let has_body = self.method != Method::HEAD
            && response.status() != StatusCode::NO_CONTENT
            && response.status() != StatusCode::NOT_MODIFIED;
        let names = [header::CONTENT_LENGTH, header::TRANSFER_ENCODING];
        let is_framed = response.version() == Version::HTTP_2
            || names.iter().any(|name| response.headers().contains_key(name));
        has_body && !is_framed
    }

    fn take_id(&mut self) -> Option<HeaderValue> {
        self.headers.remove(headers::REQUEST_ID)
    }

    fn remaining(&self) -> Duration {
        self.deadline.saturating_duration_since(Instant::now())
    }

    fn retry_after(&self) -> spotscale_decide::units::Millis {
        self.service.retry_after()
    }
}
