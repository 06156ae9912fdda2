//! The HTTP port: classification for people, the open inference protocol v2 for clients, probes,
//! metrics.

mod body;
mod classify;
mod error;
mod listen;
mod unread;
mod v2;
mod v2_wire;

#[cfg(test)]
mod tests;

use std::sync::Arc;

use axum::{
    Router,
    extract::{DefaultBodyLimit, Request, State},
    http::StatusCode,
    middleware::{self, Next},
    response::Response,
    routing::{get, post},
};
use spotscale_admin::{healthz, readiness};

use crate::{error::ServeError, service::Service};

pub(crate) use self::{error::status, listen::serve};

/// All routes.
pub(crate) fn router(service: Arc<Service>) -> Router {
    let limited = middleware::from_fn_with_state(Arc::clone(&service), limit);
    let inference = Router::new()
        .route("/v1/classify", post(classify::classify))
        .route("/v2/models/{model}/infer", post(v2::infer))
        .route("/v2/models/{model}/versions/{version}/infer", post(v2::infer))
        // `body::read` keeps --max-body; axum's own 2 MB would cut forms short of it.
        .layer(DefaultBodyLimit::disable())
        .layer(limited);
    Router::new()
        .route("/healthz", get(healthz))
        .route("/readyz", get(ready))
        .route("/metrics", get(metrics))
        .route("/v2", get(v2::server_metadata))
        .route("/v2/health/live", get(|| async {}))
        .route("/v2/health/ready", get(ready))
        .route("/v2/models/{model}", get(v2::model_metadata))
        .route("/v2/models/{model}/versions/{version}", get(v2::model_metadata))
        .route("/v2/models/{model}/ready", get(v2::model_ready))
        .route("/v2/models/{model}/versions/{version}/ready", get(v2::model_ready))
        .merge(inference)
        .fallback(|| async { error::plain(StatusCode::NOT_FOUND, "no such page") })
        .method_not_allowed_fallback(|| async {
            error::plain(StatusCode::METHOD_NOT_ALLOWED, "not with this method")
        })
        .with_state(service)
}

/// Refuses what is beyond the limit before a byte of its body is read.
async fn limit(State(service): State<Arc<Service>>, request: Request, next: Next) -> Response {
    let Ok(_permit) = service.requests.try_acquire() else {
        let v2 = request.uri().path().starts_with("/v2");
        service.metrics.refused(if v2 { v2::PROTOCOL } else { classify::PROTOCOL });
        return if v2 { error::v2(&ServeError::Busy) } else { error::v1(&ServeError::Busy) };
    };
    next.run(request).await
}

async fn ready(State(service): State<Arc<Service>>) -> Response {
    readiness(service.ready())
}

async fn metrics(State(service): State<Arc<Service>>) -> Response {
    spotscale_admin::metrics(&service.metrics.registry)
}
