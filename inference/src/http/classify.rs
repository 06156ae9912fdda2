//! `POST /v1/classify`: a picture in, the best classes out.

use std::{sync::Arc, time::Duration, time::Instant};

use axum::{
    Json,
    extract::{Query, Request, State, rejection::QueryRejection},
    response::{IntoResponse, Response},
};
use serde::{Deserialize, Serialize};

use super::{body, error};
use crate::{
    error::ServeError,
    model::Model,
    scores,
    service::{Account, Service, TIMEOUT_HEADER, Timings, in_time},
};

/// How it is called in metrics.
pub(super) const PROTOCOL: &str = "v1";
const TOP_DEFAULT: usize = 5;

/// `?model=NAME[@VERSION]&top=N`.
#[derive(Debug, Deserialize)]
pub(super) struct Ask {
    model: Option<String>,
    top: Option<usize>,
}

#[derive(Debug, Serialize)]
struct Classified {
    model: String,
    version: String,
    weights: String,
    predictions: Vec<Prediction>,
    timings_ms: TimingsMs,
}

#[derive(Debug, Serialize)]
struct Prediction {
    index: usize,
    label: String,
    score: f32,
}

#[derive(Debug, Serialize)]
struct TimingsMs {
    queue: f64,
    decode: f64,
    inference: f64,
    total: f64,
}

pub(super) async fn classify(
    State(service): State<Arc<Service>>,
    ask: Result<Query<Ask>, QueryRejection>,
    request: Request,
) -> Response {
    let timeout = request.headers().get(TIMEOUT_HEADER).map(|v| v.to_str().unwrap_or("?"));
    let mut account = match service.open(PROTOCOL, timeout) {
        Ok(account) => account,
        Err(refused) => return error::v1(&refused),
    };
    let deadline = account.deadline();
    let ask = ask.map_err(|rejection| ServeError::Request(rejection.body_text()));
    let outcome = match ask {
        Ok(Query(ask)) => in_time(deadline, run(&service, &mut account, ask, request)).await,
        Err(refused) => Err(refused),
    };
    let response = match outcome {
        Ok(classified) => Json(classified).into_response(),
        Err(refused) => error::v1(&refused),
    };
    account.close(response.status().as_u16());
    response
}

async fn run(
    service: &Service,
    account: &mut Account,
    ask: Ask,
    request: Request,
) -> Result<Classified, ServeError> {
    let models = service.models()?;
    let (name, version) = match ask.model.as_deref().map(|text| text.split_once('@')) {
        Some(Some((name, version))) => (Some(name), Some(version)),
        Some(None) => (ask.model.as_deref(), None),
        None => (None, None),
    };
    let model = models.get(name, version)?;
    account.is_for(model);
    let top = ask.top.unwrap_or(TOP_DEFAULT);
    if top == 0 {
        return Err(ServeError::Request("top is at least 1".to_owned()));
    }
    let (parts, body) = request.into_parts();
    let body = body::read(&parts.headers, body, service.max_body).await?;
    let picture = body::picture(parts, body).await?;
    let room = model.queue.admit(1)?;
    let started = Instant::now();
    let tensor = service.decoding.tensor(picture).await?;
    let decoded = (tensor, started.elapsed());
    let (values, timings) = service.infer(account, model, room, decoded).await?;
    Ok(Classified::new(model, values, top, timings))
}

impl Classified {
    fn new(model: &Model, mut row: Vec<f32>, top: usize, timings: Timings) -> Self {
        model.probabilities(&mut row);
        let prediction = |best: scores::Ranked| Prediction {
            index: best.index,
            label: model.class(best.index).into_owned(),
            score: best.score,
        };
        Self {
            model: model.labels.model.clone(),
            version: model.labels.version.clone(),
            weights: model.weights.clone(),
            predictions: scores::top(&row, top).into_iter().map(prediction).collect(),
            timings_ms: TimingsMs {
                queue: ms(timings.queue),
                decode: ms(timings.decode),
                inference: ms(timings.inference),
                total: ms(timings.total),
            },
        }
    }
}

/// Milliseconds, to the microsecond.
fn ms(time: Duration) -> f64 {
    time.as_micros() as f64 / 1000.0
}
