//! An endpoint of AWS whose prices the test sets: `DescribeSpotPriceHistory` of EC2 and `GetProducts` of the price
//! list are answered here, everything else by moto behind it. Any call can be made to fail, and is counted.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use axum::{Router, body::Body, extract::State, response::Response};
use bytes::Bytes;
use http::{HeaderMap, Request, StatusCode, header::CONTENT_TYPE};
use http_body_util::{BodyExt as _, Full};
use jiff::Timestamp;
use tokio::{net::TcpListener, task::JoinHandle};

use super::{
    Moto,
    http::send,
    prices::{Change, OnDemand, price_list, spot_history},
};

/// How a call fails.
#[derive(Debug, Clone)]
pub struct Failure {
    /// Of HTTP, for example 503.
    pub status: u16,
    /// AWS' word, for example `RequestLimitExceeded` or `AccessDenied`.
    pub code: &'static str,
    /// So many calls fail; then it is over.
    pub times: usize,
}

/// A running endpoint. Dropped, it ends.
#[derive(Debug)]
pub struct Market {
    endpoint: String,
    shared: Arc<Shared>,
    server: JoinHandle<()>,
}

#[derive(Debug)]
struct Shared {
    upstream: String,
    state: Mutex<World>,
}

#[derive(Debug, Default)]
struct World {
    spot: Vec<Change>,
    on_demand: Vec<OnDemand>,
    failures: BTreeMap<String, Failure>,
    calls: BTreeMap<String, usize>,
}

impl Market {
    /// Starts one in front of moto. It knows no price yet.
    pub async fn start(moto: &Moto) -> anyhow::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let endpoint = format!("http://{}", listener.local_addr()?);
        let shared = Arc::new(Shared { upstream: moto.endpoint(), state: Mutex::default() });
        let router = Router::new().fallback(answer).with_state(Arc::clone(&shared));
        let server = tokio::spawn(async move {
            let _ = axum::serve(listener, router).await;
        });
        Ok(Self { endpoint, shared, server })
    }

    /// The URL of every service.
    pub fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// From `since` on, a spot instance of this type costs so much here, in $/h.
    pub fn spot_price(&self, instance_type: &str, zone: &str, usd: &str, since: Timestamp) {
        let (instance_type, zone) = (instance_type.to_owned(), zone.to_owned());
        let change = Change { instance_type, zone, usd: usd.to_owned(), since };
        self.shared.state().spot.push(change);
    }

    /// What an on-demand instance of this type costs in every zone, in $/h.
    pub fn on_demand_price(&self, instance_type: &str, usd: &str) {
        let mut state = self.shared.state();
        state.on_demand.retain(|one| one.instance_type != instance_type);
        let (instance_type, usd) = (instance_type.to_owned(), usd.to_owned());
        state.on_demand.push(OnDemand { instance_type, usd });
    }

    /// The next calls of an action fail, for example of `DeleteMessageBatch`.
    pub fn fail(&self, action: &str, failure: Failure) {
        self.shared.state().failures.insert(action.to_owned(), failure);
    }

    /// How often an action was called, failures included.
    pub fn calls(&self, action: &str) -> usize {
        self.shared.state().calls.get(action).copied().unwrap_or_default()
    }
}

impl Drop for Market {
    fn drop(&mut self) {
        self.server.abort();
    }
}

impl Shared {
    // Nothing panics while it holds the lock.
    fn state(&self) -> MutexGuard<'_, World> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts a call; how it fails, if it does.
    fn enter(&self, action: &str) -> Option<Failure> {
        let mut state = self.state();
        *state.calls.entry(action.to_owned()).or_default() += 1;
        let failure = state.failures.get_mut(action)?;
        failure.times = failure.times.checked_sub(1)?;
        Some(failure.clone())
    }
}

async fn answer(State(shared): State<Arc<Shared>>, request: Request<Body>) -> Response {
    let (head, body) = request.into_parts();
    let Ok(body) = body.collect().await else { return plain(StatusCode::BAD_REQUEST, "") };
    let body = body.to_bytes();
    let fields: Vec<(String, String)> = form_urlencoded::parse(&body).into_owned().collect();
    let target = head.headers.get("x-amz-target").and_then(|value| value.to_str().ok());
    let in_form = || fields.iter().find(|(name, _)| name == "Action").map(|(_, value)| &**value);
    let action = target.map(|target| target.rsplit('.').next().unwrap_or(target)).or_else(in_form);
    let action = action.unwrap_or_default();
    if let Some(failure) = shared.enter(action) {
        return refuse(&failure, target.is_some());
    }
    match action {
        "DescribeSpotPriceHistory" => {
            typed("text/xml", spot_history(&shared.state().spot, &fields))
        }
        "GetProducts" => {
            typed("application/x-amz-json-1.1", price_list(&shared.state().on_demand, &body))
        }
        _ => forward(&shared.upstream, &head, body).await,
    }
}

async fn forward(upstream: &str, head: &http::request::Parts, body: Bytes) -> Response {
    let path = head.uri.path_and_query().map_or("/", |path| path.as_str());
    let mut request = Request::new(Full::new(body));
    *request.method_mut() = head.method.clone();
    *request.headers_mut() = end_to_end(&head.headers);
    let answer = async {
        *request.uri_mut() = format!("{upstream}{path}").parse()?;
        anyhow::Ok(send(request).await?)
    };
    match answer.await {
        Ok(answer) => {
            let headers = end_to_end(answer.headers());
            let mut response = answer.map(Body::from);
            *response.headers_mut() = headers;
            response
        }
        Err(error) => plain(StatusCode::BAD_GATEWAY, &format!("{error:#}")),
    }
}

/// Those that are not about one connection.
fn end_to_end(headers: &HeaderMap) -> HeaderMap {
    let mut headers = headers.clone();
    for name in ["host", "connection", "content-length", "transfer-encoding"] {
        headers.remove(name);
    }
    headers
}

fn refuse(failure: &Failure, is_json: bool) -> Response {
    let (code, status) = (failure.code, StatusCode::from_u16(failure.status));
    let text = if is_json {
        format!(r#"{{"__type":"{code}","message":"as the test wants it"}}"#)
    } else {
        format!(
            "<Response><Errors><Error><Code>{code}</Code><Message>as the test wants it</Message></Error></Errors>\
             <RequestID>test</RequestID></Response>"
        )
    };
    plain(status.unwrap_or(StatusCode::INTERNAL_SERVER_ERROR), &text)
}

fn typed(content_type: &'static str, text: String) -> Response {
    let mut response = Response::new(Body::from(text));
    response.headers_mut().insert(CONTENT_TYPE, http::HeaderValue::from_static(content_type));
    response
}

fn plain(status: StatusCode, text: &str) -> Response {
    let mut response = Response::new(Body::from(text.to_owned()));
    *response.status_mut() = status;
    response
}
