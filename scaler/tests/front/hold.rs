//! Holding: who waits, how long, in which order, and who is turned away.

use std::{convert::Infallible, sync::Arc, time::Duration};

use bytes::Bytes;
use http::Method;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::Frame;
use hyper_util::{client::legacy::Client, rt::TokioExecutor};
use tokio::sync::Semaphore;

use crate::{
    replicas::Replica,
    support::{Front, send},
};

#[tokio::test]
async fn the_first_request_at_zero_is_held_and_answered() {
    let front = Front::start(&[]).await;
    let replica = Replica::quick().await;
    let (answer, ()) = tokio::join!(front.post("/v1/classify", "a picture"), async {
        front.until_held(1).await;
        front.list(&[replica.url()]);
    });
    assert_eq!((answer.status, &answer.body[..]), (200, &b"POST /v1/classify a picture"[..]));
    assert!(answer.header("x-spotscale-held-ms").is_some());
    let warm = front.get("/").await;
    assert_eq!((warm.status, warm.header("x-spotscale-held-ms")), (200, None));
    let cold_starts =
        front.metric(r#"spotscale_front_cold_start_seconds_count{service="default"}"#);
    assert!((cold_starts.await - 1.0).abs() < f64::EPSILON);
}

#[tokio::test]
async fn x11_a_hundred_from_zero_reach_a_replica_of_concurrency_one_one_at_a_time() {
    let front = Arc::new(Front::start(&["--concurrency", "1"]).await);
    let permits = Arc::new(Semaphore::new(0));
    let replica = Replica::echo(Arc::clone(&permits)).await;
    let requests: Vec<_> = (0..100)
        .map(|n| {
            let front = Arc::clone(&front);
            tokio::spawn(async move { front.post(&format!("/{n}"), "x").await.status })
        })
        .collect();
    front.until_held(100).await;
    front.list(&[replica.url()]);
    front.until_held(99).await;
    permits.add_permits(100);
    for request in requests {
        assert_eq!(request.await.unwrap(), 200);
    }
    assert_eq!((replica.requests(), replica.at_once_max()), (100, 1));
}

#[tokio::test]
async fn a_hundred_of_unknown_length_are_held_too() {
    let front = Front::start(&[]).await;
    let client = Client::builder(TokioExecutor::new()).build_http();
    let requests = (0..100).map(|_| {
        let frame = Ok::<_, Infallible>(Frame::data(Bytes::from_static(b"x")));
        let body = StreamBody::new(futures::stream::iter([frame])).boxed();
        client.request(front.request(Method::POST, "/").body(body).unwrap())
    });
    let replica = Replica::quick().await;
    let (answers, ()) = tokio::join!(futures::future::join_all(requests), async {
        front.until_held(100).await;
        front.list(&[replica.url()]);
    });
    assert!(answers.into_iter().all(|answer| answer.unwrap().status() == 200));
}

#[tokio::test]
async fn the_longest_held_goes_first() {
    let front = Arc::new(Front::start(&["--concurrency", "1"]).await);
    let replica = Replica::quick().await;
    let mut requests = Vec::new();
    for n in 1..=5 {
        let front_ = Arc::clone(&front);
        requests.push(tokio::spawn(async move { front_.get(&format!("/{n}")).await }));
        front.until_held(n).await;
    }
    front.list(&[replica.url()]);
    for request in requests {
        assert_eq!(request.await.unwrap().status, 200);
    }
    assert_eq!(replica.paths(), ["/1", "/2", "/3", "/4", "/5"]);
}

#[tokio::test]
async fn x10_a_full_queue_refuses_at_once_and_leaves_other_services_alone() {
    let front =
        Front::start(&["--hold-requests", "2", "--route", "other=/other", "--cold-start", "7s"])
            .await;
    let replica = Replica::quick().await;
    front.list(&[replica.with("service=other")]);
    let (first, second, ()) = tokio::join!(front.get("/a"), front.get("/b"), async {
        front.until_held(2).await;
        let refused = front.get("/c").await;
        assert_eq!((refused.status, refused.kind()), (503, "queue_full".to_owned()));
        let retry_after: u64 = refused.header("retry-after").unwrap().parse().unwrap();
        assert!((1..=7).contains(&retry_after), "{retry_after}");
        assert_eq!(front.get("/other/x").await.status, 200);
        front.list(&[replica.url()]);
    });
    assert_eq!((first.status, second.status), (200, 200));
    let refusals = r#"spotscale_front_refusals_total{service="default",reason="queue_full"}"#;
    assert!((front.metric(refusals).await - 1.0).abs() < f64::EPSILON);
}

#[tokio::test]
async fn bodies_are_held_within_their_bound_of_bytes() {
    let front = Front::start(&["--hold-bytes", "1000", "--replay-bytes", "1000"]).await;
    let replica = Replica::quick().await;
    let (held, ()) = tokio::join!(front.post("/a", "x".repeat(600)), async {
        front.until_held(1).await;
        let refused = front.post("/b", "x".repeat(600)).await;
        assert_eq!((refused.status, refused.kind()), (503, "bytes_full".to_owned()));
        front.list(&[replica.url()]);
    });
    assert_eq!(held.status, 200);
}

#[tokio::test]
async fn a_request_is_held_no_longer_than_it_allows() {
    let front = Front::start(&[]).await;
    let request = front.request(Method::GET, "/").header("x-request-timeout-ms", "50");
    let answer = send(request.body(Full::default()).unwrap()).await;
    assert_eq!((answer.status, answer.kind()), (503, "held_too_long".to_owned()));
    assert!(answer.header("retry-after").is_some());
    front.until_held(0).await;
}

#[tokio::test]
async fn a_request_that_is_turned_away_starts_no_cold_start() {
    let front = Front::start(&[]).await;
    let replica = Replica::quick().await;
    let (measured, ()) = tokio::join!(front.get("/"), async {
        front.until_held(1).await;
        tokio::time::sleep(Duration::from_millis(100)).await;
        front.list(&[replica.url()]);
    });
    assert_eq!(measured.status, 200);
    front.list(&[]);
    front.until_ready(0).await;
    let hasty = front.request(Method::GET, "/").header("x-request-timeout-ms", "10");
    let answer = send(hasty.body(Full::default()).unwrap()).await;
    assert_eq!((answer.status, answer.kind()), (503, "deadline_too_short".to_owned()));
    tokio::time::sleep(Duration::from_millis(50)).await;
    let elapsed = &front.debug().await[0]["load"]["cold_start"]["elapsed"];
    assert_eq!(elapsed, 0, "nobody waits for it, and nothing would end it");
}

#[tokio::test]
async fn a_forwarded_request_is_given_up_at_its_deadline_and_frees_its_slot() {
    let front = Front::start(&["--concurrency", "1"]).await;
    let permits = Arc::new(Semaphore::new(0));
    let replica = Replica::echo(Arc::clone(&permits)).await;
    front.list(&[replica.url()]);
    front.until_ready(1).await;
    let request = front.request(Method::GET, "/").header("x-request-timeout-ms", "1000");
    let answer = send(request.body(Full::default()).unwrap()).await;
    assert_eq!((answer.status, answer.kind()), (504, "deadline_exceeded".to_owned()));
    permits.add_permits(2);
    assert_eq!(front.get("/").await.status, 200);
}

#[tokio::test]
async fn the_time_that_is_left_is_passed_on() {
    let front = Front::start(&[]).await;
    let replica = Replica::quick().await;
    let request = front.request(Method::GET, "/").header("x-request-timeout-ms", "15000");
    let (answer, ()) = tokio::join!(send(request.body(Full::default()).unwrap()), async {
        front.until_held(1).await;
        tokio::time::sleep(Duration::from_millis(50)).await;
        front.list(&[replica.url()]);
    });
    let left: u64 = answer.header("x-saw-x-request-timeout-ms").unwrap().parse().unwrap();
    assert!((1..=14_950).contains(&left), "{left}");
    let request = front.request(Method::GET, "/").header("x-request-timeout-ms", "soon");
    assert_eq!(send(request.body(Full::default()).unwrap()).await.kind(), "bad_timeout");
}
