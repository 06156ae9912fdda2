//! Client connections between requests: how long they may idle, how long a head may take, and how they are given up.

use std::time::Duration;

use http::Request;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::{
    replicas::Replica,
    support::{Front, PATIENCE},
};

const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nhost: a\r\n\r\n";
/// Longer than the short bounds of these tests.
const PAUSE: Duration = Duration::from_secs(2);

async fn front(flags: &[&str]) -> (Front, Replica) {
    let (front, replica) = (Front::start(flags).await, Replica::quick().await);
    front.list(&[replica.url()]);
    front.until_ready(1).await;
    (front, replica)
}

/// Reads once; nothing when the front has closed the connection.
async fn read(stream: &mut TcpStream) -> String {
    let mut said = vec![0; 4096];
    let read = tokio::time::timeout(PATIENCE, stream.read(&mut said)).await;
    let length = read.expect("neither an answer nor an end").unwrap_or(0);
    String::from_utf8_lossy(&said[..length]).to_lowercase()
}

async fn ask(stream: &mut TcpStream) -> String {
    let _ = stream.write_all(REQUEST).await;
    read(stream).await
}

#[tokio::test]
async fn an_idle_connection_is_kept_for_longer_than_a_head_may_take() {
    let (front, _replica) = front(&["--head-timeout", "200ms"]).await;
    let mut stream = TcpStream::connect(front.address).await.unwrap();
    for _ in 0..3 {
        tokio::time::sleep(PAUSE).await;
        let answer = ask(&mut stream).await;
        assert!(answer.starts_with("http/1.1 200"), "{answer:?}");
        assert!(!answer.contains("connection: close"), "{answer:?}");
    }
}

#[tokio::test]
async fn a_head_that_stops_midway_ends_its_connection() {
    let (front, _replica) = front(&["--head-timeout", "200ms"]).await;
    for requests in [0, 2] {
        let mut stream = TcpStream::connect(front.address).await.unwrap();
        for _ in 0..requests {
            assert!(ask(&mut stream).await.starts_with("http/1.1 200"));
        }
        stream.write_all(&REQUEST[..REQUEST.len() - 2]).await.unwrap();
        assert_eq!(read(&mut stream).await, "", "after {requests} requests");
    }
}

#[tokio::test]
async fn a_connection_that_idles_for_too_long_is_closed() {
    let (front, _replica) = front(&["--client-idle", "1s"]).await;
    let mut never_used = TcpStream::connect(front.address).await.unwrap();
    let mut used = TcpStream::connect(front.address).await.unwrap();
    assert!(ask(&mut used).await.starts_with("http/1.1 200"));
    for stream in [&mut never_used, &mut used] {
        assert_eq!(read(stream).await, "");
    }
}

#[tokio::test]
async fn a_request_that_is_held_is_no_idling() {
    let front = Front::start(&["--client-idle", "1s"]).await;
    let replica = Replica::quick().await;
    let mut stream = TcpStream::connect(front.address).await.unwrap();
    let (answer, ()) = tokio::join!(ask(&mut stream), async {
        front.until_held(1).await;
        tokio::time::sleep(PAUSE).await;
        front.list(&[replica.url()]);
    });
    assert!(answer.starts_with("http/1.1 200"), "{answer:?}");
    assert!(!answer.contains("connection: close"), "{answer:?}");
}

#[tokio::test]
async fn http2_idles_under_the_same_bound_and_no_other() {
    let (kept, _replica) = front(&["--head-timeout", "200ms"]).await;
    let stream = TcpStream::connect(kept.address).await.unwrap();
    let (sender, connection) = h2::client::handshake(stream).await.unwrap();
    tokio::spawn(connection);
    tokio::time::sleep(PAUSE).await;
    let request = Request::get(format!("http://{}/", kept.address)).body(()).unwrap();
    let (response, _) = sender.ready().await.unwrap().send_request(request, true).unwrap();
    assert_eq!(response.await.unwrap().status(), 200);

    let (closed, _replica) = front(&["--client-idle", "1s"]).await;
    let stream = TcpStream::connect(closed.address).await.unwrap();
    let (_sender, connection) = h2::client::handshake(stream).await.unwrap();
    let ended = tokio::time::timeout(PATIENCE, connection).await;
    ended.expect("it is kept").expect("it is cut off instead of said goodbye");
}

#[tokio::test]
async fn a_front_that_leaves_tells_those_who_keep_connections() {
    let front = Front::start(&[]).await;
    let replica = Replica::quick().await;
    let mut stream = TcpStream::connect(front.address).await.unwrap();
    stream.write_all(REQUEST).await.unwrap();
    front.until_held(1).await;
    front.shutdown.cancel();
    front.list(&[replica.url()]);
    let answer = read(&mut stream).await;
    assert!(answer.starts_with("http/1.1 200"), "{answer:?}");
    assert!(answer.contains("connection: close"), "{answer:?}");
    front.stop().await;
}
