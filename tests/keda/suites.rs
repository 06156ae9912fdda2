//! What KEDA's own suites expect of an external scaler and of the features around one, as scenarios of ours.

use std::time::Duration;

use serde_json::json;
use spotscale_test_cluster::TestCluster;

use crate::harness::{Scaler, Trigger, Workload};

/// KEDA's idle suite: none, then the least, then the most, then none.
async fn from_idle_to_the_most_and_back(kind: &'static str, most: i32) {
    let (cluster, scaler) = (TestCluster::shared(), Scaler::start(&[]).await);
    let limits = json!({ "idleReplicaCount": 0, "minReplicaCount": 1, "maxReplicaCount": most });
    let trigger = Trigger { kind, ..Trigger::push(&scaler.grpc) }.with(limits);
    let (workload, demand) = Workload::scaled(cluster, "idle", &scaler, &trigger).await;
    demand.is(1, 0, 0);
    workload.until(1).await;
    demand.is(100, 1, 1);
    workload.until(most).await;
    demand.is(0, 0, 1);
    workload.until(0).await;
    assert_eq!(workload.history().first(), Some(&0));
}

#[tokio::test(flavor = "multi_thread")]
async fn external_scaler_so() {
    from_idle_to_the_most_and_back("external", 2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn external_push_scaler() {
    from_idle_to_the_most_and_back("external-push", 3).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn external_scaler_sj_makes_as_many_jobs_as_are_wanted() {
    let (cluster, scaler) = (TestCluster::shared(), Scaler::start(&[]).await);
    let workload = Workload::new(cluster, "jobs").await;
    let demand = workload.demand(&scaler).await;
    demand.is(100, 0, 0);
    let trigger = Trigger { kind: "external", ..Trigger::push(&scaler.grpc) };
    workload.scale_jobs(&trigger, 3).await;
    workload.until_jobs(3).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn cache_metrics_holds_a_cached_number_between_polls_and_an_uncached_one_falls() {
    let (cluster, scaler) = (TestCluster::shared(), Scaler::start(&[]).await);
    let rare = json!({ "pollingInterval": 1000, "minReplicaCount": 1 });
    let uncached = Trigger::push(&scaler.grpc).with(rare);
    let cached = Trigger { cached: true, ..uncached.clone() };
    let ((with, demand), (without, other)) = tokio::join!(
        Workload::scaled_under(cluster, "cached", &scaler, &cached, (1000, 1, 1)),
        Workload::scaled_under(cluster, "uncached", &scaler, &uncached, (1000, 1, 1)),
    );
    with.until(20).await;
    without.until(20).await;
    demand.is(0, 1, 20);
    other.is(0, 1, 20);
    without.until_seen("fewer", |now| now < 20).await;
    let changes = with.changes_in(Duration::from_secs(10)).await;
    assert!(changes.is_empty(), "{changes:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn polling_cooldown_so_keeps_the_last_replica_for_the_cooldown_and_no_longer() {
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
async fn scaling_modifiers_scale_by_the_formula_and_stay_at_zero_at_the_activation_target() {
    let (cluster, scaler) = (TestCluster::shared(), Scaler::start(&[]).await);
    let modifiers = |activation: &str| {
        let formula =
            json!({ "formula": "wish + 2", "target": "1", "activationTarget": activation });
        json!({ "advanced": { "scalingModifiers": formula } })
    };
    let trigger = Trigger { kind: "external", ..Trigger::push(&scaler.grpc) }
        .asking(json!({ "minReplicas": "1" }));
    let at = trigger.clone().with(modifiers("3"));
    let (workload, demand) = Workload::scaled(cluster, "formula", &scaler, &at).await;
    demand.is(0, 0, 0);
    assert!(
        workload.changes_in(Duration::from_secs(4)).await.is_empty(),
        "{:?}",
        workload.history()
    );
    workload.scale(&trigger.with(modifiers("2"))).await;
    workload.until(3).await;
}

/// With replicas to fall back to.
fn falling_back(scaler: &Scaler) -> Trigger {
    let fallback = json!({ "failureThreshold": 3, "replicas": 6 });
    Trigger::push(&scaler.grpc).with(json!({ "fallback": fallback, "minReplicaCount": 1 }))
}

#[tokio::test(flavor = "multi_thread")]
async fn fallback_takes_over_when_no_front_reports_any_more_and_gives_back() {
    let (cluster, scaler) = (TestCluster::shared(), Scaler::start(&[]).await);
    let (workload, demand) =
        Workload::scaled(cluster, "fallback", &scaler, &falling_back(&scaler)).await;
    demand.is(1, 0, 0);
    workload.until(1).await;
    drop(demand);
    workload.until(6).await;
    workload.until_condition("Fallback", "True").await;
    let demand = workload.demand(&scaler).await;
    demand.is(1, 0, 1);
    workload.until(1).await;
    workload.until_condition("Fallback", "False").await;
}

/// KEDA counts failed metrics and not failed metric specs, so that a scaler which cannot be reached at all holds the
/// replicas, fallback or not. That is why the install runs two.
#[tokio::test(flavor = "multi_thread")]
async fn fallback_does_not_take_over_from_a_scaler_that_cannot_be_reached() {
    let (cluster, mut scaler) = (TestCluster::shared(), Scaler::start(&[]).await);
    let (workload, demand) =
        Workload::scaled(cluster, "away", &scaler, &falling_back(&scaler)).await;
    demand.is(1, 0, 0);
    workload.until(1).await;
    scaler.kill().await;
    workload.until_condition("HPAActive", "False").await;
    assert!(
        workload.changes_in(Duration::from_secs(15)).await.is_empty(),
        "{:?}",
        workload.history()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn pause_scale_in_keeps_what_is_there_and_growth_goes_on() {
    let (cluster, scaler) = (TestCluster::shared(), Scaler::start(&[]).await);
    let (workload, demand) =
        Workload::scaled(cluster, "paused", &scaler, &Trigger::push(&scaler.grpc)).await;
    demand.is(5, 1, 1);
    let some = workload.settled(&scaler).await;
    workload.annotate("autoscaling.keda.sh/paused-scale-in", Some("true")).await;
    workload.until_condition("Ready", "True").await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    demand.is(0, 0, 1);
    let changes = workload.changes_in(Duration::from_secs(8)).await;
    assert!(changes.is_empty(), "{changes:?}");
    demand.is(100, 1, 1);
    workload.until_seen("more", |now| now > some).await;
    demand.is(0, 0, 1);
    workload.annotate("autoscaling.keda.sh/paused-scale-in", None).await;
    workload.until(0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn force_activation_keeps_one_without_demand() {
    let (cluster, scaler) = (TestCluster::shared(), Scaler::start(&[]).await);
    let (workload, demand) =
        Workload::scaled(cluster, "forced", &scaler, &Trigger::push(&scaler.grpc)).await;
    demand.is(0, 0, 0);
    workload.annotate("autoscaling.keda.sh/force-activation", Some("true")).await;
    workload.until(1).await;
    assert!(workload.changes_in(Duration::from_secs(5)).await.is_empty());
    workload.annotate("autoscaling.keda.sh/force-activation", None).await;
    workload.until(0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn restore_original_gives_the_replicas_back_that_there_were() {
    let (cluster, scaler) = (TestCluster::shared(), Scaler::start(&[]).await);
    let workload = Workload::new(cluster, "original").await;
    workload.set_replicas(2).await;
    let demand = workload.demand(&scaler).await;
    demand.is(0, 0, 0);
    let restore = json!({ "advanced": { "restoreToOriginalReplicaCount": true } });
    workload.scale(&Trigger::push(&scaler.grpc).with(restore)).await;
    workload.until(0).await;
    workload.unscale().await;
    workload.until(2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn initial_delay_cooldownperiod_spares_a_workload_that_was_never_active() {
    let (cluster, scaler) = (TestCluster::shared(), Scaler::start(&[]).await);
    let workload = Workload::new(cluster, "initial").await;
    workload.set_replicas(1).await;
    let demand = workload.demand(&scaler).await;
    demand.is(0, 0, 0);
    workload.scale(&Trigger::push(&scaler.grpc).with(json!({ "initialCooldownPeriod": 8 }))).await;
    workload.until_condition("Ready", "True").await;
    assert!(
        workload.changes_in(Duration::from_secs(4)).await.is_empty(),
        "{:?}",
        workload.history()
    );
    workload.until(0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn trigger_update_so_is_followed() {
    let (cluster, scaler) = (TestCluster::shared(), Scaler::start(&[]).await);
    let trigger = Trigger::push(&scaler.grpc);
    let (workload, demand) = Workload::scaled(cluster, "update", &scaler, &trigger).await;
    demand.is(0, 0, 0);
    assert_eq!(workload.until(0).await.as_secs(), 0);
    workload.scale(&trigger.clone().asking(json!({ "warmReplicas": "4" }))).await;
    workload.until(4).await;
    workload.scale(&trigger).await;
    workload.until(0).await;
}
