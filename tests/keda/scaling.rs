//! Between one and many, through the real HPA.

use std::time::{Duration, Instant};

use serde_json::json;
use spotscale_test_cluster::{Options, TestCluster};

use crate::harness::{Scaler, Trigger, Workload};

/// KEDA's own default.
const POLLS: Duration = Duration::from_secs(30);
/// What half an hour is at the default paces, with an HPA that looks every second and not every 15 s.
const HALF_AN_HOUR: Duration = Duration::from_mins(2);

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

/// Two minutes of waiting, for both at once: the HPA looks 120 times, as often as in half an hour at its default pace.
#[tokio::test(flavor = "multi_thread")]
async fn x03_steady_demand_changes_pushes_and_patches_nothing_x12_and_on_the_edge_of_two_numbers_it_changes_once_at_most()
 {
    tokio::join!(x03_steady_demand(), x12_demand_on_the_edge());
}

/// The first workload is polled every second. The second is polled at KEDA's default pace: the status of an active one is
/// written at every poll, so that what a push would have KEDA write is seen there.
async fn x03_steady_demand() {
    let (cluster, scaler) = (TestCluster::shared(), Scaler::start(&[]).await);
    let often = Trigger::push(&scaler.grpc);
    let rarely = often.clone().with(json!({ "pollingInterval": POLLS.as_secs() }));
    let ((often, one), (rarely, other)) = tokio::join!(
        Workload::scaled(cluster, "steady", &scaler, &often),
        Workload::scaled(cluster, "quiet", &scaler, &rarely),
    );
    one.is(5, 3, 3);
    other.is(5, 3, 3);
    tokio::join!(often.settled(&scaler), rarely.settled(&scaler));
    let pushed = scaler.counter("spotscale_scaler_push_messages_total").await;
    let span = HALF_AN_HOUR;
    let (changes, others, writes) =
        tokio::join!(often.changes_in(span), rarely.changes_in(span), rarely.writes_in(span));
    assert!(changes.is_empty() && others.is_empty(), "{changes:?} {others:?}");
    assert!(pushed > 0, "it was never pushed: the metric is not the one");
    assert_eq!(scaler.counter("spotscale_scaler_push_messages_total").await, pushed);
    let polls = span.div_duration_f64(POLLS) as usize;
    println!("in {span:?} with a poll every {POLLS:?} its status was written {writes} times");
    assert!((polls - 1..=polls + 1).contains(&writes), "{writes} writes in {polls} polls");
}

/// Demand that goes to and fro over the edge between two numbers.
async fn x12_demand_on_the_edge() {
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
    let (start, mut both) = (Instant::now(), [edge - 1, edge].into_iter().cycle());
    while start.elapsed() < HALF_AN_HOUR {
        demand.is(both.next().unwrap(), 0, 1);
        tokio::time::sleep(Duration::from_secs(3)).await;
    }
    assert!(workload.history().len() <= before + 1, "{:?}", workload.history());
}
