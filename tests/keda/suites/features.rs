//! KEDA's suites of its features around any scaler, which must go on as they are.

use std::time::Duration;

use serde_json::{Value, json};
use spotscale_test_cluster::TestCluster;

use crate::harness::{Scaler, Trigger, Workload};

#[tokio::test(flavor = "multi_thread")]
async fn pause_scale_in_keeps_what_is_there_and_growth_goes_on() {
    let (cluster, scaler) = (TestCluster::shared(), Scaler::start(&[]).await);
    let (workload, demand) =
        Workload::scaled(cluster, "paused", &scaler, &Trigger::push(&scaler.grpc)).await;
    demand.is(5, 1, 1);
    let some = workload.settled(&scaler).await;
    workload.annotate("autoscaling.keda.sh/paused-scale-in", Some("true")).await;
    workload.until_condition("Paused", "True").await;
    // The HPA hears of it a moment later.
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
    workload.until_quiet().await;
    workload.unscale().await;
    workload.until(2).await;
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

#[tokio::test(flavor = "multi_thread")]
async fn status_update_shows_each_type_once_and_the_push_goes_on() {
    let (cluster, scaler) = (TestCluster::shared(), Scaler::start(&[]).await);
    let workload = Workload::new(cluster, "status").await;
    let demand = workload.demand(&scaler).await;
    demand.is(0, 0, 0);
    for object in authentication() {
        workload.apply(object).await;
    }
    // Polling is too slow to be what scales.
    let trigger = Trigger::push(&scaler.grpc)
        .being(json!({ "authenticationRef": { "name": "authentication" } }))
        .with(json!({ "pollingInterval": 60, "minReplicaCount": 0, "maxReplicaCount": 2 }));
    let with_others = |kind| {
        let own = Trigger { kind, ..trigger.clone() };
        let triggers = json!([own.trigger(), in_january(6), in_january(22)]);
        own.with(json!({ "triggers": triggers }))
    };
    workload.scale(&with_others("external-push")).await;
    workload.scale_jobs(&with_others("external")).await;
    for (kind, types) in [("ScaledObject", "external-push,cron"), ("ScaledJob", "external,cron")] {
        workload
            .until_status("the types", kind, |status| {
                status["triggersTypes"] == types
                    && status["authenticationsTypes"] == "authentication"
            })
            .await;
    }
    workload.until_condition("Ready", "True").await;
    assert_eq!(workload.replicas(), Some(0));
    demand.is(1, 0, 0);
    let took = workload.until(1).await;
    assert!(took < Duration::from_secs(20), "{took:?}: that was not the push");
}

/// A Secret, and a `TriggerAuthentication` that refers to it.
fn authentication() -> [Value; 2] {
    let secret = json!({ "name": "secret", "key": "user", "parameter": "username" });
    [
        json!({
            "apiVersion": "v1", "kind": "Secret", "metadata": { "name": "secret" },
            "stringData": { "user": "me" },
        }),
        json!({
            "apiVersion": "keda.sh/v1alpha1", "kind": "TriggerAuthentication",
            "metadata": { "name": "authentication" }, "spec": { "secretTargetRef": [secret] },
        }),
    ]
}

/// A trigger that is active for two hours a year.
fn in_january(hour: u32) -> Value {
    let at = |hour| format!("0 {hour} 1 1 *");
    let metadata = json!({
        "timezone": "Etc/UTC", "start": at(hour), "end": at(hour + 1), "desiredReplicas": "2",
    });
    json!({ "type": "cron", "metadata": metadata })
}
