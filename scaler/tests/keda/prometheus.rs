//! Slow signals: a Prometheus that answers well, badly, late or not at all.
#![allow(clippy::float_cmp, reason = "whole numbers pass through unchanged")]

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::{Duration, Instant, SystemTime},
};

use axum::{
    Json, Router,
    extract::State,
    http::StatusCode,
    response::{IntoResponse, Response},
    routing::get,
};
use serde_json::{Value, json};
use spotscale_scaler::keda::Config;
use tokio::net::TcpListener;
use tonic::Code;

use crate::harness::*;

/// How the stand-in answers every query.
#[derive(Clone)]
enum Answer {
    Series(Vec<&'static str>),
    SampledAgo(Duration),
    Fails,
    Hangs,
}

/// A stand-in for Prometheus' query API.
struct Prometheus {
    address: SocketAddr,
    answer: Arc<Mutex<Answer>>,
}

impl Prometheus {
    async fn start(answer: Answer) -> Self {
        let answer = Arc::new(Mutex::new(answer));
        let routes =
            Router::new().route("/api/v1/query", get(query).post(query)).with_state(answer.clone());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move { axum::serve(listener, routes).await });
        Self { address, answer }
    }

    fn answers(&self, answer: Answer) {
        *self.answer.lock().unwrap() = answer;
    }

    fn config(&self) -> Config {
        let mut config = config();
        config.prometheus.url = Some(format!("http://{}", self.address));
        config.prometheus.interval = "50ms".parse().unwrap();
        config.prometheus.timeout = "300ms".parse().unwrap();
        config
    }
}

async fn query(State(answer): State<Arc<Mutex<Answer>>>) -> Response {
    let answer = answer.lock().unwrap().clone();
    let now = SystemTime::UNIX_EPOCH.elapsed().unwrap().as_secs_f64();
    let series = |at: f64, value: &str| json!({ "metric": {}, "value": [at, value] });
    let result: Vec<Value> = match answer {
        Answer::Fails => return StatusCode::INTERNAL_SERVER_ERROR.into_response(),
        Answer::Hangs => return std::future::pending().await,
        Answer::Series(values) => values.into_iter().map(|value| series(now, value)).collect(),
        Answer::SampledAgo(age) => vec![series(now - age.as_secs_f64(), "0.5")],
    };
    let data = json!({ "resultType": "vector", "result": result });
    Json(json!({ "status": "success", "data": data })).into_response()
}

/// Looks at the explanation until it fits.
async fn until(server: &Server, fits: impl Fn(&Value) -> bool) -> Value {
    let mut page = Value::Null;
    let looked = tokio::time::timeout(PATIENCE, async {
        loop {
            page = explanation(server).await;
            if fits(&page["objects"][0]) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    });
    assert!(looked.await.is_ok(), "the last page was {page:#}");
    page["objects"][0].take()
}

#[tokio::test]
async fn gpu_utilisation_and_price_reach_the_decision() {
    let prometheus = Prometheus::start(Answer::Series(vec!["0.25"])).await;
    let server = Server::start_with(prometheus.config()).await;
    let (mut keda, mut front) = (server.keda().await, server.front("a").await);
    front.says(vec![demand("resnet", 1, 0)]).await;
    let metadata = [("gpuQuery", "gpu"), ("priceQuery", "spot"), ("onDemandUsdPerHour", "0.5")];
    keda.get_metric_spec(trigger("resnet", &metadata)).await.unwrap();
    let signals = |object: &Value| object["snapshot"]["signals"].clone();
    let object = until(&server, |object| {
        let signals = signals(object);
        !signals["gpu"].is_null() && !signals["price"].is_null()
    })
    .await;
    assert_eq!(signals(&object)["gpu"]["value"], 0.25);
    assert_eq!(signals(&object)["price"]["value"], 0.5);
}

#[tokio::test]
async fn what_is_no_reading_is_a_reason_and_the_last_good_one_stays() {
    let prometheus = Prometheus::start(Answer::Series(vec!["0.75"])).await;
    let server = Server::start_with(prometheus.config()).await;
    let mut keda = server.keda().await;
    keda.get_metric_spec(trigger("resnet", &[("gpuQuery", "gpu")])).await.unwrap();
    let reading = |object: &Value| object["readings"][0].clone();
    until(&server, |object| reading(object)["good"]["value"] == 0.75).await;
    for (answer, kind) in [
        (Answer::Series(vec!["NaN"]), "out_of_range"),
        (Answer::Series(vec!["+Inf"]), "out_of_range"),
        (Answer::Series(vec!["87"]), "out_of_range"),
        (Answer::Series(vec![]), "empty"),
        (Answer::Series(vec!["0.1", "0.2"]), "ambiguous"),
        (Answer::Fails, "request"),
        (Answer::Hangs, "timeout"),
    ] {
        prometheus.answers(answer);
        let object = until(&server, |object| reading(object)["trouble"]["kind"] == kind).await;
        assert_eq!(reading(&object)["good"]["value"], 0.75, "{kind} replaced the last good one");
    }
    prometheus.answers(Answer::Series(vec!["0.5"]));
    let object = until(&server, |object| reading(object)["good"]["value"] == 0.5).await;
    assert!(reading(&object)["trouble"].is_null());
}

#[tokio::test]
async fn an_old_sample_is_as_old_as_its_own_timestamp_says() {
    let prometheus = Prometheus::start(Answer::SampledAgo(Duration::from_mins(10))).await;
    let server = Server::start_with(prometheus.config()).await;
    let (mut keda, mut front) = (server.keda().await, server.front("a").await);
    front.says(vec![demand("resnet", 0, 4)]).await;
    let resnet = trigger("resnet", &[("gpuQuery", "gpu")]);
    keda.get_metric_spec(resnet.clone()).await.unwrap();
    let object = until(&server, |object| object["ages_ms"]["gpu"].is_u64()).await;
    let age = object["ages_ms"]["gpu"].as_u64().unwrap();
    assert!((599_000..700_000).contains(&age), "{age} ms");
}

#[tokio::test]
async fn checklist_06_a_hanging_prometheus_delays_no_call() {
    let prometheus = Prometheus::start(Answer::Hangs).await;
    let mut config = prometheus.config();
    config.prometheus.timeout = "60s".parse().unwrap();
    let server = Server::start_with(config).await;
    let (mut keda, mut front) = (server.keda().await, server.front("a").await);
    front.says(vec![demand("resnet", 1, 0)]).await;
    let resnet = trigger("resnet", &[("gpuQuery", "gpu")]);
    let asked = Instant::now();
    until_desired(&mut keda, &resnet, |value| value >= 1.0).await;
    for _ in 0..100 {
        desired(&mut keda, &resnet).await.unwrap();
    }
    assert!(asked.elapsed() < Duration::from_secs(15), "{:?}", asked.elapsed());
}

#[tokio::test]
async fn checklist_15_without_prometheus_nothing_shrinks_and_the_own_queue_still_wakes() {
    let prometheus = Prometheus::start(Answer::Fails).await;
    let server = Server::start_with(prometheus.config()).await;
    let (mut keda, mut front) = (server.keda().await, server.front("a").await);
    let warm = trigger("warm", &[("gpuQuery", "gpu")]);
    let asleep = trigger("asleep", &[("gpuQuery", "gpu")]);
    front.says(vec![demand("warm", 0, 4), demand("asleep", 0, 0)]).await;
    until_desired(&mut keda, &asleep, |value| value == 0.0).await;
    let held = desired(&mut keda, &warm).await.unwrap_err();
    assert_eq!(held.code(), Code::Unavailable, "{held}");
    assert!(held.message().contains("gpu"), "{held}");
    let mut stream = keda.stream_is_active(asleep.clone()).await.unwrap().into_inner();
    front.says(vec![demand("warm", 0, 4), demand("asleep", 1, 0)]).await;
    assert_eq!(pushed(&mut stream, PATIENCE).await, Some(true));
    until_desired(&mut keda, &asleep, |value| value >= 1.0).await;
}

#[tokio::test]
async fn checklist_15_the_last_good_value_counts_within_its_budget() {
    let prometheus = Prometheus::start(Answer::Series(vec!["0.5"])).await;
    let server = Server::start_with(prometheus.config()).await;
    let (mut keda, mut front) = (server.keda().await, server.front("a").await);
    let resnet = trigger("resnet", &[("gpuQuery", "gpu")]);
    front.says(vec![demand("resnet", 0, 4)]).await;
    keda.get_metric_spec(resnet.clone()).await.unwrap();
    until_desired(&mut keda, &resnet, |value| value == 4.0).await;
    prometheus.answers(Answer::Fails);
    until(&server, |object| object["readings"][0]["trouble"]["kind"] == "request").await;
    assert_eq!(desired(&mut keda, &resnet).await.unwrap(), 4.0);
}
