//! Views as server-sent events: each change once, the newest only, to a bounded number of pages.

use std::{sync::Arc, time::Duration};

use axum::{
    extract::State,
    http::StatusCode,
    response::{
        IntoResponse, Response, Sse,
        sse::{Event, KeepAlive},
    },
};
use futures::StreamExt;
use tokio::sync::Semaphore;
use tokio_stream::wrappers::WatchStream;
use tokio_util::sync::CancellationToken;

use super::Console;

const STREAMS_MAX: usize = 32;
/// Shorter than what proxies and laptops' routers commonly cut off.
const KEEP_ALIVE: Duration = Duration::from_secs(10);

/// What bounds the open streams and ends them.
#[derive(Clone)]
pub(super) struct Streams {
    places: Arc<Semaphore>,
    shutdown: CancellationToken,
}

impl Streams {
    pub(super) fn new(shutdown: CancellationToken) -> Self {
        Self { places: Arc::new(Semaphore::new(STREAMS_MAX)), shutdown }
    }
}

pub(super) async fn stream(State(console): State<Console>) -> Response {
    let Ok(place) = Arc::clone(&console.streams.places).try_acquire_owned() else {
        return (StatusCode::SERVICE_UNAVAILABLE, "too many open consoles\n").into_response();
    };
    let ended = console.streams.shutdown.clone().cancelled_owned();
    let events = WatchStream::new(console.views)
        .map(move |view| {
            // The place is the stream's: it is free again when the page is closed.
            let _held = &place;
            Event::default().json_data(view)
        })
        .take_until(ended);
    Sse::new(events).keep_alive(KeepAlive::new().interval(KEEP_ALIVE)).into_response()
}
