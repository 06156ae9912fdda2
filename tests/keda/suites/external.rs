//! KEDA's suites of the external scaler: one value after the other, and how many replicas or jobs each is.

use std::time::Duration;

use serde_json::json;
use spotscale_test_cluster::TestCluster;

use crate::harness::{Demand, Scaler, Trigger, Workload};

/// A workload of at most `most` that takes ten requests a replica: none, then the least, then two.
async fn from_idle_to_two(kind: &'static str, most: i32) -> (Scaler, Trigger, Workload, Demand) {
    let (cluster, scaler) = (TestCluster::shared(), Scaler::start(&[]).await);
    let limits = json!({ "idleReplicaCount": 0, "minReplicaCount": 1, "maxReplicaCount": most });
    let trigger = Trigger { kind, ..Trigger::push(&scaler.grpc) }.with(limits);
    let (workload, demand) = Workload::scaled(cluster, "idle", &scaler, &trigger).await;
    let demand = demand.by(10);
    demand.is(0, 10, 0);
    workload.until(1).await;
    let changes = workload.changes_in(Duration::from_secs(3)).await;
    assert!(changes.is_empty(), "ten are one replica: {changes:?}");
    demand.is(0, 20, 1);
    workload.until(2).await;
    assert_eq!(workload.history(), [0, 1, 2]);
    (scaler, trigger, workload, demand)
}

#[tokio::test(flavor = "multi_thread")]
async fn external_scaler_so() {
    let (_scaler, _, workload, demand) = from_idle_to_two("external", 2).await;
    demand.is(0, 0, 2);
    workload.until(0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn external_push_scaler() {
    let (_scaler, trigger, workload, demand) = from_idle_to_two("external-push", 3).await;
    // 22.222 of 6.111 are 3.6 replicas.
    let floats = json!({ "formula": "wish * 11.111", "target": "6.111" });
    workload.scale(&trigger.with(json!({ "advanced": { "scalingModifiers": floats } }))).await;
    workload.until(3).await;
    demand.is(0, 0, 3);
    workload.until(0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn external_scaler_sj_follows_the_value_up_and_down() {
    let (cluster, scaler) = (TestCluster::shared(), Scaler::start(&[]).await);
    let workload = Workload::new(cluster, "jobs").await;
    let demand = workload.demand(&scaler).await.by(10);
    let trigger = Trigger { kind: "external", ..Trigger::push(&scaler.grpc) };
    workload.scale_jobs(&trigger.with(json!({ "maxReplicaCount": 3 }))).await;
    demand.is(0, 10, 0);
    workload.until_jobs(1).await;
    demand.is(0, 30, 1);
    workload.until_jobs(3).await;
    demand.is(0, 0, 3);
    scaler.until_told(&workload.namespace, "nothing held, running or arriving").await;
    let _done = workload.pods_are_done();
    workload.until_jobs(0).await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!(workload.jobs().await.unwrap(), 0, "there is no work for a new one");
}
