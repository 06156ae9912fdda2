//! What the daemon tells over HTTP: `/metrics`, and `/debug/plan`, the whole state as JSON.

use std::sync::Arc;

use axum::{
    Json, Router,
    extract::State as From,
    http::StatusCode,
    response::{IntoResponse, Response},
    routing::get,
};
use prometheus_client::registry::Registry;
use tokio::sync::watch;

use crate::state::State;

#[derive(Clone)]
struct Shown {
    states: watch::Receiver<Option<State>>,
    registry: Arc<Registry>,
}

pub(crate) fn router(states: watch::Receiver<Option<State>>, registry: Arc<Registry>) -> Router {
    Router::new()
        .route("/metrics", get(metrics))
        .route("/debug/plan", get(plan))
        .with_state(Shown { states, registry })
}

async fn metrics(From(shown): From<Shown>) -> Response {
    spotscale_admin::metrics(&shown.registry)
}

async fn plan(From(shown): From<Shown>) -> Response {
    let state = shown.states.borrow().clone();
    match state {
        Some(state) => Json(state).into_response(),
        None => (StatusCode::SERVICE_UNAVAILABLE, "nothing was observed yet\n").into_response(),
    }
}
