//! The pages that every role has: `/healthz`, `/readyz`, `/metrics`. [`Admin`] puts them on a port of their own, never the
//! one that serves the role's traffic; a role with other needs takes the answers alone.

use std::{future::IntoFuture as _, sync::Arc, time::Duration};

use axum::{
    Router,
    extract::State,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};
use prometheus_client::{encoding::text::encode, registry::Registry};
use tokio::{net::TcpListener, sync::watch};
use tokio_util::sync::CancellationToken;

const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// For answers that are under way at the end. A request that only half arrives has no end of its own.
const LAST_ANSWERS: Duration = Duration::from_secs(1);

/// What the admin port shows.
#[derive(Clone)]
pub struct Admin {
    /// `Ok` when the role takes traffic, else why not, in a few words.
    pub ready: watch::Receiver<Result<(), &'static str>>,
    /// The role's metrics.
    pub registry: Arc<Registry>,
}

impl Admin {
    /// The routes, for a role that adds its own `/debug` pages beside them.
    pub fn router(self) -> Router {
        Router::new()
            .route("/healthz", get(healthz))
            .route("/readyz", get(readyz))
            .route("/metrics", get(page))
            .with_state(self)
    }
}

/// Serves `router` until `shutdown`, and answers what has been asked by then for up to a second.
///
/// # Errors
/// Only when the listener fails for good.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    shutdown: CancellationToken,
) -> std::io::Result<()> {
    let stops = shutdown.clone().cancelled_owned();
    let serving = axum::serve(listener, router).with_graceful_shutdown(stops).into_future();
    let is_late = async {
        shutdown.cancelled().await;
        tokio::time::sleep(LAST_ANSWERS).await;
    };
    tokio::select! {
        ended = serving => ended,
        () = is_late => Ok(()),
    }
}

/// The answer of `/healthz`: whoever reads it knows that the process lives.
pub async fn healthz() -> &'static str {
    "ok\n"
}

/// The answer of `/readyz`: 200, or 503 with why not.
pub fn readiness(ready: Result<(), &'static str>) -> Response {
    match ready {
        Ok(()) => "ok\n".into_response(),
        Err(why) => (StatusCode::SERVICE_UNAVAILABLE, format!("{why}\n")).into_response(),
    }
}

/// The answer of `/metrics`.
pub fn metrics(registry: &Registry) -> Response {
    let mut text = String::new();
    match encode(&mut text, registry) {
        Ok(()) => openmetrics(text),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}

/// An answer whose text is an `OpenMetrics` page already.
pub fn openmetrics(page: String) -> Response {
    ([(header::CONTENT_TYPE, OPENMETRICS)], page).into_response()
}

async fn readyz(State(admin): State<Admin>) -> Response {
    readiness(*admin.ready.borrow())
}

async fn page(State(admin): State<Admin>) -> Response {
    metrics(&admin.registry)
}

#[cfg(test)]
mod tests;
