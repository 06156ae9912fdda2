//! `/debug/scaler`: what is known of every ScaledObject, what was decided, and why.

use std::{collections::BTreeMap, sync::Arc};

use axum::{Json, Router, extract::State, routing::get};
use serde::Serialize;
use spotscale_decide::{
    replicas::{Memory, Reason},
    units::Millis,
};

use super::{
    board::Board,
    object::{Object, Service},
    signals::{Query, Reading},
    snapshot::Snapshot,
    trigger::Trigger,
};

/// The page.
#[derive(Serialize)]
struct Page {
    /// Milliseconds since 1970, as every other time here.
    now: Millis,
    objects: Vec<Explained>,
    services: BTreeMap<String, u32>,
}

/// One trigger of a ScaledObject: what it asks for, what was seen, what was decided, and why.
#[derive(Serialize)]
struct Explained {
    namespace: String,
    name: String,
    trigger: Trigger,
    snapshot: Arc<Snapshot>,
    /// How old each signal is now, in milliseconds.
    ages_ms: BTreeMap<&'static str, Millis>,
    readings: Vec<QueryReading>,
    /// The reasons as sentences.
    because: Vec<String>,
    /// What to know of the readings, where they may be older than they seem.
    caution: Option<String>,
    memory: Memory,
}

#[derive(Serialize)]
struct QueryReading {
    query: Query,
    #[serde(flatten)]
    reading: Reading,
}

/// The routes that the admin port gets beside its own.
pub(crate) fn routes(board: Arc<Board>) -> Router {
    Router::new().route("/debug/scaler", get(page)).with_state(board)
}

async fn page(State(board): State<Arc<Board>>) -> Json<Page> {
    let now = board.clock.now();
    let fronts = |service: &Service| service.demand(now).map_or(0, |demand| demand.value.fronts);
    Json(Page {
        now,
        objects: board.objects().iter().map(|object| explain(&board, object, now)).collect(),
        services: board.services().iter().map(|(name, one)| (name.clone(), fronts(one))).collect(),
    })
}

fn explain(board: &Board, object: &Object, now: Millis) -> Explained {
    let snapshot = object.snapshot();
    let readings = object
        .trigger
        .queries()
        .into_iter()
        .map(|query| QueryReading { query: query.clone(), reading: board.readings.get(query) });
    Explained {
        namespace: object.key.namespace.clone(),
        name: object.key.name.clone(),
        trigger: object.trigger.clone(),
        ages_ms: snapshot.ages(now).collect(),
        caution: board.readings.caution().filter(|_| readings.len() > 0),
        readings: readings.collect(),
        because: snapshot.decision.reasons.iter().map(Reason::to_string).collect(),
        memory: object.memory(),
        snapshot,
    }
}
