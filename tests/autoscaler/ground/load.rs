//! Open-loop load: requests start when they are due, whether or not those before have been answered, and each is timed
//! from the moment it was due. A slow answer so delays nobody else's start, and a stall is seen in full.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt as _, Full};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use tokio::{
    task::{JoinHandle, JoinSet},
    time::{sleep_until, timeout},
};
use tokio_util::sync::CancellationToken;

/// A request that has no answer by then is lost.
const PATIENCE: Duration = Duration::from_secs(30);

/// Where requests go, and what became of them.
pub(crate) struct Target {
    http: Client<HttpConnector, Full<Bytes>>,
    url: String,
    picture: Bytes,
}

/// What became of a load.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    /// From when each request was due to its answer's last byte, sorted.
    latencies: Vec<Duration>,
    /// Requests without a whole `200`, and why.
    pub(crate) lost: Vec<String>,
}

/// A load under way.
pub(crate) struct Load {
    requests: u64,
    sent: Arc<AtomicU64>,
    enough: CancellationToken,
    task: JoinHandle<Outcome>,
}

impl Target {
    pub(crate) fn new(front: &str, picture: Bytes) -> Arc<Self> {
        let http = Client::builder(TokioExecutor::new()).build_http();
        Arc::new(Self { http, url: format!("{front}/v1/classify"), picture })
    }

    /// One request; an error unless it is answered whole and with 200.
    pub(crate) async fn classify(&self) -> Result<(), String> {
        let request = Request::post(&self.url).body(Full::new(self.picture.clone())).unwrap();
        let answer = async {
            let answer = self.http.request(request).await.map_err(|error| format!("{error:?}"))?;
            let status = answer.status();
            let body = answer.into_body().collect().await.map_err(|error| error.to_string())?;
            let text = || String::from_utf8_lossy(&body.to_bytes()).into_owned();
            if status == 200 { Ok(()) } else { Err(format!("{status}: {}", text())) }
        };
        timeout(PATIENCE, answer).await.unwrap_or_else(|_| Err("no answer in time".to_owned()))
    }

    /// Requests per second that so many clients get answered who each wait for the answer.
    pub(crate) async fn capacity(self: &Arc<Self>, clients: usize, span: Duration) -> f64 {
        let start = Instant::now();
        let mut all = JoinSet::new();
        for _ in 0..clients {
            let target = Arc::clone(self);
            all.spawn(async move {
                let mut answered = 0_u32;
                while start.elapsed() < span {
                    target.classify().await.unwrap();
                    answered += 1;
                }
                answered
            });
        }
        let answered: u32 = all.join_all().await.iter().sum();
        f64::from(answered) / start.elapsed().as_secs_f64()
    }

    /// Starts sending so many requests, and more until the outcome is asked for; so many each second.
    pub(crate) fn load(self: &Arc<Self>, requests: u64, per_second: f64) -> Load {
        let (sent, enough) = (Arc::new(AtomicU64::new(0)), CancellationToken::new());
        let sending =
            Arc::clone(self).send(requests, per_second, Arc::clone(&sent), enough.clone());
        Load { requests, sent, enough, task: tokio::spawn(sending) }
    }

    async fn send(
        self: Arc<Self>,
        requests: u64,
        per_second: f64,
        sent: Arc<AtomicU64>,
        enough: CancellationToken,
    ) -> Outcome {
        let start = tokio::time::Instant::now();
        let outcome = Arc::new(Mutex::new(Outcome::default()));
        let mut under_way = JoinSet::new();
        for number in (0..).take_while(|number| *number < requests || !enough.is_cancelled()) {
            let due = start + Duration::from_secs_f64(number as f64 / per_second);
            sleep_until(due).await;
            sent.fetch_add(1, Ordering::SeqCst);
            let (target, outcome) = (Arc::clone(&self), Arc::clone(&outcome));
            under_way.spawn(async move {
                let answer = target.classify().await;
                let took = due.elapsed();
                let mut outcome = outcome.lock().unwrap();
                match answer {
                    Ok(()) => outcome.latencies.push(took),
                    Err(why) => outcome.lost.push(format!("request {number} at {took:?}: {why}")),
                }
            });
            while under_way.try_join_next().is_some() {}
        }
        under_way.join_all().await;
        let mut outcome = std::mem::take(&mut *outcome.lock().unwrap());
        outcome.latencies.sort();
        outcome
    }
}

impl Load {
    /// No more needs to be sent.
    pub(crate) fn is_enough(&self) -> bool {
        self.sent() >= self.requests
    }

    /// Requests that were sent so far.
    pub(crate) fn sent(&self) -> u64 {
        self.sent.load(Ordering::SeqCst)
    }

    /// Waits for the rest, and for all answers.
    pub(crate) async fn outcome(self) -> Outcome {
        self.enough.cancel();
        self.task.await.unwrap()
    }
}

impl Outcome {
    /// Requests that were answered.
    pub(crate) fn answered(&self) -> usize {
        self.latencies.len()
    }

    /// The latency that this share of the answered requests had at most.
    pub(crate) fn quantile(&self, share: f64) -> Duration {
        let last = self.latencies.len().saturating_sub(1);
        let index = (last as f64 * share).round() as usize;
        self.latencies.get(index).copied().unwrap_or_default()
    }

    /// Fails if any request was lost.
    pub(crate) fn assert_none_lost(&self) {
        let (lost, of) = (self.lost.len(), self.lost.len() + self.answered());
        assert!(lost == 0, "{lost} of {of} were lost: {:#?}", &self.lost[..lost.min(10)]);
    }
}
