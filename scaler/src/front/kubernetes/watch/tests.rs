//! An API server that says that what the watch has seen last is too old (410), as after a compaction of etcd.

use std::sync::atomic::{AtomicUsize, Ordering};

use axum::{
    Json, Router,
    body::{Body, Bytes},
    extract::{RawQuery, State as Shared},
    http::StatusCode,
    response::{IntoResponse as _, Response},
    routing::get,
};
use futures::{StreamExt as _, stream};
use k8s_openapi::api::core::v1::Node;
use kube::{Client, ResourceExt as _};
use prometheus_client::registry::Registry;
use serde_json::json;
use tokio::net::TcpListener;

use super::*;

const PATIENCE: Duration = Duration::from_secs(20);

/// How it tells.
#[derive(Debug, Clone, Copy)]
enum Gone {
    /// In a watch that has begun.
    Event,
    /// Instead of the watch.
    Answer,
}

/// Knows the node `old` until its first watch has failed, and `new` from then on.
struct ApiServer {
    gone: Gone,
    lists: AtomicUsize,
    watches: AtomicUsize,
}

impl ApiServer {
    async fn start(gone: Gone) -> (Arc<Self>, Client) {
        let server = Arc::new(Self { gone, lists: 0.into(), watches: 0.into() });
        let routes = Router::new().route("/api/v1/nodes", get(nodes)).with_state(server.clone());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap()).parse().unwrap();
        tokio::spawn(async move { axum::serve(listener, routes).await });
        (server, Client::try_from(kube::Config::new(url)).unwrap())
    }
}

async fn nodes(Shared(server): Shared<Arc<ApiServer>>, RawQuery(query): RawQuery) -> Response {
    if !query.unwrap_or_default().contains("watch=true") {
        let (name, version) = if server.lists.fetch_add(1, Ordering::SeqCst) == 0 {
            ("old", "1")
        } else {
            ("new", "9")
        };
        return Json(json!({
            "kind": "NodeList", "apiVersion": "v1", "metadata": { "resourceVersion": version },
            "items": [{ "metadata": { "name": name, "resourceVersion": version } }],
        }))
        .into_response();
    }
    if server.watches.fetch_add(1, Ordering::SeqCst) > 0 {
        return Body::from_stream(stream::pending::<Result<Bytes, std::io::Error>>())
            .into_response();
    }
    let status = json!({
        "kind": "Status", "apiVersion": "v1", "status": "Failure", "code": 410, "reason": "Expired",
        "message": "too old resource version: 1 (9)", "metadata": {},
    });
    match server.gone {
        Gone::Answer => (StatusCode::GONE, Json(status)).into_response(),
        Gone::Event => {
            let event = json!({ "type": "ERROR", "object": status }).to_string() + "\n";
            let begun = stream::iter([Ok::<_, std::io::Error>(Bytes::from(event))]);
            Body::from_stream(begun.chain(stream::pending())).into_response()
        }
    }
}

fn names(store: &Store<Node>) -> Vec<String> {
    store.state().iter().map(|node| node.name_any()).collect()
}

#[tokio::test]
async fn a_watch_that_is_too_old_is_listed_anew_and_knows_what_it_missed() {
    for gone in [Gone::Event, Gone::Answer] {
        let (server, client) = ApiServer::start(gone).await;
        let metrics = Metrics::register(&mut Registry::default());
        let (tasks, end) = (TaskTracker::new(), CancellationToken::new());
        let (news, mut changes) = watch::channel(());
        let mut watches =
            Watches { metrics: &metrics, tasks: &tasks, end: &end, news, started: Vec::new() };
        let wanted = watcher::Config::default();
        let store = watches.start(Api::<Node>::all(client), wanted, ("nodes", ""), |_| {});
        let (name, contact) = watches.started.pop().unwrap();
        let mut seen: Vec<Vec<String>> = Vec::new();
        let listed_anew = async {
            while seen.last().is_none_or(|names| names != &["new"]) {
                changes.changed().await.unwrap();
                seen.push(names(&store));
            }
        };
        tokio::time::timeout(PATIENCE, listed_anew).await.unwrap_or_else(|_| panic!("{gone:?}"));
        assert!(
            seen.iter().all(|names| names.len() == 1),
            "{gone:?}: it forgot in between: {seen:?}"
        );
        assert!(contact.is_listed() && contact.stale() == Duration::ZERO, "{gone:?}");
        assert_eq!(metrics.failures(&name).get(), 1, "{gone:?}");
        assert!(server.lists.load(Ordering::SeqCst) >= 2, "{gone:?}");
        end.cancel();
    }
}
