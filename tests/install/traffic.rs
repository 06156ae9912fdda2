//! Requests at a steady rate, to the fronts that a load balancer would choose from, and which of them are lost.

use std::{
    path::Path,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use futures::future::join_all;
use http::{Request, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper_util::{
    client::legacy::{Client as HttpClient, connect::HttpConnector},
    rt::TokioExecutor,
};
use serde_json::Value;
use spotscale_test_cluster::tiny;
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};

use crate::install::Install;

const CLIENTS: u32 = 24;
/// So much that requests are under way at every moment, and so little that a hundred thousand last through many mishaps.
const PER_SECOND: u32 = 1000;
/// For a busy machine. No test passes by waiting for it.
const PATIENCE: Duration = Duration::from_mins(1);

/// What all clients know and add to.
pub(crate) struct Traffic {
    http: HttpClient<HttpConnector, Full<Bytes>>,
    /// A picture of each class.
    pictures: [Bytes; 3],
    /// The fronts that a load balancer would choose from.
    fronts: Mutex<Vec<String>>,
    /// How many requests there are to be.
    wanted: AtomicU64,
    sent: AtomicU64,
    lost: Mutex<Vec<String>>,
}

impl Traffic {
    /// Of so many requests; none is sent yet.
    pub(crate) async fn of(wanted: u64, install: &Install) -> Arc<Self> {
        Arc::new(Self {
            http: HttpClient::builder(TokioExecutor::new()).build_http(),
            pictures: [0, 1, 2].map(tiny::pixel),
            fronts: Mutex::new(install.ready_addresses("spotscale-front").await),
            wanted: AtomicU64::new(wanted),
            sent: AtomicU64::new(0),
            lost: Mutex::default(),
        })
    }

    /// Sends them all, and waits for every answer.
    pub(crate) async fn flow(self: &Arc<Self>, install: &Install) {
        let clients = (0..CLIENTS).map(|_| {
            let traffic = Arc::clone(self);
            tokio::spawn(async move { traffic.client().await })
        });
        let (ended, ()) =
            tokio::join!(join_all(clients.collect::<Vec<_>>()), self.balance(install));
        assert!(ended.iter().all(Result::is_ok));
    }

    /// No further requests.
    pub(crate) fn stop(&self) {
        self.wanted.store(0, Ordering::SeqCst);
    }

    pub(crate) fn is_over(&self) -> bool {
        self.sent.load(Ordering::SeqCst) >= self.wanted.load(Ordering::SeqCst)
    }

    /// How many were sent.
    pub(crate) fn sent(&self) -> u64 {
        self.sent.load(Ordering::SeqCst)
    }

    /// Every request so far that was not answered with its own class, and what became of it.
    pub(crate) fn lost(&self) -> Vec<String> {
        self.lost.lock().unwrap().clone()
    }

    /// Follows the Service as a load balancer does: it hears of a change a little later.
    async fn balance(&self, install: &Install) {
        while !self.is_over() {
            let ready = install.ready_addresses("spotscale-front").await;
            *self.fronts.lock().unwrap() = ready;
            sleep(Duration::from_millis(200)).await;
        }
    }

    /// One request after the other, each to the next front.
    async fn client(&self) {
        let mut turns = interval(Duration::from_secs(1) * CLIENTS / PER_SECOND);
        turns.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while !self.is_over() {
            turns.tick().await;
            let number = self.sent.fetch_add(1, Ordering::SeqCst);
            let answer = timeout(PATIENCE, self.classify(number)).await;
            let answer = answer.unwrap_or_else(|_| Err("no answer in time".to_owned()));
            if answer != Ok(()) {
                self.lost.lock().unwrap().push(format!("request {number}: {answer:?}"));
            }
        }
    }

    async fn classify(&self, number: u64) -> Result<(), String> {
        let class = number as usize % self.pictures.len();
        let front = {
            let fronts = self.fronts.lock().unwrap();
            let chosen = number as usize % fronts.len().max(1);
            fronts.get(chosen).cloned().ok_or("no front is ready")?
        };
        let request = Request::post(format!("http://{front}:8080/v1/classify"));
        let request = request.body(Full::new(self.pictures[class].clone())).unwrap();
        let answer = self.http.request(request).await.map_err(|error| format!("{error:?}"))?;
        let status = answer.status();
        let body =
            answer.into_body().collect().await.map_err(|error| error.to_string())?.to_bytes();
        let classified: Value = serde_json::from_slice(&body).unwrap_or_default();
        if status != StatusCode::OK || classified["predictions"][0]["index"] != class {
            return Err(format!("{status} for class {class}: {}", String::from_utf8_lossy(&body)));
        }
        Ok(())
    }
}

/// A folder with the model `logits.onnx`.
pub(crate) fn tiny_models() -> &'static Path {
    tiny::write_models_once(concat!(env!("CARGO_TARGET_TMPDIR"), "/install-models"))
}
