//! From zero and back to it.

use std::time::Duration;

use serde_json::json;
use spotscale_test_cluster::{TestCluster, until};

use crate::harness::{Demand, Scaler, Trigger, Workload};

#[tokio::test(flavor = "multi_thread")]
async fn a_held_request_is_pushed_to_keda_and_scales_from_zero_at_once() {
    let (cluster, scaler) = (TestCluster::shared(), Scaler::start(&[]).await);
    // Polling is too slow to be what scales.
    let trigger = Trigger::push(&scaler.grpc).with(json!({ "pollingInterval": 120 }));
    let (workload, demand) = Workload::scaled(cluster, "push", &scaler, &trigger).await;
    demand.is(0, 0, 0);
    let is_open = || async {
        let open = "spotscale_scaler_streams{method=\"StreamIsActive\"} 1";
        Ok(scaler.page("/metrics").await.contains(open))
    };
    until("KEDA's stream", is_open).await.unwrap();
    demand.is(1, 0, 0);
    let took = workload.until(1).await;
    println!("first held request to the scale patch: {took:?}");
    assert!(took < Duration::from_secs(10), "{took:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn it_goes_to_zero_after_the_cooldown_and_wakes_up_again() {
    let (cluster, scaler) = (TestCluster::shared(), Scaler::start(&[]).await);
    let (workload, demand) =
        Workload::scaled(cluster, "zero", &scaler, &Trigger::push(&scaler.grpc)).await;
    for _ in 0..2 {
        demand.is(1, 0, 0);
        workload.until(1).await;
        demand.is(0, 1, 1);
        assert!(
            workload.changes_in(Duration::from_secs(4)).await.is_empty(),
            "{:?}",
            workload.history()
        );
        demand.is(0, 0, 1);
        workload.until(0).await;
        demand.is(0, 0, 0);
    }
    assert_eq!(workload.history(), [0, 1, 0, 1, 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_external_trigger_without_push_scales_from_zero_at_the_next_poll() {
    let (cluster, scaler) = (TestCluster::shared(), Scaler::start(&[]).await);
    let trigger = Trigger { kind: "external", ..Trigger::push(&scaler.grpc) };
    let (workload, demand) = Workload::scaled(cluster, "polled", &scaler, &trigger).await;
    demand.is(1, 0, 0);
    workload.until(1).await;
    demand.is(0, 0, 1);
    workload.until(0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn x02_a_request_that_waits_before_the_hpa_exists_is_served_soon_after() {
    let (cluster, scaler) = (TestCluster::shared(), Scaler::start(&[]).await);
    let workload = Workload::new(cluster, "early").await;
    let demand = Demand::on(&workload.service(), &[&scaler]);
    demand.is(1, 0, 0);
    tokio::time::sleep(Duration::from_millis(500)).await;
    workload.scale(&Trigger::push(&scaler.grpc).with(json!({ "pollingInterval": 60 }))).await;
    // KEDA drops a push that comes before it has metric names. Its first poll may come in time; if not, the push is repeated
    // one and six seconds later, and the next poll is a minute away.
    let took = workload.until(1).await;
    assert!(took < Duration::from_secs(20), "{took:?}");
}
