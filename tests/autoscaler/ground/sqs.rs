//! A proxy between one daemon and SQS: it kills the daemon right before or right after it deletes a message.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use axum::{
    Router,
    body::{Body, Bytes, to_bytes},
    extract::State,
    response::{IntoResponse as _, Response},
};
use http::{Request, StatusCode, request::Parts};
use http_body_util::Full;
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use rustix::process::Signal;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio_util::task::AbortOnDropHandle;

use super::process::kill;

/// What says which call it is.
const TARGET: &str = "x-amz-target";
/// Far more than any call has.
const BODY_BYTES_MAX: usize = 1 << 20;

/// When the daemon is killed: at its first deletion.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Deletion {
    /// SQS never hears of it.
    Before,
    /// SQS has done it, and the daemon never hears so.
    After,
}

struct Shared {
    http: Client<HttpConnector, Full<Bytes>>,
    sqs: String,
    /// Whom to kill and when, until it is done.
    kill: Mutex<Option<(u32, Deletion)>>,
    /// All that were asked for.
    deletions: Mutex<Vec<(Parts, Bytes)>>,
}

/// A running proxy.
pub(crate) struct Sqs {
    address: SocketAddr,
    shared: Arc<Shared>,
    _serving: AbortOnDropHandle<()>,
}

impl Sqs {
    /// Before the SQS at a URL.
    pub(crate) async fn start(sqs: &str) -> Self {
        let shared = Arc::new(Shared {
            http: Client::builder(TokioExecutor::new()).build_http(),
            sqs: sqs.to_owned(),
            kill: Mutex::default(),
            deletions: Mutex::default(),
        });
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let router = Router::new().fallback(forward).with_state(Arc::clone(&shared));
        let serving = async move { axum::serve(listener, router).await.unwrap() };
        Self { address, shared, _serving: AbortOnDropHandle::new(tokio::spawn(serving)) }
    }

    pub(crate) fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Kills the process at its next deletion, once.
    pub(crate) fn kill(&self, pid: u32, at: Deletion) {
        *self.shared.kill.lock().unwrap() = Some((pid, at));
    }

    /// Whether that has happened.
    pub(crate) fn has_killed(&self) -> bool {
        self.shared.kill.lock().unwrap().is_none()
    }

    /// How often a deletion was asked for.
    pub(crate) fn deletions(&self) -> usize {
        self.shared.deletions.lock().unwrap().len()
    }

    /// The messages whose deletion was asked for first are visible again, as when their time has run out.
    pub(crate) async fn come_again(&self) {
        let (mut parts, body) = self.shared.deletions.lock().unwrap()[0].clone();
        let mut body: Value = serde_json::from_slice(&body).unwrap();
        for entry in body["Entries"].as_array_mut().unwrap() {
            entry["VisibilityTimeout"] = json!(0);
        }
        let target = "AmazonSQS.ChangeMessageVisibilityBatch".parse().unwrap();
        parts.headers.insert(TARGET, target);
        let answer = self.shared.send(&parts, body.to_string().into()).await;
        assert_eq!(answer.status(), StatusCode::OK);
    }
}

impl Shared {
    async fn send(&self, parts: &Parts, body: Bytes) -> Response {
        let mut onward =
            Request::builder().method(&parts.method).uri(format!("{}{}", self.sqs, parts.uri));
        for (name, value) in &parts.headers {
            if !["host", "connection", "content-length"].contains(&name.as_str()) {
                onward = onward.header(name, value);
            }
        }
        match self.http.request(onward.body(Full::from(body)).unwrap()).await {
            Ok(answer) => answer.map(Body::new),
            Err(_) => StatusCode::BAD_GATEWAY.into_response(),
        }
    }

    /// Kills the daemon if it is time, and then answers nothing any more.
    async fn kill_at(&self, moment: Deletion) {
        let due = self.kill.lock().unwrap().take_if(|(_, at)| *at == moment);
        if let Some((pid, _)) = due {
            kill(pid, Signal::KILL);
            std::future::pending::<()>().await;
        }
    }
}

async fn forward(State(shared): State<Arc<Shared>>, request: Request<Body>) -> Response {
    let (parts, body) = request.into_parts();
    let body = to_bytes(body, BODY_BYTES_MAX).await.unwrap();
    let call = parts.headers.get(TARGET).and_then(|target| target.to_str().ok());
    if !call.unwrap_or_default().starts_with("AmazonSQS.DeleteMessage") {
        return shared.send(&parts, body).await;
    }
    shared.deletions.lock().unwrap().push((parts.clone(), body.clone()));
    shared.kill_at(Deletion::Before).await;
    // Spawned: SQS gets it whole even if the daemon is gone meanwhile.
    let sending = Arc::clone(&shared);
    let answer = tokio::spawn(async move { sending.send(&parts, body).await }).await.unwrap();
    shared.kill_at(Deletion::After).await;
    answer
}
