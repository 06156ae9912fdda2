//! What the real HPA does with replicas while Prometheus is out, in each of the ways in which it can be.

use std::time::Duration;

use futures::future::join_all;
use serde_json::json;
use spotscale_test_cluster::TestCluster;

use crate::harness::{Prometheus, Says, Scaler, Trigger, Workload, tells};

/// GPUs that have little to do, which forbids nothing.
const SOUND: Says = Says::Now("0.05");

/// A name, what becomes of every query, and what the scaler calls that. A sample that is old by its own account is no
/// trouble, only old.
const OUTAGES: [(&str, Says, Option<&str>); 6] = [
    ("down", Says::Away, Some("request")),
    ("failing", Says::Fails, Some("refused")),
    ("nan", Says::Now("NaN"), Some("out_of_range")),
    ("empty", Says::Nothing, Some("empty")),
    ("old", Says::Old("0.05", Duration::from_mins(10)), None),
    ("hanging", Says::Late(Duration::from_secs(30)), Some("timeout")),
];

/// All at once, each with a scaler, a Prometheus and a workload of its own: a reading ages in real time, and what is held
/// is held for a minute.
#[tokio::test(flavor = "multi_thread")]
async fn x05_prometheus_down_failing_nan_empty_old_or_hanging_holds_the_replicas_and_the_own_queue_still_grows_them()
 {
    join_all(OUTAGES.map(outage)).await;
}

async fn outage((name, says, trouble): (&'static str, Says, Option<&'static str>)) {
    let mut prometheus = Prometheus::start(SOUND).await;
    let flags = [prometheus.flag(), "--prometheus-interval=1s".to_owned()];
    let scaler = Scaler::start(&flags.each_ref().map(String::as_str)).await;
    let trigger = Trigger::push(&scaler.grpc).asking(json!({ "gpuQuery": "gpu" })).holding();
    let cluster = TestCluster::shared();
    let (workload, demand) =
        Workload::scaled_under(cluster, name, &scaler, &trigger, (0, 6, 6)).await;
    let namespace = &workload.namespace;
    workload.until(6).await;
    // With a sound signal fewer requests are fewer replicas.
    demand.is(0, 5, 6);
    workload.until(5).await;

    prometheus.says(says).await;
    // The last good reading counts for as long as it is fresh.
    scaler.until_told(namespace, "the gpu signal").await;
    demand.is(0, 3, 5);
    // From stale to expired: in the end the scaler no longer gives the number, and KEDA keeps its own.
    let changes = workload.changes_in(Duration::from_secs(20)).await;
    assert!(changes.is_empty(), "{name}: {changes:?}");
    let told = scaler.until_told(namespace, "no shrink: the gpu signal has expired").await;
    assert_eq!(told["readings"][0]["trouble"]["kind"], json!(trouble), "{name}: {told:#}");
    workload.until_condition("Fallback", "True").await;

    demand.is(1000, 3, 5);
    let took = workload.until_seen("more", |now| now > 5).await;
    println!("{name}: more replicas {took:?} after the demand");
    workload.until(20).await;

    prometheus.says(SOUND).await;
    demand.is(0, 3, 20);
    workload.until(3).await;
    let told = scaler.explains(namespace).await;
    assert!(!tells(&told, "the gpu signal"), "{name}: {told:#}");
}
