//! Between one and many, through the real HPA.

use std::time::Duration;

use serde_json::json;
use spotscale_test_cluster::{Options, TestCluster};

use crate::harness::{Scaler, Trigger, Workload};

#[tokio::test(flavor = "multi_thread")]
async fn a_spike_takes_it_from_one_to_five_within_thirty_seconds_and_to_twenty_at_the_hpas_default_pace()
 {
    let options = Options {
        hpa_sync: Duration::from_secs(15),
        name: "keda-default-pace".to_owned(),
        ..Options::default()
    };
    let (cluster, scaler) = (TestCluster::start(&options).await.unwrap(), Scaler::start(&[]).await);
    let trigger = Trigger { behavior: json!({}), ..Trigger::push(&scaler.grpc) };
    let (workload, demand) = Workload::scaled(&cluster, "spike", &scaler, &trigger).await;
    demand.is(0, 1, 1);
    workload.until(1).await;
    demand.is(200, 1, 1);
    let took = workload.until_seen("five", |now| now >= 5).await;
    println!("from one to five: {took:?}");
    assert!(took < Duration::from_secs(30), "{took:?}");
    println!("to twenty: {:?} more", workload.until(20).await);
}

/// The HPA looks every second and KEDA polls every second: two minutes are thirty of theirs at the default pace.
#[tokio::test(flavor = "multi_thread")]
async fn x03_steady_demand_changes_no_replica_and_pushes_nothing() {
    let (cluster, scaler) = (TestCluster::shared(), Scaler::start(&[]).await);
    let (workload, demand) =
        Workload::scaled(cluster, "steady", &scaler, &Trigger::push(&scaler.grpc)).await;
    demand.is(5, 3, 3);
    workload.settled(&scaler).await;
    let pushed = scaler.counter("spotscale_scaler_push_messages_total").await;
    let changes = workload.changes_in(Duration::from_mins(2)).await;
    assert!(changes.is_empty(), "{:?}", workload.history());
    assert!(pushed > 0, "it was never pushed: the metric is not the one");
    assert_eq!(scaler.counter("spotscale_scaler_push_messages_total").await, pushed);
}

#[tokio::test(flavor = "multi_thread")]
async fn above_ten_replicas_every_single_step_is_obeyed_when_the_tolerance_is_zero() {
    let (cluster, scaler) = (TestCluster::shared(), Scaler::start(&[]).await);
    let steps = [12, 13, 12, 11, 12];
    let trigger = |replicas: i32| {
        Trigger::push(&scaler.grpc).asking(json!({ "minReplicas": replicas.to_string() }))
    };
    let (workload, demand) = Workload::scaled(cluster, "steps", &scaler, &trigger(steps[0])).await;
    demand.is(0, 1, 1);
    for replicas in steps {
        workload.scale(&trigger(replicas)).await;
        workload.until(replicas).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn x12_demand_on_the_edge_between_two_numbers_changes_the_replicas_once_at_most() {
    let (cluster, scaler) = (TestCluster::shared(), Scaler::start(&[]).await);
    let trigger = Trigger::push(&scaler.grpc).asking(json!({ "shrinkWindowSeconds": "10" }));
    let (workload, demand) = Workload::scaled(cluster, "edge", &scaler, &trigger).await;
    demand.is(4, 0, 1);
    let below = workload.settled(&scaler).await;
    let mut edge = 4;
    while scaler.desired(&workload.namespace).await == Some(below) {
        edge += 1;
        demand.is(edge, 0, 1);
        tokio::time::sleep(Duration::from_millis(700)).await;
    }
    workload.settled(&scaler).await;
    let before = workload.history().len();
    for _ in 0..10 {
        for held in [edge - 1, edge] {
            demand.is(held, 0, 1);
            tokio::time::sleep(Duration::from_secs(3)).await;
        }
    }
    assert!(workload.history().len() <= before + 1, "{:?}", workload.history());
}
