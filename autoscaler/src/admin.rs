//! What the daemon tells over HTTP: whether it is well, `/metrics`, `/debug/plan`, the whole state as JSON, and of the
//! money `/debug/ledger`, all that it is made from, and `/ledger.csv`, day by day.

use std::{fmt::Display, sync::Arc};

use axum::{
    Json, Router,
    extract::State as From,
    http::{StatusCode, header::CONTENT_TYPE},
    response::{IntoResponse, Response},
    routing::get,
};
use prometheus_client::registry::Registry;
use tokio::task::spawn_blocking;

use crate::{
    accounts::{Books, SharedBooks},
    focus,
    metrics::Metrics,
    state::{Role, States},
};

const NOTHING_SEEN: &str = "nothing was observed yet";
const STANDS_BY: &str =
    "this replica does not lead and knows nothing of the money: ask the one that the Lease names";
const NO_LEDGER: &str =
    "the saved ledger is not loaded yet, or how many pods fit on a machine is not known";

/// What is told of.
#[derive(Clone)]
pub(crate) struct Shown {
    pub(crate) states: States,
    pub(crate) books: SharedBooks,
    pub(crate) metrics: Metrics,
    pub(crate) registry: Arc<Registry>,
}

pub(crate) fn router(shown: Shown) -> Router {
    Router::new()
        .route("/healthz", get(spotscale_admin::healthz))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics))
        .route("/debug/plan", get(plan))
        .route("/debug/ledger", get(ledger))
        .route("/ledger.csv", get(ledger_csv))
        .with_state(shown)
}

/// Ready is who has seen the cluster; one that waits for its turn to lead is ready to.
async fn readyz(From(shown): From<Shown>) -> Response {
    let seen = shown.states.borrow().is_some();
    spotscale_admin::readiness(if seen { Ok(()) } else { Err(NOTHING_SEEN) })
}

/// The sums are worked out when they are asked for: at every tick they would be the longest part of it.
async fn metrics(From(shown): From<Shown>) -> Response {
    let told = spawn_blocking(move || {
        if let Some(books) = shown.books.read() {
            shown.metrics.money(&books.totals());
        }
        spotscale_admin::metrics(&shown.registry)
    });
    told.await.unwrap_or_else(failed)
}

async fn plan(From(shown): From<Shown>) -> Response {
    let Some(state) = shown.states.borrow().clone() else {
        return not_now(NOTHING_SEEN);
    };
    // Megabytes of a large cluster are written down beside the loop, not between two of its ticks.
    match spawn_blocking(move || serde_json::to_vec(&*state)).await {
        Ok(Ok(json)) => ([(CONTENT_TYPE, "application/json")], json).into_response(),
        Ok(Err(error)) => failed(error),
        Err(error) => failed(error),
    }
}

async fn ledger(From(shown): From<Shown>) -> Response {
    shown.tell(|books| Json(books).into_response()).await
}

async fn ledger_csv(From(shown): From<Shown>) -> Response {
    let csv = |books: &Books| match focus::csv(&books.rows()) {
        Ok(csv) => {
            ([(CONTENT_TYPE, "text/csv; charset=utf-8; header=present")], csv).into_response()
        }
        Err(error) => failed(error),
    };
    shown.tell(csv).await
}

impl Shown {
    /// Tells of the money, if that can be. A long ledger takes a while to write down: that holds up nobody.
    async fn tell(self, page: impl FnOnce(&Books) -> Response + Send + 'static) -> Response {
        let role = self.states.borrow().as_ref().map(|state| state.role);
        let told = spawn_blocking(move || self.books.read().map(|books| page(&books))).await;
        match (told, role) {
            (Ok(Some(response)), _) => response,
            (_, None) => not_now(NOTHING_SEEN),
            (_, Some(Role::Standby)) => not_now(STANDS_BY),
            (_, Some(Role::Leader | Role::DryRun)) => not_now(NO_LEDGER),
        }
    }
}

fn failed(error: impl Display) -> Response {
    (StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")).into_response()
}

fn not_now(why: &str) -> Response {
    (StatusCode::SERVICE_UNAVAILABLE, format!("{why}\n")).into_response()
}
