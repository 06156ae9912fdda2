//! The console's port beside the console: `/healthz`, and `/metrics` with what all roles tell, so that one Prometheus
//! target is enough for local mode.

use std::net::SocketAddr;

use axum::{
    Router,
    extract::State,
    http::StatusCode,
    response::{IntoResponse, Response},
    routing::get,
};
use spotscale_admin::{healthz, openmetrics};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::loopback;

const END: &str = "# EOF\n";

/// The routes; `roles` are the admin ports.
pub(super) fn router(roles: Vec<SocketAddr>) -> Router {
    Router::new().route("/healthz", get(healthz)).route("/metrics", get(metrics)).with_state(roles)
}

/// Serves until `shutdown`; streams that are open then are cut.
pub(super) async fn serve(
    listener: TcpListener,
    router: Router,
    shutdown: CancellationToken,
) -> std::io::Result<()> {
    let serving = async { axum::serve(listener, router).await };
    shutdown.run_until_cancelled(serving).await.unwrap_or(Ok(()))
}

/// The pages of all roles, one after the other: their names differ by prefix.
async fn metrics(State(roles): State<Vec<SocketAddr>>) -> Response {
    let mut all = String::new();
    for role in roles {
        match loopback::get(role, "/metrics").await {
            Ok((StatusCode::OK, page)) => {
                let page = String::from_utf8_lossy(&page);
                all.push_str(page.strip_suffix(END).unwrap_or(&page));
            }
            Ok((status, _)) => {
                return (StatusCode::BAD_GATEWAY, status.to_string()).into_response();
            }
            Err(error) => return (StatusCode::BAD_GATEWAY, error.to_string()).into_response(),
        }
    }
    all.push_str(END);
    openmetrics(all)
}
