//! What the daemon tells over HTTP: whether it is well, `/metrics`, and `/debug/plan`, the whole state as JSON.

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

const NOTHING_SEEN: &str = "nothing was observed yet";

#[derive(Clone)]
struct Shown {
    states: watch::Receiver<Option<State>>,
    registry: Arc<Registry>,
}

pub(crate) fn router(states: watch::Receiver<Option<State>>, registry: Arc<Registry>) -> Router {
    Router::new()
        .route("/healthz", get(spotscale_admin::healthz))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics))
        .route("/debug/plan", get(plan))
        .with_state(Shown { states, registry })
}

/// Ready is who has seen the cluster; one that waits for its turn to lead is ready to.
async fn readyz(From(shown): From<Shown>) -> Response {
    let seen = shown.states.borrow().is_some();
    spotscale_admin::readiness(if seen { Ok(()) } else { Err(NOTHING_SEEN) })
}

async fn metrics(From(shown): From<Shown>) -> Response {
    spotscale_admin::metrics(&shown.registry)
}

async fn plan(From(shown): From<Shown>) -> Response {
    let state = shown.states.borrow().clone();
    match state {
        Some(state) => Json(state).into_response(),
        None => (StatusCode::SERVICE_UNAVAILABLE, format!("{NOTHING_SEEN}\n")).into_response(),
    }
}
