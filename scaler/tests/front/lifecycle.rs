//! Shutdown: nothing new, and what is under way ends well or is answered.

use std::{sync::Arc, time::Duration};

use tokio::{net::TcpStream, sync::Semaphore};

use crate::{
    replicas::Replica,
    support::{Front, fetch},
};

#[tokio::test]
async fn a_front_that_stops_finishes_what_runs_and_what_is_held() {
    let front = Front::start(&["--concurrency", "1"]).await;
    let permits = Arc::new(Semaphore::new(0));
    let replica = Replica::echo(Arc::clone(&permits)).await;
    front.list(&[replica.url()]);
    front.until_ready(1).await;
    let (address, admin) = (front.address, front.admin);
    let get = |path: &str| tokio::spawn(fetch_owned(format!("http://{address}{path}")));
    let running = get("/running");
    front.until(|services| services[0]["in_flight"] == 1).await;
    let held = get("/held");
    front.until_held(1).await;
    front.shutdown.cancel();
    while TcpStream::connect(address).await.is_ok() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(fetch(&format!("http://{admin}/readyz")).await.status, 503);
    permits.add_permits(2);
    assert_eq!(running.await.unwrap(), 200);
    assert_eq!(held.await.unwrap(), 200);
    front.stop().await;
}

#[tokio::test]
async fn what_is_still_held_at_the_end_of_the_drain_timeout_is_answered() {
    let front = Front::start(&["--drain-timeout", "200ms"]).await;
    let held = tokio::spawn(fetch_owned(format!("http://{}/", front.address)));
    front.until_held(1).await;
    front.stop().await;
    assert_eq!(held.await.unwrap(), 503);
}

#[tokio::test]
async fn a_front_without_any_endpoint_is_ready_and_says_so() {
    let front = Front::start(&[]).await;
    for page in ["healthz", "readyz", "metrics", "debug/front"] {
        assert_eq!(fetch(&format!("http://{}/{page}", front.admin)).await.status, 200, "{page}");
    }
    front.stop().await;
}

#[tokio::test]
async fn a_probe_of_the_health_path_is_answered_at_zero_and_is_no_demand() {
    let front = Front::start(&["--health-path", "/healthz"]).await;
    for _ in 0..3 {
        let answer = front.get("/healthz").await;
        assert_eq!((answer.status, &answer.body[..]), (200, &b"ok"[..]));
    }
    assert_eq!(front.debug().await[0]["arrivals_total"], 0);
    let held = tokio::spawn(fetch_owned(format!("http://{}/health", front.address)));
    front.until_held(1).await;
    let replica = Replica::quick().await;
    front.list(&[replica.url()]);
    assert_eq!(held.await.unwrap(), 200);
    assert_eq!(front.get("/healthz").await.body, "ok");
    assert_eq!(replica.requests(), 1);
    front.stop().await;
}

#[tokio::test]
async fn without_a_health_path_every_path_is_the_services() {
    let front = Front::start(&[]).await;
    let held = tokio::spawn(fetch_owned(format!("http://{}/healthz", front.address)));
    front.until_held(1).await;
    let replica = Replica::quick().await;
    front.list(&[replica.url()]);
    assert_eq!(held.await.unwrap(), 200);
    front.stop().await;
}

async fn fetch_owned(url: String) -> u16 {
    fetch(&url).await.status
}
