//! Replicas that die: before the connection, before the response, and in the middle of it. What is safe is sent again,
//! what is not is reported, and nothing is ever doubled or cut short in silence.

use http::Method;
use http_body_util::{BodyExt, Full};

use crate::{
    replicas::{Fault, Replica},
    support::{Front, client, send},
};

const POST_IS_SAFE: &[&str] = &["--idempotent-path", "/v1/classify"];

/// A front that has one faulty replica, which will get the first request, and a good one, which joins later.
async fn with_fault(flags: &[&str], fault: Fault) -> (Front, Replica, Replica) {
    let front = Front::start(flags).await;
    let (faulty, good) = (Replica::faulty(fault).await, Replica::quick().await);
    // A slot on the bridge is taken only while there is no GPU, or none free.
    front.list(&[faulty.with("tier=gpu"), good.with("tier=cpu")]);
    front.until_ready(2).await;
    (front, faulty, good)
}

#[tokio::test]
async fn x08_a_replica_killed_before_the_connection_is_retried_whatever_the_method() {
    let front = Front::start(&[]).await;
    let (dies, good) = (Replica::quick().await, Replica::quick().await);
    front.list(&[dies.with("tier=gpu"), good.with("tier=cpu")]);
    front.until_ready(2).await;
    dies.kill();
    let answer = front.post("/", "picture").await;
    assert_eq!((answer.status, &answer.body[..]), (200, &b"POST / picture"[..]));
    assert_eq!((dies.requests(), good.requests()), (0, 1));
    let ejections = r#"spotscale_front_ejections_total{service="default",reason="connect"}"#;
    assert!((front.metric(ejections).await - 1.0).abs() < f64::EPSILON);
}

#[tokio::test]
async fn x08_a_replica_killed_before_its_response_is_retried_where_that_is_idempotent() {
    let (front, faulty, good) = with_fault(POST_IS_SAFE, Fault::CloseBeforeResponse).await;
    let answer = front.get("/x").await;
    assert_eq!((answer.status, &answer.body[..]), (200, &b"GET /x "[..]));
    assert_eq!((faulty.requests(), good.requests()), (1, 1));
    front.until_ready(2).await;
    let answer = front.post("/v1/classify", "picture").await;
    assert_eq!((answer.status, &answer.body[..]), (200, &b"POST /v1/classify picture"[..]));
    assert_eq!((faulty.requests(), good.requests()), (2, 2));
}

#[tokio::test]
async fn x08_a_replica_killed_before_its_response_to_a_plain_post_is_an_error_and_never_a_second_attempt()
 {
    let (front, faulty, good) = with_fault(POST_IS_SAFE, Fault::CloseBeforeResponse).await;
    let answer = front.post("/v1/order", "one").await;
    assert_eq!((answer.status, answer.kind()), (502, "replica_failed".to_owned()));
    assert_eq!((faulty.requests(), good.requests()), (1, 0));
}

#[tokio::test]
async fn what_is_sent_again_goes_to_one_that_stays() {
    let front = Front::start(POST_IS_SAFE).await;
    let faulty = Replica::faulty(Fault::CloseBeforeResponse).await;
    let (stays, leaves) = (Replica::quick().await, Replica::quick().await);
    front.list(&[faulty.url(), leaves.with("leaving"), stays.url()]);
    front.until_ready(3).await;
    for _ in 0..2000 {
        if faulty.requests() < 5 {
            assert_eq!(front.post("/v1/classify", "picture").await.status, 200);
        }
    }
    assert!(faulty.requests() >= 5 && stays.requests() >= 5);
    assert_eq!(leaves.requests(), 0);
}

#[tokio::test]
async fn a_body_that_was_not_kept_is_not_sent_again() {
    let flags = [POST_IS_SAFE, &["--replay-bytes", "1000"]].concat();
    let (front, faulty, good) = with_fault(&flags, Fault::CloseBeforeResponse).await;
    let answer = front.post("/v1/classify", "x".repeat(4 << 20)).await;
    assert_eq!((answer.status, answer.kind()), (502, "replica_failed".to_owned()));
    assert_eq!((faulty.requests(), good.requests()), (1, 0));
}

#[tokio::test]
async fn x08_a_replica_killed_amid_its_response_never_looks_complete_and_is_not_repeated() {
    for fault in [Fault::DieMidBody, Fault::DieMidChunks] {
        let (front, faulty, good) = with_fault(POST_IS_SAFE, fault).await;
        let request = front.request(Method::GET, "/").body(Full::default()).unwrap();
        let response = client().request(request).await.unwrap();
        assert_eq!(response.status(), 200);
        assert!(response.into_body().collect().await.is_err(), "{fault:?} looked complete");
        assert_eq!((faulty.requests(), good.requests()), (1, 0));
        let code = r#"spotscale_front_requests_total{service="default",code="502",tier="gpu"}"#;
        assert!((front.metric(code).await - 1.0).abs() < f64::EPSILON);
    }
}

#[tokio::test]
async fn a_body_without_any_framing_is_refused() {
    let (front, _faulty, _good) = with_fault(&[], Fault::Unframed).await;
    let answer = front.get("/").await;
    assert_eq!((answer.status, answer.kind()), (502, "unframed_response".to_owned()));
}

#[tokio::test]
async fn a_replica_that_hangs_costs_the_deadline_and_no_second_attempt() {
    let (front, faulty, good) = with_fault(POST_IS_SAFE, Fault::Hang).await;
    let request = front.request(Method::GET, "/").header("x-request-timeout-ms", "200");
    let answer = send(request.body(Full::default()).unwrap()).await;
    assert_eq!((answer.status, answer.kind()), (504, "deadline_exceeded".to_owned()));
    assert_eq!((faulty.requests(), good.requests()), (1, 0));
}

#[tokio::test]
async fn something_else_than_http_is_an_error() {
    let (front, faulty, good) = with_fault(POST_IS_SAFE, Fault::Garbage).await;
    let answer = front.get("/").await;
    assert_eq!((answer.status, answer.kind()), (502, "replica_failed".to_owned()));
    assert_eq!((faulty.requests(), good.requests()), (1, 0));
}

#[tokio::test]
async fn retries_end_when_their_budget_does() {
    let flags = ["--retry-ratio", "0", "--retry-per-second-min", "0"];
    let (front, faulty, good) = with_fault(&flags, Fault::CloseBeforeResponse).await;
    let answer = front.get("/").await;
    assert_eq!((answer.status, answer.kind()), (502, "replica_failed".to_owned()));
    assert_eq!((faulty.requests(), good.requests()), (1, 0));
}

#[tokio::test]
async fn a_request_that_always_fails_is_given_up() {
    let front = Front::start(&[]).await;
    let faulty = Replica::faulty(Fault::CloseBeforeResponse).await;
    front.list(&[faulty.url()]);
    let answer = front.get("/").await;
    assert_eq!((answer.status, answer.kind()), (502, "replica_failed".to_owned()));
    assert_eq!(faulty.requests(), 4);
}

#[tokio::test]
async fn many_requests_survive_a_killed_replica() {
    let front = std::sync::Arc::new(Front::start(POST_IS_SAFE).await);
    let (dies, stays) = (Replica::quick().await, Replica::quick().await);
    front.list(&[dies.url(), stays.url()]);
    front.until_ready(2).await;
    let workers: Vec<_> = (0..8)
        .map(|_| {
            let front = std::sync::Arc::clone(&front);
            tokio::spawn(async move {
                for n in 0..40 {
                    let answer = front.post("/v1/classify", n.to_string()).await;
                    assert_eq!(answer.status, 200, "{answer:?}");
                    assert_eq!(answer.body, format!("POST /v1/classify {n}"));
                }
            })
        })
        .collect();
    while dies.requests() < 20 {
        tokio::task::yield_now().await;
    }
    dies.kill();
    for worker in workers {
        worker.await.unwrap();
    }
}
