//! HTTP/2 to a replica: what its frames say of a request decides whether that may be sent again.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

use crate::{
    replicas::{Replica, refuse_streams},
    support::{Front, PATIENCE},
};

const RETRIES: &str = r#"spotscale_front_retries_total{service="default",reason="refused_stream"}"#;

const PREFACE: usize = 24;
const HEADERS: u8 = 1;
const SETTINGS: u8 = 4;
const GO_AWAY: u8 = 7;
const ACK: u8 = 1;
const END_STREAM_AND_HEADERS: u8 = 5;
/// `:status: 200`, from HPACK's static table.
const STATUS_200: u8 = 0x88;

/// A replica that answers the first stream of each connection, which is a probe, and goes away at the second.
struct Leaver {
    address: SocketAddr,
    requests: Arc<AtomicUsize>,
}

impl Leaver {
    /// `last` is the last stream that it says it may have processed. The probe's is 1, the request's is 3.
    async fn start(last: u8) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let requests = Arc::new(AtomicUsize::new(0));
        let seen = Arc::clone(&requests);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(leave(stream, last, Arc::clone(&seen)));
            }
        });
        Self { address, requests }
    }

    fn requests(&self) -> usize {
        self.requests.load(Ordering::SeqCst)
    }

    /// A front that prefers it, and has a good replica besides.
    async fn before(&self, good: &Replica) -> Front {
        let front = Front::start(&[]).await;
        let leaver = format!("h2c://{} tier=gpu", self.address);
        front.list(&[leaver, good.with("tier=cpu")]);
        front.until_ready(2).await;
        front
    }
}

async fn leave(mut stream: TcpStream, last: u8, seen: Arc<AtomicUsize>) -> std::io::Result<()> {
    stream.read_exact(&mut [0; PREFACE]).await?;
    stream.write_all(&frame(SETTINGS, 0, 0, &[])).await?;
    loop {
        let mut head = [0; 9];
        stream.read_exact(&mut head).await?;
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
        stream.read_exact(&mut vec![0; length as usize]).await?;
        match (head[3], head[4], head[8]) {
            (SETTINGS, flags, _) if flags & ACK == 0 => {
                stream.write_all(&frame(SETTINGS, ACK, 0, &[])).await?;
            }
            (HEADERS, _, 1) => {
                let answer = frame(HEADERS, END_STREAM_AND_HEADERS, 1, &[STATUS_200]);
                stream.write_all(&answer).await?;
            }
            (HEADERS, _, id) => {
                seen.fetch_add(1, Ordering::SeqCst);
                stream.write_all(&frame(GO_AWAY, 0, 0, &[0, 0, 0, last, 0, 0, 0, 0])).await?;
                if last >= id {
                    return stream.shutdown().await;
                }
            }
            _ => {}
        }
    }
}

fn frame(kind: u8, flags: u8, stream: u8, payload: &[u8]) -> Vec<u8> {
    let head = [0, 0, payload.len() as u8, kind, flags, 0, 0, 0, stream];
    [&head[..], payload].concat()
}

#[tokio::test]
async fn a_refused_stream_is_retried_whatever_the_method() {
    let front = Front::start(&[]).await;
    let (refuses, good) = (refuse_streams().await, Replica::quick().await);
    front.list(&[format!("h2c://{refuses} tier=gpu"), good.with("tier=cpu")]);
    front.until_ready(2).await;
    let answer = front.post("/", "picture").await;
    assert_eq!((answer.status, &answer.body[..]), (200, &b"POST / picture"[..]));
    assert!((front.metric(RETRIES).await - 1.0).abs() < f64::EPSILON);
}

#[tokio::test]
async fn a_stream_above_the_last_one_that_a_goaway_names_is_retried_whatever_the_method() {
    let (leaver, good) = (Leaver::start(1).await, Replica::quick().await);
    let front = leaver.before(&good).await;
    let answer = tokio::time::timeout(PATIENCE, front.post("/", "picture")).await.unwrap();
    assert_eq!((answer.status, &answer.body[..]), (200, &b"POST / picture"[..]));
    assert_eq!((leaver.requests(), good.requests()), (1, 1));
    assert!((front.metric(RETRIES).await - 1.0).abs() < f64::EPSILON);
}

#[tokio::test]
async fn a_stream_that_a_goaway_may_have_processed_is_never_sent_twice() {
    let (leaver, good) = (Leaver::start(3).await, Replica::quick().await);
    let front = leaver.before(&good).await;
    let answer = tokio::time::timeout(PATIENCE, front.post("/", "picture")).await.unwrap();
    assert_eq!((answer.status, answer.kind()), (502, "replica_failed".to_owned()));
    assert_eq!((leaver.requests(), good.requests()), (1, 0));
}
