//! KEDA's suites of what is held for how long: polls, caches, cooldowns, idle numbers.

use std::time::Duration;

use serde_json::json;
use spotscale_test_cluster::TestCluster;

use crate::harness::{Scaler, Trigger, Workload};

#[tokio::test(flavor = "multi_thread")]
async fn cache_metrics_holds_four_by_a_cached_number_and_goes_to_two_by_an_uncached_one() {
    let (cluster, scaler) = (TestCluster::shared(), Scaler::start(&[]).await);
    let rare = json!({ "pollingInterval": 1000, "minReplicaCount": 1 });
    let uncached = Trigger::push(&scaler.grpc).with(rare);
    let cached = uncached.clone().being(json!({ "useCachedMetrics": true }));
    let ((with, demand), (without, other)) = tokio::join!(
        Workload::scaled_under(cluster, "cached", &scaler, &cached, (0, 4, 4)),
        Workload::scaled_under(cluster, "uncached", &scaler, &uncached, (0, 4, 4)),
    );
    with.until(4).await;
    without.until(4).await;
    demand.is(0, 2, 4);
    other.is(0, 2, 4);
    without.until(2).await;
    let changes = with.changes_in(Duration::from_secs(15)).await;
    assert!(changes.is_empty(), "{changes:?}");
    assert_eq!(with.replicas(), Some(4));
}

#[tokio::test(flavor = "multi_thread")]
async fn idle_replicas_are_none_then_the_least_then_the_most() {
    let (cluster, scaler) = (TestCluster::shared(), Scaler::start(&[]).await);
    let limits = json!({ "idleReplicaCount": 0, "minReplicaCount": 2, "maxReplicaCount": 4 });
    let trigger = Trigger::push(&scaler.grpc).with(limits);
    let (workload, demand) = Workload::scaled(cluster, "least", &scaler, &trigger).await;
    assert_eq!(workload.history(), [0]);
    demand.is(0, 1, 0);
    workload.until(2).await;
    demand.is(0, 8, 2);
    workload.until(4).await;
    demand.is(0, 0, 4);
    workload.until(0).await;
    let history = workload.history();
    assert!(history.iter().all(|now| [0, 2, 4].contains(now)), "{history:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn polling_cooldown_so_does_nothing_before_the_next_poll_and_ends_after_the_cooldown() {
    tokio::join!(the_poll_decides_when(), the_cooldown_decides_when());
}

/// Without push, and with the HPA asleep, only KEDA's poll can change anything. The first one is at once.
async fn the_poll_decides_when() {
    let (cluster, scaler) = (TestCluster::shared(), Scaler::start(&[]).await);
    let trigger = Trigger { kind: "external", ..Trigger::push(&scaler.grpc) };
    let trigger = trigger.with(json!({ "pollingInterval": 20 }));
    let (workload, demand) = Workload::scaled(cluster, "polling", &scaler, &trigger).await;
    for (in_flight, replicas) in [(1, 1), (0, 0)] {
        demand.is(0, in_flight, 1);
        let changes = workload.changes_in(Duration::from_secs(8)).await;
        assert!(changes.is_empty(), "{changes:?} before the next poll");
        workload.until(replicas).await;
    }
}

async fn the_cooldown_decides_when() {
    let (cluster, scaler) = (TestCluster::shared(), Scaler::start(&[]).await);
    let trigger = Trigger::push(&scaler.grpc).with(json!({ "cooldownPeriod": 8 }));
    let (workload, demand) = Workload::scaled(cluster, "cooldown", &scaler, &trigger).await;
    demand.is(1, 0, 0);
    workload.until(1).await;
    demand.is(0, 0, 1);
    let took = workload.until(0).await;
    // KEDA keeps whole seconds, and the scaler's own idle time of a second comes before.
    assert!(took > Duration::from_secs(6), "{took:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn initial_delay_cooldownperiod_spares_a_workload_that_was_never_active() {
    let (cluster, scaler) = (TestCluster::shared(), Scaler::start(&[]).await);
    let workload = Workload::new(cluster, "initial").await;
    workload.set_replicas(1).await;
    let demand = workload.demand(&scaler).await;
    demand.is(0, 0, 0);
    workload.scale(&Trigger::push(&scaler.grpc).with(json!({ "initialCooldownPeriod": 20 }))).await;
    workload.until_condition("Ready", "True").await;
    assert!(
        workload.changes_in(Duration::from_secs(4)).await.is_empty(),
        "{:?}",
        workload.history()
    );
    workload.until(0).await;
}
