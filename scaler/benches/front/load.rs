//! Two loads: one as fast as the server allows, and one on a schedule that the server cannot slow down.

use std::{net::SocketAddr, time::Duration};

use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt, Empty};
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::{net::TcpStream, sync::mpsc, time::Instant};

const CONNECTIONS: usize = 64;

type Connection = SendRequest<Empty<Bytes>>;

/// Each connection sends its next request when it has the answer. Gives requests per second.
pub(crate) async fn closed_loop(address: SocketAddr, span: Duration) -> f64 {
    let started = Instant::now();
    let mut workers = tokio::task::JoinSet::new();
    for _ in 0..CONNECTIONS {
        workers.spawn(async move {
            let mut connection = connect(address).await;
            let mut answered = 0_u32;
            while started.elapsed() < span {
                call(&mut connection, address).await;
                answered += 1;
            }
            answered
        });
    }
    let answered: u32 = workers.join_all().await.into_iter().sum();
    f64::from(answered) / started.elapsed().as_secs_f64()
}

/// Sends on schedule, whether or not earlier requests were answered, and measures from the scheduled moment: a server
/// that stalls cannot hide it by slowing down the load.
pub(crate) async fn open_loop(address: SocketAddr, rps: u32, span: Duration) -> Vec<Duration> {
    let (idle, mut free) = mpsc::unbounded_channel();
    for _ in 0..CONNECTIONS {
        idle.send(connect(address).await).unwrap();
    }
    let gap = Duration::from_secs(1) / rps;
    let count = (span.as_secs_f64() * f64::from(rps)) as u32;
    let started = Instant::now();
    let mut calls = tokio::task::JoinSet::new();
    for n in 0..count {
        let due = started + gap * n;
        tokio::time::sleep_until(due).await;
        let mut connection = free.recv().await.unwrap();
        let idle = idle.clone();
        calls.spawn(async move {
            call(&mut connection, address).await;
            let took = due.elapsed();
            let _ = idle.send(connection);
            took
        });
    }
    calls.join_all().await
}

/// Of sorted values, the one that this share of them does not exceed.
pub(crate) fn percentile(sorted: &[Duration], share: f64) -> Duration {
    let rank = (sorted.len() as f64 * share).ceil() as usize;
    sorted[rank.clamp(1, sorted.len()) - 1]
}

async fn connect(address: SocketAddr) -> Connection {
    let stream = TcpStream::connect(address).await.unwrap();
    stream.set_nodelay(true).unwrap();
    let (sender, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    sender
}

async fn call(connection: &mut Connection, address: SocketAddr) {
    let host = address.to_string();
    connection.ready().await.unwrap();
    let request = Request::get("/").header("host", host).body(Empty::new()).unwrap();
    let response = connection.send_request(request).await.unwrap();
    assert_eq!(response.status(), 200);
    response.into_body().collect().await.unwrap();
}
