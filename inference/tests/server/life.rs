//! From the flags to the end: what is refused before anything is served, when the server is ready,
//! how it stops.

use std::{net::SocketAddr, time::Duration};

use crate::support::{PATIENCE, Server, config, model, models, red};
use spotscale_inference::{ConfigError, Error};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};
use tokio_util::sync::CancellationToken;

fn refusal(flags: &[&str]) -> ConfigError {
    config(flags).validate().unwrap_err()
}

/// Starts a server that must not come up, and gives its one line.
async fn failure(flags: &[&str]) -> String {
    let config = config(flags);
    config.validate().unwrap();
    let listeners = config.bind().await.unwrap();
    let run = spotscale_inference::run(config, listeners, CancellationToken::new());
    let error = tokio::time::timeout(PATIENCE, run).await.expect("serves").unwrap_err();
    assert!(matches!(error, Error::Start(_)), "{error:?}");
    let line = error.to_string();
    assert!(!line.contains('\n'), "{line}");
    line
}

#[test]
fn flags_that_make_no_sense_are_refused_by_name() {
    let tiny = model("tiny", "logits.onnx");
    for (flag, name) in [
        ("--max-batch=0", "--max-batch"),
        ("--queue=7", "--queue"),
        ("--max-body=1000", "--max-body"),
        ("--max-decode-memory=1000000", "--max-decode-memory"),
        ("--max-pixels=100000000", "--max-decode-memory"),
        ("--drain-timeout=0s", "--drain-timeout"),
        ("--request-timeout=2h", "--request-timeout"),
        ("--max-wait=31s", "--max-wait"),
    ] {
        let error = refusal(&[&tiny, flag]);
        assert_eq!(error.kind(), "out_of_range");
        assert!(error.to_string().contains(name), "{error}");
    }
    assert_eq!(refusal(&[&tiny, &tiny]).kind(), "duplicate_model");
}

#[test]
fn a_missing_model_file_is_refused_by_name() {
    let error = refusal(&["--model=r=/nowhere/r.onnx"]);
    assert_eq!(error.kind(), "model_file");
    assert!(error.to_string().contains("/nowhere/r.onnx"), "{error}");
    let folder = format!("--model=r={}", models().display());
    assert_eq!(refusal(&[&folder]).kind(), "model_file");
}

#[tokio::test]
async fn a_file_that_is_no_classifier_is_refused_with_the_reason() {
    for (file, reason) in [
        ("broken.onnx", "broken.onnx"),
        ("not-pictures.onnx", "input `data`"),
        ("half.onnx", "input `data`"),
        ("not-a-classifier.onnx", "output `scores`"),
        ("mislabelled.onnx", "2 labels for 10 classes"),
    ] {
        let line = failure(&[&model("m", file)]).await;
        assert!(line.contains("model m") && line.contains(reason), "{file}: {line}");
    }
}

#[tokio::test]
async fn a_port_in_use_is_refused_by_flag() {
    let taken = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut config = config(&[&model("tiny", "logits.onnx")]);
    config.grpc_listen = taken.local_addr().unwrap();
    let line = config.bind().await.unwrap_err().to_string();
    assert!(line.contains("--grpc-listen") && line.contains("in use"), "{line}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_queued_request_is_answered_though_the_server_stops() {
    // The batch never fills, so the request is in the queue for as long as --max-wait.
    let flags = [&*model("tiny", "logits.onnx"), "--max-wait=5s"];
    let server = std::sync::Arc::new(Server::start(&flags).await);
    let asking = std::sync::Arc::clone(&server);
    let asked = tokio::spawn(async move { asking.classify("", red()).await });
    let depth = "spotscale_inference_queue_depth{model=\"tiny\",version=\"1\"} 1";
    let queued = async {
        while !server.get("/metrics").await.text().contains(depth) {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    tokio::time::timeout(PATIENCE, queued).await.expect("it is not in the queue");
    server.shutdown.cancel();
    let reply = tokio::time::timeout(PATIENCE, asked).await.expect("lost").unwrap();
    assert_eq!(reply.status, 200, "{reply:?}");
    assert!(reply.json()["timings_ms"]["queue"].as_f64().unwrap() > 100.0);
    let server = std::sync::Arc::into_inner(server).unwrap();
    let address = server.http();
    server.ended().await.unwrap();
    assert!(tokio::net::TcpStream::connect(address).await.is_err(), "still listening");
}

/// A client that says `hello`, and so gets an answer as soon as it has a place.
async fn greet(address: SocketAddr, hello: &[u8]) -> TcpStream {
    let mut client = TcpStream::connect(address).await.unwrap();
    client.write_all(hello).await.unwrap();
    client
}

#[tokio::test(flavor = "multi_thread")]
async fn each_port_has_so_many_places_of_its_own() {
    // What a client of HTTP/2 begins with: its preface, and settings that change nothing.
    let http2 = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
    let http1 = b"GET /healthz HTTP/1.1\r\nhost: test\r\n\r\n";
    let flags = [&*model("tiny", "logits.onnx"), "--max-connections=2"];
    let server = Server::launch(&config(&flags)).await;
    let mut kept = Vec::new();
    for (address, hello) in [(server.at.http, &http1[..]), (server.at.grpc, &http2[..])] {
        let mut clients = [greet(address, hello).await, greet(address, hello).await];
        for client in &mut clients {
            timeout(PATIENCE, client.read_u8()).await.expect("it has no place").unwrap();
        }
        let mut late = greet(address, hello).await;
        let early = timeout(Duration::from_millis(300), late.read_u8()).await;
        assert!(early.is_err(), "a third one has a place: {early:?}");
        let [first, second] = clients;
        drop(first);
        timeout(PATIENCE, late.read_u8()).await.expect("its place is not free").unwrap();
        kept.push((second, late));
    }
    drop(kept);
    server.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn metrics_tell_what_was_served() {
    let server = Server::start(&[&model("tiny", "labelled.onnx@3")]).await;
    assert_eq!(server.get("/healthz").await.status, 200);
    server.classify("", red()).await;
    server.classify("?model=unknown-to-anybody", red()).await;
    let text = server.get("/metrics").await.text();
    let labels = "model=\"tiny\",version=\"3\"";
    for line in [
        format!("requests_total{{{labels},protocol=\"v1\",code=\"200\"}} 1"),
        "requests_total{model=\"\",version=\"\",protocol=\"v1\",code=\"404\"} 1".to_owned(),
        format!("stage_seconds_count{{{labels},stage=\"total\"}} 1"),
        format!("stage_seconds_count{{{labels},stage=\"decode\"}} 1"),
        format!("batch_size_sum{{{labels}}} 1.0"),
        format!("queue_depth{{{labels}}} 0"),
        "in_flight 0".to_owned(),
    ] {
        let line = format!("spotscale_inference_{line}");
        assert!(text.lines().any(|have| have == line), "no {line} in\n{text}");
    }
    let load = format!("model_load_seconds{{{labels},device=\"cpu\",weights=\"pretrained\"}}");
    assert!(text.contains(&load), "{text}");
    assert!(!text.contains("unknown-to-anybody"), "a client's word became a label");
    server.stop().await.unwrap();
}

#[tokio::test]
async fn a_device_that_cannot_be_had_is_an_error() {
    let mut config = config(&[&model("tiny", "logits.onnx")]);
    config.device = spotscale_inference::Device::Cuda;
    let listeners = config.bind().await.unwrap();
    let run = spotscale_inference::run(config, listeners, CancellationToken::new());
    let line = run.await.unwrap_err().to_string();
    assert!(line.contains("cuda"), "{line}");
}
