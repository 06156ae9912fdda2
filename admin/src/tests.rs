//! The three pages over a real port.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use prometheus_client::metrics::counter::Counter;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use super::*;

struct Served {
    address: std::net::SocketAddr,
    ready: watch::Sender<Result<(), &'static str>>,
    shutdown: CancellationToken,
    ended: tokio::task::JoinHandle<std::io::Result<()>>,
}

async fn serve_one() -> Served {
    let (ready, watched) = watch::channel(Err("warming"));
    let mut registry = Registry::with_prefix("spotscale_test");
    registry.register("things", "Things done", Counter::<u64>::default());
    let admin = Admin { ready: watched, registry: Arc::new(registry) };
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let shutdown = CancellationToken::new();
    let ended = tokio::spawn(serve(listener, admin.router(), shutdown.clone()));
    Served { address, ready, shutdown, ended }
}

impl Served {
    async fn get(&self, path: &str) -> String {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nhost: test\r\nconnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    }
}

#[tokio::test]
async fn readiness_follows_the_role_and_health_does_not() {
    let served = serve_one().await;
    let not_yet = served.get("/readyz").await;
    assert!(not_yet.starts_with("HTTP/1.1 503") && not_yet.ends_with("warming\n"), "{not_yet}");
    assert!(served.get("/healthz").await.starts_with("HTTP/1.1 200"));
    served.ready.send(Ok(())).unwrap();
    assert!(served.get("/readyz").await.starts_with("HTTP/1.1 200"));
}

#[tokio::test]
async fn metrics_are_an_openmetrics_page() {
    let page = serve_one().await.get("/metrics").await;
    assert!(page.contains("content-type: application/openmetrics-text; version=1.0.0"), "{page}");
    assert!(page.contains("spotscale_test_things_total 0\n"), "{page}");
    assert!(page.ends_with("# EOF\n"), "{page}");
}

#[tokio::test]
async fn it_ends_when_it_is_told_to() {
    let served = serve_one().await;
    served.shutdown.cancel();
    served.ended.await.unwrap().unwrap();
    assert!(TcpStream::connect(served.address).await.is_err(), "still listening");
}

#[tokio::test]
async fn half_a_request_does_not_keep_it_from_ending() {
    let served = serve_one().await;
    let mut half = TcpStream::connect(served.address).await.unwrap();
    half.write_all(b"GET /healthz HTTP/1.1\r\nho").await.unwrap();
    // Accepted in order: whoever is answered after it shows that it is being read.
    served.get("/healthz").await;
    served.shutdown.cancel();
    let ended = tokio::time::timeout(std::time::Duration::from_secs(20), served.ended).await;
    ended.expect("it waits for the other half").unwrap().unwrap();
    drop(half);
}
