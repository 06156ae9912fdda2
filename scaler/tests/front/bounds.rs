//! What a client may not do, and flags that do not go together.

use std::{convert::Infallible, time::Duration};

use bytes::Bytes;
use http::Method;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::Frame;
use hyper_util::{client::legacy::Client, rt::TokioExecutor};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

use crate::{
    replicas::{Replica, stream_chunks},
    support::{Front, PATIENCE, config, send, whole},
};

#[tokio::test]
async fn too_much_of_anything_is_refused() {
    let front = Front::start(&["--body-bytes", "1000"]).await;
    let replica = Replica::quick().await;
    front.list(&[replica.url()]);
    front.until_ready(1).await;
    let declared = front.post("/", "x".repeat(1001)).await;
    assert_eq!((declared.status, declared.kind()), (413, "body_too_large".to_owned()));
    let long = front.get(&format!("/{}", "x".repeat(9000))).await;
    assert_eq!((long.status, long.kind()), (414, "uri_too_long".to_owned()));
    let request = front.request(Method::GET, "/").header("x-large", "x".repeat(80 << 10));
    assert_eq!(send(request.body(Full::default()).unwrap()).await.status, 431);
    assert_eq!(replica.requests(), 0);
}

#[tokio::test]
async fn a_body_of_unknown_length_is_cut_at_the_bound() {
    let front = Front::start(&["--body-bytes", "1000"]).await;
    let replica = Replica::quick().await;
    front.list(&[replica.url()]);
    front.until_ready(1).await;
    let chunks =
        (0..100).map(|_| Ok::<_, Infallible>(Frame::data(Bytes::from_static(&[b'x'; 100]))));
    let body = StreamBody::new(futures::stream::iter(chunks)).boxed();
    let client = Client::builder(TokioExecutor::new()).build_http();
    let request = front.request(Method::POST, "/").body(body).unwrap();
    let answer = whole(client.request(request).await.unwrap()).await.unwrap();
    assert_eq!((answer.status, answer.kind()), (413, "body_too_large".to_owned()));
}

#[tokio::test]
async fn a_refused_client_hears_why_even_while_it_still_sends() {
    let front = Front::start(&["--hold-requests", "1"]).await;
    let held = front.request(Method::GET, "/").body(Full::default()).unwrap();
    let held = tokio::spawn(send(held));
    front.until_held(1).await;
    let mut client = begin(&front, 8000).await;
    for _ in 0..8 {
        tokio::time::sleep(Duration::from_millis(20)).await;
        client.write_all(&[b'x'; 1000]).await.expect("it was cut off in the middle of a word");
    }
    let answer = answer(&mut client).await;
    assert!(answer.starts_with("http/1.1 503") && answer.contains("retry-after: "), "{answer}");
    assert!(!answer.contains("connection: close"), "all was read: {answer}");
    held.abort();
}

/// Begins a request with a body of so many bytes.
async fn begin(front: &Front, length: usize) -> TcpStream {
    let mut client = TcpStream::connect(front.address).await.unwrap();
    let head = format!("POST / HTTP/1.1\r\nhost: x\r\ncontent-length: {length}\r\n\r\n");
    client.write_all(head.as_bytes()).await.unwrap();
    client
}

async fn answer(client: &mut TcpStream) -> String {
    let mut answer = vec![0; 1000];
    let read = timeout(PATIENCE, client.read(&mut answer)).await.expect("no answer").unwrap();
    String::from_utf8_lossy(&answer[..read]).to_lowercase()
}

#[tokio::test]
async fn a_connection_with_an_unread_body_is_said_to_end() {
    let front = Front::start(&["--body-bytes", "100000"]).await;
    let (chunks, hasty) = stream_chunks().await;
    front.list(&[format!("http://{hasty}")]);
    front.until_ready(1).await;
    let mut refused = begin(&front, 100_001).await;
    let refusal = answer(&mut refused).await;
    assert!(refusal.starts_with("http/1.1 413"), "{refusal}");
    assert!(refusal.contains("connection: close"), "a pool would keep it: {refusal}");
    // A replica may answer before it has read everything, too.
    let mut early = begin(&front, 100_000).await;
    chunks.send("early").await.unwrap();
    let passed_on = answer(&mut early).await;
    assert!(passed_on.starts_with("http/1.1 200"), "{passed_on}");
    assert!(passed_on.contains("connection: close"), "a pool would keep it: {passed_on}");
}

#[test]
fn a_wrong_flag_is_named_with_what_would_work() {
    for (flag, value, wanted) in [
        ("--ready-path", "readyz", "from /"),
        ("--health-path", "healthz", "from /"),
        ("--retry-ratio", "2", "0 to 1"),
        ("--head-bytes", "100", "8192"),
        ("--hold-requests", "0", "1 or more"),
        ("--scaler", "https://scaler:6000", "--scaler-ca"),
        ("--scaler-ca", "ca.crt", "no --scaler is https://"),
        ("--scaler-cert", "tls.crt", "together"),
        ("--idempotent-path", "v1", "from /"),
    ] {
        let error = config(&[flag, value]).validate().unwrap_err().to_string();
        assert!(error.contains(flag) && error.contains(wanted), "{error}");
        assert_eq!(error.lines().count(), 1);
    }
}

#[tokio::test]
async fn a_port_in_use_is_named_with_its_flag() {
    let taken = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut config = config(&[]);
    config.admin_listen = taken.local_addr().unwrap();
    let error = config.bind().await.unwrap_err().to_string();
    assert!(error.starts_with(&format!("--admin-listen {}: ", config.admin_listen)), "{error}");
}
