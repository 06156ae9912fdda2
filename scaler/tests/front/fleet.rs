//! Endpoints that come, go, fail and return.

use std::{io::Write, sync::Arc};

use tokio::sync::Semaphore;

use crate::{
    replicas::{Fault, Replica},
    support::{Front, config},
};

#[tokio::test]
async fn a_removed_endpoint_finishes_what_it_has_and_gets_nothing_new() {
    let front = Front::start(&[]).await;
    let permits = Arc::new(Semaphore::new(0));
    let (leaves, stays) = (Replica::echo(Arc::clone(&permits)).await, Replica::quick().await);
    front.list(&[leaves.url()]);
    let (running, ()) = tokio::join!(front.get("/running"), async {
        front.until(|services| services[0]["in_flight"] == 1).await;
        front.list(&[stays.url()]);
        front.until_ready(1).await;
        for _ in 0..10 {
            assert_eq!(front.get("/new").await.status, 200);
        }
        permits.add_permits(1);
    });
    assert_eq!(running.status, 200);
    assert_eq!((leaves.requests(), stays.requests()), (1, 10));
    front.until(|services| services[0]["endpoints"].as_array().unwrap().len() == 1).await;
}

#[tokio::test]
async fn a_dead_endpoint_is_used_again_once_it_serves() {
    let front = Front::start(&[]).await;
    let first = Replica::quick().await;
    front.list(&[first.url()]);
    assert_eq!(front.get("/").await.status, 200);
    first.kill();
    let (answer, second) = tokio::join!(front.post("/", "kept"), async {
        front.until_held(1).await;
        Replica::at(first.address, Arc::new(Semaphore::new(9))).await
    });
    assert_eq!((answer.status, &answer.body[..]), (200, &b"POST / kept"[..]));
    assert_eq!(second.requests(), 1);
}

#[tokio::test]
async fn the_cpu_bridges_until_a_gpu_is_there() {
    let front = Front::start(&[]).await;
    let (cpu, gpu) = (Replica::quick().await, Replica::quick().await);
    front.list(&[cpu.with("tier=cpu")]);
    assert_eq!(front.get("/").await.status, 200);
    front.list(&[cpu.with("tier=cpu"), gpu.url()]);
    front.until_ready(2).await;
    for _ in 0..5 {
        assert_eq!(front.get("/").await.status, 200);
    }
    assert_eq!((cpu.requests(), gpu.requests()), (1, 5));
}

#[tokio::test]
async fn one_that_leaves_serves_only_while_no_other_has_a_free_slot() {
    let front = Front::start(&["--concurrency", "1"]).await;
    let permits = Arc::new(Semaphore::new(0));
    let (stays, leaves) = (Replica::echo(Arc::clone(&permits)).await, Replica::quick().await);
    front.list(&[stays.url(), leaves.with("leaving")]);
    front.until_ready(2).await;
    permits.add_permits(10);
    for _ in 0..10 {
        assert_eq!(front.get("/").await.status, 200);
    }
    assert_eq!((stays.requests(), leaves.requests()), (10, 0));
    let (running, ()) = tokio::join!(front.get("/"), async {
        front.until(|services| services[0]["in_flight"] == 1).await;
        for _ in 0..5 {
            let answer = front.get("/").await;
            assert_eq!((answer.status, answer.header("x-spotscale-held-ms")), (200, None));
        }
        permits.add_permits(1);
    });
    assert_eq!(running.status, 200);
    assert_eq!((stays.requests(), leaves.requests()), (11, 5));
    stays.kill();
    assert_eq!(front.get("/").await.status, 200);
    assert_eq!(leaves.requests(), 6);
    let leaving = r#"spotscale_front_leaving_endpoints{service="default"}"#;
    assert!((front.metric(leaving).await - 1.0).abs() < f64::EPSILON);
}

#[tokio::test]
async fn one_that_begins_to_leave_is_told_of_and_keeps_what_it_has() {
    let front = Front::start(&["--concurrency", "2"]).await;
    let permits = Arc::new(Semaphore::new(0));
    let (leaves, stays) = (Replica::echo(Arc::clone(&permits)).await, Replica::quick().await);
    front.list(&[leaves.url()]);
    let (running, ()) = tokio::join!(front.get("/running"), async {
        front.until(|services| services[0]["in_flight"] == 1).await;
        front.list(&[leaves.with("leaving"), stays.url()]);
        front.until_ready(2).await;
        for _ in 0..10 {
            assert_eq!(front.get("/new").await.status, 200);
        }
        let busy = front.debug().await[0]["endpoints"][0].clone();
        assert_eq!((&busy["is_leaving"], &busy["outstanding"]), (&true.into(), &1.into()));
        permits.add_permits(1);
    });
    assert_eq!(running.status, 200);
    assert_eq!((leaves.requests(), stays.requests()), (1, 10));
}

#[tokio::test]
async fn an_endpoint_that_is_not_ready_gets_no_requests() {
    let front = Front::start(&["--ready-path", "/broken"]).await;
    let (never, ready) =
        (Replica::faulty(Fault::CloseBeforeResponse).await, Replica::quick().await);
    front.list(&[never.url(), ready.url()]);
    front.until_ready(1).await;
    let before = ready.requests();
    for _ in 0..10 {
        assert_eq!(front.get("/").await.status, 200);
    }
    assert_eq!(ready.requests(), before + 10);
}

#[tokio::test]
async fn requests_are_spread_and_each_endpoint_keeps_its_own_limit() {
    let front = Arc::new(Front::start(&["--concurrency", "2"]).await);
    let permits = Arc::new(Semaphore::new(0));
    let (small, large) =
        (Replica::echo(Arc::clone(&permits)).await, Replica::echo(Arc::clone(&permits)).await);
    front.list(&[small.url(), large.with("concurrency=6")]);
    front.until_ready(2).await;
    let requests: Vec<_> = (0..12)
        .map(|_| {
            let front = Arc::clone(&front);
            tokio::spawn(async move { front.get("/").await.status })
        })
        .collect();
    front.until_held(4).await;
    front.until(|services| services[0]["in_flight"] == 8).await;
    permits.add_permits(12);
    for request in requests {
        assert_eq!(request.await.unwrap(), 200);
    }
    assert_eq!((small.at_once_max(), large.at_once_max()), (2, 6));
}

#[tokio::test]
async fn a_watched_file_adds_and_removes_and_survives_a_mistake() {
    let (first, second) = (Replica::quick().await, Replica::quick().await);
    let mut file = tempfile::NamedTempFile::new().unwrap();
    writeln!(file, "{}", first.url()).unwrap();
    let path = file.path().to_str().unwrap().to_owned();
    let front = Front::start_alone(&["--upstreams-file", &path]).await;
    assert_eq!(front.get("/").await.status, 200);
    std::fs::write(&path, "nonsense\n").unwrap();
    tokio::time::sleep(std::time::Duration::from_millis(600)).await;
    assert_eq!(front.get("/").await.status, 200);
    std::fs::write(&path, format!("{}\n", second.url())).unwrap();
    let is_second = second.address.to_string();
    front
        .until(|services| {
            let endpoints = services[0]["endpoints"].as_array().unwrap();
            let is_it = |one: &serde_json::Value| one["endpoint"] == is_second;
            matches!(&endpoints[..], [one] if is_it(one) && one["state"] == "ready")
        })
        .await;
    assert_eq!(front.get("/").await.status, 200);
    assert_eq!((first.requests(), second.requests()), (2, 1));
    front.stop().await;
}

#[test]
fn a_file_that_is_wrong_from_the_start_is_refused_with_its_line() {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    writeln!(file, "http://127.0.0.1:1\nnonsense").unwrap();
    let flags = config(&["--upstreams-file", file.path().to_str().unwrap()]);
    let error = flags.validate().unwrap_err().to_string();
    assert!(error.contains("--upstreams-file") && error.contains(":2:"), "{error}");
}
