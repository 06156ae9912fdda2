//! The console: one page that shows local mode live, and the three calls behind it. The page is
//! plain HTML, CSS and JavaScript from this binary: nothing is built, nothing comes from elsewhere,
//! and it works without a network.

mod classify;
mod events;

use axum::{
    Json, Router,
    extract::State,
    http::{HeaderValue, header},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::view::View;
use classify::Front;
use events::Streams;

const HTML: &str = include_str!("page/index.html");
const CSS: &str = include_str!("page/console.css");
const JS: &str = include_str!("page/console.js");
/// The page may run its own script and speak to its own server; a picture that is about to be sent
/// is a `blob:`.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src blob: data:; \
                      connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

#[derive(Clone)]
struct Console {
    views: watch::Receiver<View>,
    streams: Streams,
    front: Front,
}

/// The console's routes: `/`, `/api/view`, `/api/events`, `/api/classify`. Open event streams end
/// with `shutdown`.
pub(crate) fn router(views: watch::Receiver<View>, shutdown: CancellationToken) -> Router {
    let console = Console { views, streams: Streams::new(shutdown), front: Front::new() };
    Router::new()
        .route("/", get(async || file("text/html; charset=utf-8", HTML)))
        .route("/console.css", get(async || file("text/css; charset=utf-8", CSS)))
        .route("/console.js", get(async || file("text/javascript; charset=utf-8", JS)))
        .route("/api/view", get(view))
        .route("/api/events", get(events::stream))
        .route("/api/classify", post(classify::forward).layer(classify::body_limit()))
        .with_state(console)
}

fn file(content_type: &'static str, text: &'static str) -> Response {
    let headers = [
        (header::CONTENT_TYPE, content_type),
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        // Another build on the same port must not be shown with this build's script.
        (header::CACHE_CONTROL, "no-store"),
    ]
    .map(|(name, value)| (name, HeaderValue::from_static(value)));
    (headers, text).into_response()
}

async fn view(State(console): State<Console>) -> Json<View> {
    Json(console.views.borrow().clone())
}

#[cfg(test)]
mod tests;
