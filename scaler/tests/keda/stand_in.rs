//! A stand-in for Prometheus' query API, which answers as a test wants.

use std::{
    collections::BTreeSet,
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, SystemTime},
};

use axum::{
    Json, Router,
    extract::{RawQuery, State},
    http::StatusCode,
    response::{IntoResponse, Response},
    routing::get,
};
use serde_json::{Value, json};
use spotscale_scaler::keda::Config;
use tokio::net::TcpListener;

use crate::harness::config;

/// How the stand-in answers every query.
#[derive(Clone)]
pub(crate) enum Answer {
    Series(Vec<&'static str>),
    SampledAgo(Duration),
    Fails,
    Hangs,
}

/// A stand-in for Prometheus' query API.
#[derive(Clone)]
pub(crate) struct Prometheus {
    address: SocketAddr,
    answer: Arc<Mutex<Answer>>,
    /// It has never heard of `lookback_delta`.
    pub(crate) is_old: Arc<AtomicBool>,
    pub(crate) asked: Arc<Mutex<BTreeSet<String>>>,
}

impl Prometheus {
    pub(crate) async fn start(answer: Answer) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let answer = Arc::new(Mutex::new(answer));
        let started = Self { address, answer, is_old: Arc::default(), asked: Arc::default() };
        let routes = Router::new()
            .route("/api/v1/query", get(query).post(query))
            .route("/api/v1/status/buildinfo", get(build_information))
            .with_state(started.clone());
        tokio::spawn(async move { axum::serve(listener, routes).await });
        started
    }

    pub(crate) fn answers(&self, answer: Answer) {
        *self.answer.lock().unwrap() = answer;
    }

    fn answer_nonsense(&self) -> Response {
        if matches!(*self.answer.lock().unwrap(), Answer::Fails) {
            return StatusCode::INTERNAL_SERVER_ERROR.into_response();
        }
        if self.is_old.load(Ordering::SeqCst) {
            let data = json!({ "resultType": "scalar", "result": [1.0, "1"] });
            return Json(json!({ "status": "success", "data": data })).into_response();
        }
        let error = json!({ "status": "error", "errorType": "bad_data", "error": "no duration" });
        (StatusCode::BAD_REQUEST, Json(error)).into_response()
    }

    pub(crate) fn config(&self) -> Config {
        let mut config = config();
        config.prometheus.url = Some(format!("http://{}", self.address));
        config.prometheus.interval = "50ms".parse().unwrap();
        config.prometheus.timeout = "300ms".parse().unwrap();
        config
    }
}

async fn query(State(prometheus): State<Prometheus>, RawQuery(question): RawQuery) -> Response {
    let question = question.unwrap_or_default();
    if question.contains("lookback_delta=nonsense") {
        return prometheus.answer_nonsense();
    }
    prometheus.asked.lock().unwrap().insert(question);
    let answer = prometheus.answer.lock().unwrap().clone();
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

async fn build_information() -> Json<Value> {
    let about = json!({
        "version": "2.42.0+ds", "revision": "r", "branch": "b", "buildUser": "u",
        "buildDate": "20260604-00:58:54", "goVersion": "go1.19.8",
    });
    Json(json!({ "status": "success", "data": about }))
}
