//! A Prometheus that says what a test wants, up to nothing at all. `tests/conformance` has the real one.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::{Duration, SystemTime},
};

use axum::{
    Json, Router,
    extract::{RawQuery, State},
    http::{StatusCode, header::CONNECTION},
    response::{IntoResponse, Response},
    routing::get,
};
use serde_json::{Value, json};
use tokio::{net::TcpListener, time::sleep};
use tokio_util::task::AbortOnDropHandle;

/// Nobody else of this machine listens here, so that its port is still free when it comes back.
const HOST: &str = "127.0.0.3:0";

/// What becomes of a query.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Says {
    /// One sample of now.
    Now(&'static str),
    /// The same, sampled so long ago.
    Old(&'static str, Duration),
    /// No series.
    Nothing,
    /// An internal error.
    Fails,
    /// The answer comes so late.
    Late(Duration),
    /// Nobody listens.
    Away,
}

/// One that can be told what to say.
pub(crate) struct Prometheus {
    address: SocketAddr,
    says: Arc<Mutex<Says>>,
    serving: Option<AbortOnDropHandle<()>>,
}

impl Prometheus {
    pub(crate) async fn start(says: Says) -> Self {
        let listener = TcpListener::bind(HOST).await.unwrap();
        let address = listener.local_addr().unwrap();
        let says = Arc::new(Mutex::new(says));
        let serving = Some(serve(listener, says.clone()));
        Self { address, says, serving }
    }

    /// The flag by which a scaler asks it.
    pub(crate) fn flag(&self) -> String {
        format!("--prometheus-url=http://{}", self.address)
    }

    /// What it says from now on.
    pub(crate) async fn says(&mut self, says: Says) {
        *self.says.lock().unwrap() = says;
        if matches!(says, Says::Away) {
            self.serving = None;
        } else if self.serving.is_none() {
            let listener = TcpListener::bind(self.address).await.unwrap();
            self.serving = Some(serve(listener, self.says.clone()));
        }
    }
}

fn serve(listener: TcpListener, says: Arc<Mutex<Says>>) -> AbortOnDropHandle<()> {
    let routes = Router::new().route("/api/v1/query", get(query)).with_state(says);
    let serving = async move { axum::serve(listener, routes).await.unwrap() };
    AbortOnDropHandle::new(tokio::spawn(serving))
}

/// A connection serves once: one that is kept would outlive the listener.
async fn query(says: State<Arc<Mutex<Says>>>, RawQuery(question): RawQuery) -> Response {
    let says = *says.lock().unwrap();
    let question = question.unwrap_or_default();
    ([(CONNECTION, "close")], answer(says, &question).await).into_response()
}

async fn answer(says: Says, question: &str) -> (StatusCode, Json<Value>) {
    let now = SystemTime::UNIX_EPOCH.elapsed().unwrap();
    let sample =
        |at: Duration, value| vec![json!({ "metric": {}, "value": [at.as_secs_f64(), value] })];
    if let Says::Late(pause) = says {
        sleep(pause).await;
    }
    let result = match says {
        Says::Fails | Says::Away => return refusal(StatusCode::INTERNAL_SERVER_ERROR, "internal"),
        // As 2.44 and later read it.
        _ if question.contains("lookback_delta=nonsense") => {
            return refusal(StatusCode::BAD_REQUEST, "bad_data");
        }
        Says::Nothing => Vec::new(),
        Says::Now(value) => sample(now, value),
        Says::Old(value, age) => sample(now.saturating_sub(age), value),
        Says::Late(_) => sample(now, "0"),
    };
    let data = json!({ "resultType": "vector", "result": result });
    (StatusCode::OK, Json(json!({ "status": "success", "data": data })))
}

fn refusal(status: StatusCode, kind: &str) -> (StatusCode, Json<Value>) {
    (status, Json(json!({ "status": "error", "errorType": kind, "error": "as the test wants it" })))
}
