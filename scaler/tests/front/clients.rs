//! Clients: those that leave, and what reaches a replica of those that stay.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use http::Method;
use http_body_util::Full;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    sync::Semaphore,
};

use crate::{
    replicas::Replica,
    support::{Front, send},
};

/// What is promised is 100 ms; a busy machine and the polling of this test take the rest.
const FREED_MAX: Duration = Duration::from_secs(10);

const GONE: &str = r#"spotscale_front_requests_total{service="default",code="499",tier="none"}"#;

async fn until_metric(front: &Front, line: &str, value: f64) {
    for _ in 0..1000 {
        if (front.metric(line).await - value).abs() < f64::EPSILON {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("{line} never became {value}");
}

#[allow(clippy::print_stdout, reason = "the bound is loose: the time itself is of interest")]
fn freed(what: &str, left: Instant) {
    let took = left.elapsed();
    println!("{what} was free {took:?} after its client had left");
    assert!(took < FREED_MAX, "{what} was kept for {took:?}");
}

#[tokio::test]
async fn x09_a_client_that_leaves_while_held_frees_its_place_and_counts_as_499() {
    let front = Front::start(&[]).await;
    let heads = [
        "GET / HTTP/1.1\r\nhost: a\r\n\r\n",
        "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 4\r\n\r\nbody",
        "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 9999\r\n\r\nthe beginning",
        "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n4\r\nbody\r\n",
    ];
    for (n, head) in heads.into_iter().enumerate() {
        let mut stream = TcpStream::connect(front.address).await.unwrap();
        stream.write_all(head.as_bytes()).await.unwrap();
        front.until_held(1).await;
        let left = Instant::now();
        drop(stream);
        front.until_held(0).await;
        freed("a place in the line", left);
        until_metric(&front, GONE, n as f64 + 1.0).await;
    }
}

#[tokio::test]
async fn a_client_that_leaves_while_served_frees_its_slot() {
    let front = Front::start(&["--concurrency", "1"]).await;
    let permits = Arc::new(Semaphore::new(0));
    let replica = Replica::echo(Arc::clone(&permits)).await;
    front.list(&[replica.url()]);
    front.until_ready(1).await;
    let mut stream = TcpStream::connect(front.address).await.unwrap();
    stream.write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n").await.unwrap();
    front.until(|services| services[0]["in_flight"] == 1).await;
    let left = Instant::now();
    drop(stream);
    front.until(|services| services[0]["in_flight"] == 0).await;
    freed("a slot", left);
    until_metric(&front, &GONE.replace("none", "gpu"), 1.0).await;
    permits.add_permits(2);
    assert_eq!(front.get("/").await.status, 200);
}

#[tokio::test]
async fn a_replica_learns_who_asked_and_nothing_of_the_connection() {
    let front = Front::start(&[]).await;
    let replica = Replica::quick().await;
    front.list(&[replica.url()]);
    let request = front
        .request(Method::GET, "/healthz")
        .header("host", "models.example")
        .header("connection", "x-private")
        .header("x-private", "1");
    let answer = send(request.body(Full::default()).unwrap()).await;
    assert_eq!(&answer.body[..], b"GET /healthz ", "the service's own path was taken from it");
    assert_eq!(answer.header("x-saw-host"), Some("models.example"));
    assert_eq!(answer.header("x-saw-x-forwarded-host"), Some("models.example"));
    assert_eq!(answer.header("x-saw-x-forwarded-for"), Some("127.0.0.1"));
    assert_eq!(answer.header("x-saw-x-forwarded-proto"), Some("http"));
    assert_eq!(answer.header("x-saw-x-private"), None);
    let id = answer.header("x-request-id").unwrap();
    assert_eq!((id.len(), answer.header("x-saw-x-request-id")), (32, Some(id)));
}

#[tokio::test]
async fn a_body_is_asked_for_only_when_its_request_is_let_in() {
    const HEAD: &[u8] =
        b"POST / HTTP/1.1\r\nhost: a\r\nexpect: 100-continue\r\ncontent-length: 4\r\n\r\n";
    let front = Front::start(&["--hold-requests", "1"]).await;
    let replica = Replica::quick().await;
    let mut held = TcpStream::connect(front.address).await.unwrap();
    held.write_all(HEAD).await.unwrap();
    assert_eq!(first_line(&mut held).await, "HTTP/1.1 100 Continue");
    let mut refused = TcpStream::connect(front.address).await.unwrap();
    refused.write_all(HEAD).await.unwrap();
    assert_eq!(first_line(&mut refused).await, "HTTP/1.1 503 Service Unavailable");
    front.list(&[replica.url()]);
    held.write_all(b"body").await.unwrap();
    assert_eq!(first_line(&mut held).await, "HTTP/1.1 200 OK");
}

async fn first_line(stream: &mut TcpStream) -> String {
    let mut said = vec![0; 4096];
    let read = stream.read(&mut said);
    let length = tokio::time::timeout(crate::support::PATIENCE, read).await.unwrap().unwrap();
    let said = String::from_utf8_lossy(&said[..length]).into_owned();
    said.lines().next().unwrap_or_default().to_owned()
}
