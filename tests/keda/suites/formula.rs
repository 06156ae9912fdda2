//! KEDA's suites of what it makes of the numbers: formulas, fallbacks, the type of the metric.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use spotscale_test_cluster::TestCluster;

use crate::harness::{Demand, PATIENCE, Scaler, Trigger, Workload};

/// Two services of one workload, and the ScaledObject that combines their numbers. Polled: a push passes by a formula.
struct Combined {
    workload: Workload,
    scaler: Scaler,
    trigger: Trigger,
}

impl Combined {
    async fn new(name: &str) -> Self {
        let scaler = Scaler::start(&[]).await;
        let workload = Workload::new(TestCluster::shared(), name).await;
        let trigger = Trigger { kind: "external", ..Trigger::push(&scaler.grpc) };
        let triggers = ["one", "two"].map(|name| trigger.on(name, &service(&workload, name)));
        let trigger = trigger.with(json!({ "triggers": triggers }));
        Self { workload, scaler, trigger }
    }

    /// So much in flight for one of the services, once its front has reported.
    async fn demand(&self, name: &str, in_flight: u64) -> Demand {
        let service = service(&self.workload, name);
        let demand = Demand::on(&service, &[&self.scaler]);
        demand.is(0, in_flight, in_flight as u32);
        self.scaler.until_reported(&service).await;
        demand
    }

    async fn scale(&self, modifiers: &Value, spec: Value) {
        let modifiers = json!({ "advanced": { "scalingModifiers": modifiers } });
        self.workload.scale(&self.trigger.clone().with(modifiers).with(spec)).await;
    }

    /// Waits for so many replicas, and that they stay. An HPA may undo KEDA's step to zero with one of its own that it had
    /// begun before, and KEDA makes it again.
    async fn until(&self, replicas: i32) {
        let start = Instant::now();
        let stays = async || {
            self.workload.until(replicas).await;
            self.workload.changes_in(Duration::from_secs(3)).await.is_empty()
        };
        while !stays().await {
            assert!(start.elapsed() < PATIENCE, "{:?}", self.workload.history());
        }
    }

    async fn stay(&self, span: Duration) {
        let changes = self.workload.changes_in(span).await;
        assert!(changes.is_empty(), "{changes:?} of {:?}", self.workload.history());
    }
}

fn service(workload: &Workload, name: &str) -> String {
    format!("{}/{name}", workload.namespace)
}

#[tokio::test(flavor = "multi_thread")]
async fn scaling_modifiers_stay_at_zero_at_the_activation_target_then_three_then_five_by_fallback_then_two_then_none()
 {
    let all = Combined::new("formula").await;
    let fallback = json!({ "fallback": { "failureThreshold": 3, "replicas": 5 } });
    let of = |formula: &str| json!({ "formula": formula, "target": "2", "activationTarget": "2" });
    let (one, two) = tokio::join!(all.demand("one", 0), all.demand("two", 2));
    all.scale(&of("one + two"), fallback.clone()).await;
    all.workload.until_condition("Ready", "True").await;
    all.stay(Duration::from_secs(12)).await;
    assert_eq!(all.workload.history(), [0], "0 + 2 is the activation target");
    one.is(0, 3, 3);
    all.until(3).await;
    drop(one);
    all.until(5).await;
    let one = all.demand("one", 2).await;
    all.until(2).await;
    one.is(0, 0, 2);
    all.scale(&of("count([one, two], {# > 1}) > 1 ? 5 : 0"), fallback).await;
    all.until(0).await;
    one.is(0, 2, 0);
    two.is(0, 2, 0);
    all.until(3).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn fallback_with_modifiers_takes_the_second_trigger_then_the_constant_then_the_first_again() {
    let all = Combined::new("coalesce").await;
    let (one, two) = tokio::join!(all.demand("one", 16), all.demand("two", 12));
    let fallback = json!({ "behavior": "scalingModifiers", "failureThreshold": 3, "replicas": 4 });
    let formula = json!({ "formula": "one ?? two ?? 8", "target": "2" });
    all.scale(&formula, json!({ "fallback": fallback, "minReplicaCount": 1 })).await;
    all.until(8).await;
    drop(one);
    all.until(6).await;
    drop(two);
    all.until(4).await;
    let _both = tokio::join!(all.demand("one", 16), all.demand("two", 12));
    all.until(8).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn value_metric_type_is_four_by_average_value_and_the_most_by_value() {
    let (cluster, scaler) = (TestCluster::shared(), Scaler::start(&[]).await);
    let limits = json!({ "minReplicaCount": 1, "maxReplicaCount": 10 });
    let prepared = async |name: &str, kind: &str| {
        let workload = Workload::new(cluster, name).await;
        workload.set_replicas(8).await;
        let ready = workload.pods_are_ready();
        let demand = workload.demand(&scaler).await;
        demand.is(0, 4, 8);
        let trigger = Trigger::push(&scaler.grpc).being(json!({ "metricType": kind }));
        workload.scale(&trigger.with(limits.clone())).await;
        (workload, demand, ready)
    };
    let (average, value) =
        tokio::join!(prepared("average", "AverageValue"), prepared("value", "Value"));
    average.0.until(4).await;
    // By `Value` the HPA multiplies with the replicas that are ready: eight times four is more than there may be.
    value.0.until(10).await;
    for (workload, ..) in [&average, &value] {
        assert_eq!(workload.changes_in(Duration::from_secs(3)).await, [0; 0]);
        assert_eq!(scaler.desired(&workload.namespace).await, Some(4));
    }
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
    let (cluster, mut scaler) = (TestCluster::shared(), Scaler::start_alone("127.7.1.4").await);
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
