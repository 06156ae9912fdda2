//! What pods answer, as Prometheus has it from the bundled model server. A task of its own asks, so that a server that
//! hangs delays no decision; what it said last grows old until it says more.

use std::{collections::BTreeMap, time::Duration};

use prometheus_http_query::{
    Client, Error as QueryError,
    response::{Data, InstantVector},
};
use spotscale_decide::{
    offers::{Traffic, TrafficPolicy, Work},
    units::{Millis, PodName, Requests},
};
use tokio::{
    sync::watch,
    time::{Instant, sleep, timeout},
};
use tokio_util::task::AbortOnDropHandle;
use tracing::warn;

use crate::{config::Config, metrics::Metrics};

const REQUESTS: &str = "spotscale_inference_stage_seconds_count{stage=\"inference\"}";
const BUSY_SECONDS: &str = "spotscale_inference_busy_seconds_total";
/// Pods that are taken in at once. A cluster has fewer that are busy.
const PODS_MAX: usize = 50_000;

/// The task that asks, and what it learned.
pub(crate) struct Counts {
    counted: watch::Receiver<Option<Counted>>,
    _asking: AbortOnDropHandle<()>,
}

#[derive(Clone)]
struct Counted {
    pods: BTreeMap<PodName, Work>,
    at: Instant,
}

struct Asking {
    client: Client,
    every: Duration,
    patience: Duration,
    queries: [String; 2],
    metrics: Metrics,
    counted: watch::Sender<Option<Counted>>,
}

/// Why nothing was counted.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
enum CountError {
    #[error("Prometheus gave no answer in time")]
    Late,
    #[error("Prometheus cannot be reached: {0}")]
    Unavailable(String),
    #[error("Prometheus says: {0}")]
    Refused(String),
    #[error("Prometheus answered with something that is no vector")]
    NoVector,
}

// === impl Counts ===

impl Counts {
    /// Asks from now on; nothing where nobody is there to be asked.
    pub(crate) fn start(config: &Config, policy: &TrafficPolicy, metrics: Metrics) -> Option<Self> {
        let client = config.traffic.prometheus_url.as_ref()?.0.clone();
        let (sender, counted) = watch::channel(None);
        let asking = Asking {
            client,
            every: config.traffic.prometheus_interval,
            patience: config.call_timeout,
            queries: queries(policy),
            metrics,
            counted: sender,
        };
        let asking = AbortOnDropHandle::new(tokio::spawn(asking.run()));
        Some(Self { counted, _asking: asking })
    }

    /// What was counted last.
    pub(crate) fn now(&self) -> Option<Traffic> {
        let counted = self.counted.borrow().clone()?;
        let age_ms = u64::try_from(counted.at.elapsed().as_millis()).unwrap_or(u64::MAX);
        Some(Traffic { age_ms: Millis(age_ms), pods: counted.pods })
    }
}

/// What is asked: requests, and seconds in which a model ran, of the pods that were busy enough to tell something.
fn queries(policy: &TrafficPolicy) -> [String; 2] {
    let window = policy.window_ms.as_secs_f64();
    let over = format!("[{}ms]", policy.window_ms.0);
    let by_pod = |series: &str| format!("sum by (namespace, pod) (increase({series}{over}))");
    let enough = window * policy.busy_min.get();
    [by_pod(REQUESTS), format!("{} >= {enough}", by_pod(BUSY_SECONDS))]
}

// === impl Asking ===

impl Asking {
    async fn run(self) {
        loop {
            let asked_at = Instant::now();
            let answer = timeout(self.patience, self.ask()).await;
            match answer.unwrap_or(Err(CountError::Late)) {
                Ok(pods) => {
                    self.counted.send_replace(Some(Counted { pods, at: asked_at }));
                }
                Err(error) => {
                    warn!(%error, "the throughput of machines was not measured");
                    self.metrics.failure("traffic", error.kind());
                }
            }
            sleep(self.every).await;
        }
    }

    async fn ask(&self) -> Result<BTreeMap<PodName, Work>, CountError> {
        let [requests, busy] = &self.queries;
        let (requests, busy) = tokio::try_join!(self.vector(requests), self.vector(busy))?;
        let requests: BTreeMap<PodName, f64> = requests.iter().filter_map(of_pod).collect();
        let work = |(pod, seconds): (PodName, f64)| {
            let answered = *requests.get(&pod)?;
            let busy_ms = Millis((seconds * 1000.0) as u64);
            Some((pod, Work { requests: Requests(answered as u64), busy_ms }))
        };
        Ok(busy.iter().filter_map(of_pod).filter_map(work).collect())
    }

    async fn vector(&self, promql: &str) -> Result<Vec<InstantVector>, CountError> {
        let answer = self.client.query(promql).query("limit", PODS_MAX).get().await;
        let answer = answer.map_err(|error| match error {
            QueryError::Prometheus(said) => CountError::Refused(said.to_string()),
            other => CountError::Unavailable(other.to_string()),
        })?;
        match answer.into_inner().0 {
            Data::Vector(series) => Ok(series),
            Data::Matrix(_) | Data::Scalar(_) => Err(CountError::NoVector),
        }
    }
}

/// A series that names its pod, and counts something.
fn of_pod(series: &InstantVector) -> Option<(PodName, f64)> {
    let label = |name: &str| series.metric().get(name);
    let pod = format!("{}/{}", label("namespace")?, label("pod")?).parse().ok()?;
    let value = series.sample().value();
    (value.is_finite() && value >= 0.0).then_some((pod, value))
}

// === impl CountError ===

impl CountError {
    /// The name for a metric label.
    const fn kind(&self) -> &'static str {
        match self {
            Self::Late | Self::Unavailable(_) => "unavailable",
            Self::Refused(_) => "refused",
            Self::NoVector => "no-vector",
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        collections::HashMap,
        sync::{Arc, Mutex},
    };

    use axum::{
        Json, Router,
        extract::{Query, State},
        http::StatusCode,
        routing::get,
    };
    use clap::Parser;
    use serde_json::{Value, json};
    use tokio::net::TcpListener;

    use super::*;

    #[derive(Parser)]
    struct Cli {
        #[command(flatten)]
        config: Config,
    }

    /// What is said to a query with such a text in it.
    type Answer = (&'static str, StatusCode, Value);

    /// A stand-in for Prometheus that answers a query by what its text contains.
    #[derive(Clone, Default)]
    struct StandIn {
        answers: Arc<Mutex<Vec<Answer>>>,
        asked: Arc<Mutex<Vec<String>>>,
    }

    impl StandIn {
        async fn start(&self) -> String {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let url = format!("http://{}", listener.local_addr().unwrap());
            let router = Router::new().route("/api/v1/query", get(answer)).with_state(self.clone());
            tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
            url
        }

        fn says(&self, answers: [Answer; 2]) {
            *self.answers.lock().unwrap() = answers.into();
        }
    }

    async fn answer(
        State(stand_in): State<StandIn>,
        Query(asked): Query<HashMap<String, String>>,
    ) -> (StatusCode, Json<Value>) {
        let query = asked["query"].clone();
        stand_in.asked.lock().unwrap().push(query.clone());
        let answers = stand_in.answers.lock().unwrap();
        let known = answers.iter().find(|(part, ..)| query.contains(part));
        let (_, status, body) = known.expect("an unknown query");
        (*status, Json(body.clone()))
    }

    fn vector(series: &[(&[(&str, &str)], &str)]) -> Value {
        let one = |(labels, value): &(&[(&str, &str)], &str)| {
            let labels: HashMap<_, _> = labels.iter().copied().collect();
            json!({ "metric": labels, "value": [1_800_000_000.0, value] })
        };
        let result: Vec<Value> = series.iter().map(one).collect();
        json!({ "status": "success", "data": { "resultType": "vector", "result": result } })
    }

    fn start(url: &str) -> Counts {
        let url = format!("--prometheus-url={url}");
        let flags = ["daemon", "--machine=a=1", "--prometheus-interval=50ms", &url];
        let config = Cli::parse_from(flags).config;
        Counts::start(&config, &config.policy().offers.traffic, Metrics::default()).unwrap()
    }

    /// Waits for an answer that is not `known`.
    async fn news(counts: &Counts, known: Option<&BTreeMap<PodName, Work>>) -> Traffic {
        let is_new = |traffic: &Traffic| known.is_none_or(|known| &traffic.pods != known);
        let waits = async {
            loop {
                if let Some(traffic) = counts.now().filter(is_new) {
                    return traffic;
                }
                sleep(Duration::from_millis(20)).await;
            }
        };
        timeout(Duration::from_mins(1), waits).await.expect("nothing was counted")
    }

    #[tokio::test]
    async fn pods_that_are_told_of_twice_and_in_full_are_counted() {
        let prometheus = StandIn::default();
        let (p, q): (&[_], &[_]) =
            (&[("namespace", "n"), ("pod", "p")], &[("namespace", "n"), ("pod", "q")]);
        let unnamed: &[_] = &[("pod", "r")];
        prometheus.says([
            ("stage_seconds_count", StatusCode::OK, vector(&[(p, "1200.6"), (unnamed, "5")])),
            (
                "busy_seconds_total",
                StatusCode::OK,
                vector(&[(p, "480.25"), (q, "NaN"), (unnamed, "9")]),
            ),
        ]);
        let counts = start(&prometheus.start().await);
        let traffic = news(&counts, None).await;
        let work = Work { requests: Requests(1200), busy_ms: Millis(480_250) };
        assert_eq!(traffic.pods, [("n/p".parse().unwrap(), work)].into());
        let asked = prometheus.asked.lock().unwrap().clone();
        let busy = "sum by (namespace, pod) (increase(spotscale_inference_busy_seconds_total[600000ms])) >= 300";
        assert!(asked.iter().any(|query| query == busy), "{asked:?}");
    }

    #[tokio::test]
    async fn a_refusal_leaves_what_was_counted_to_grow_old() {
        let prometheus = StandIn::default();
        let labels: &[_] = &[("namespace", "n"), ("pod", "p")];
        let sound = |busy: &str| {
            [
                ("stage_seconds_count", StatusCode::OK, vector(&[(labels, "1000")])),
                ("busy_seconds_total", StatusCode::OK, vector(&[(labels, busy)])),
            ]
        };
        prometheus.says(sound("400"));
        let counts = start(&prometheus.start().await);
        let known = news(&counts, None).await.pods;
        let refused = json!({ "status": "error", "errorType": "execution", "error": "too many" });
        let [requests, _] = sound("500");
        prometheus
            .says([requests, ("busy_seconds_total", StatusCode::UNPROCESSABLE_ENTITY, refused)]);
        let asked = prometheus.asked.lock().unwrap().len();
        let again = async {
            while prometheus.asked.lock().unwrap().len() < asked + 8 {
                sleep(Duration::from_millis(20)).await;
            }
        };
        timeout(Duration::from_mins(1), again).await.expect("it was asked no more");
        let old = counts.now().unwrap();
        assert_eq!(old.pods, known);
        assert!(old.age_ms >= Millis(100), "{old:?}");
        prometheus.says(sound("500"));
        let work = news(&counts, Some(&known)).await.pods.into_values().next().unwrap();
        assert_eq!(work.busy_ms, Millis(500_000));
    }
}
