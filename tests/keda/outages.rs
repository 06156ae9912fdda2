//! What happens to replicas when a part is away.

use std::time::Duration;

use serde_json::json;
use spotscale_test_cluster::{Options, TestCluster};

use crate::harness::{Demand, Scaler, Trigger, Workload};

#[tokio::test(flavor = "multi_thread")]
async fn a_scaler_that_is_killed_leaves_the_replicas_as_they_are_and_scales_again_when_it_is_back()
{
    let (cluster, mut scaler) = (TestCluster::shared(), Scaler::start_alone("127.7.1.1").await);
    // A poll that fails together with a question of the HPA counts as idleness (KEDA 2.21); the cooldown outlives these.
    let trigger = Trigger::push(&scaler.grpc).with(json!({ "cooldownPeriod": 20 }));
    let (workload, demand) = Workload::scaled(cluster, "killed", &scaler, &trigger).await;
    demand.is(30, 0, 0);
    workload.settled(&scaler).await;
    scaler.kill().await;
    // KEDA has found out.
    workload.until_condition("Ready", "False").await;
    assert!(
        workload.changes_in(Duration::from_secs(6)).await.is_empty(),
        "{:?}",
        workload.history()
    );
    scaler.restart().await;
    demand.is(0, 0, 3);
    workload.until(0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn x01_push_works_again_soon_after_a_graceful_restart() {
    let (cluster, mut scaler) = (TestCluster::shared(), Scaler::start_alone("127.7.1.2").await);
    // Polling is too slow to be what scales.
    let trigger = Trigger::push(&scaler.grpc).with(json!({ "pollingInterval": 120 }));
    let (workload, demand) = Workload::scaled(cluster, "rolled", &scaler, &trigger).await;
    demand.is(0, 0, 0);
    assert!(scaler.terminate().await.success());
    scaler.restart().await;
    scaler.until_reported(&workload.service()).await;
    demand.is(1, 0, 0);
    // A stream that ends cleanly is opened again after two seconds.
    let took = workload.until(1).await;
    println!("graceful restart to the push: {took:?}");
    assert!(took < Duration::from_mins(1), "{took:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn x01_after_six_abrupt_restarts_polling_still_scales() {
    let (cluster, mut scaler) = (TestCluster::shared(), Scaler::start_alone("127.7.1.3").await);
    let trigger = Trigger::push(&scaler.grpc).with(json!({ "pollingInterval": 5 }));
    let (workload, demand) = Workload::scaled(cluster, "crashes", &scaler, &trigger).await;
    demand.is(0, 0, 0);
    for _ in 0..6 {
        scaler.kill().await;
        tokio::time::sleep(Duration::from_millis(300)).await;
        scaler.restart().await;
        tokio::time::sleep(Duration::from_secs(2)).await;
    }
    scaler.until_reported(&workload.service()).await;
    assert_eq!(workload.history(), [0]);
    demand.is(1, 0, 0);
    let took = workload.until(1).await;
    println!("six abrupt restarts, then the first scale: {took:?}");
    assert!(took < Duration::from_secs(30), "{took:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_that_is_killed_leaves_the_replicas_and_scales_again_when_it_is_back() {
    let options = Options { name: "keda-operator".to_owned(), ..Options::default() };
    let (cluster, scaler) = (TestCluster::start(&options).await.unwrap(), Scaler::start(&[]).await);
    let (workload, demand) =
        Workload::scaled(&cluster, "operator", &scaler, &Trigger::push(&scaler.grpc)).await;
    demand.is(30, 0, 0);
    workload.settled(&scaler).await;
    cluster.kill_keda();
    demand.is(0, 0, 1);
    assert!(
        workload.changes_in(Duration::from_secs(6)).await.is_empty(),
        "{:?}",
        workload.history()
    );
    cluster.restart_keda();
    workload.until(0).await;
    demand.is(1, 0, 0);
    workload.until(1).await;
}

/// The front comes after the ScaledObject: until then the scaler does not know, KEDA loses its connection at every poll,
/// and its push stream waits for longer and longer.
#[tokio::test(flavor = "multi_thread")]
async fn a_front_that_comes_late_finds_the_replicas_as_they_were_and_scales_by_the_next_poll() {
    let (cluster, scaler) = (TestCluster::shared(), Scaler::start(&[]).await);
    let workload = Workload::new(cluster, "late").await;
    workload.set_replicas(2).await;
    // What was never active has a cooldown of its own, which is none by default.
    let spec = json!({ "pollingInterval": 2, "initialCooldownPeriod": 60 });
    workload.scale(&Trigger::push(&scaler.grpc).with(spec)).await;
    workload.until_condition("Ready", "False").await;
    let changes = workload.changes_in(Duration::from_secs(15)).await;
    assert!(changes.is_empty(), "{changes:?}");
    let demand = workload.demand(&scaler).await;
    demand.is(1000, 2, 2);
    workload.until(20).await;
}

/// An error of the scaler makes KEDA drop its connection, and a poll that is under way then takes the service for idle
/// (KEDA 2.21). An HPA asks four times a minute; here somebody asks all the time.
#[tokio::test(flavor = "multi_thread")]
async fn an_outage_that_polls_and_questions_of_the_hpa_meet_in_scales_nothing_to_zero() {
    let (cluster, scaler) = (TestCluster::shared(), Scaler::start(&[]).await);
    let trigger = Trigger::push(&scaler.grpc).holding();
    let (workload, demand) =
        Workload::scaled_under(cluster, "asked", &scaler, &trigger, (0, 6, 6)).await;
    workload.until(6).await;
    let before = workload.history();
    demand.cut_last();
    let asked = workload.ask_for_metrics(Duration::from_secs(30)).await;
    println!("{asked} questions");
    assert!(asked > 100, "only {asked} questions");
    assert_eq!(workload.history(), before);
}

#[tokio::test(flavor = "multi_thread")]
async fn x15_two_scalers_agree_and_the_one_that_no_front_reaches_scales_nothing_down() {
    let (cluster, scalers) = (TestCluster::shared(), Scaler::pair().await);
    let [one, two] = &scalers;
    cluster.set_host("two-scalers.test", &[one.ip(), two.ip()]);
    let address = format!("two-scalers.test:{}", one.port());
    // Each error of the one may make KEDA take the service for idle once: what it learns from the other outlives that.
    let trigger = Trigger { address, ..Trigger::push(&one.grpc) };
    let trigger = trigger.with(json!({ "cooldownPeriod": 60 }));
    let workload = Workload::new(cluster, "two").await;
    let demand = Demand::on(&workload.service(), &[one, two]);
    demand.is(30, 0, 0);
    for scaler in &scalers {
        scaler.until_reported(&workload.service()).await;
    }
    workload.scale(&trigger).await;
    let before = workload.settled(one).await;
    assert_eq!(
        two.desired(&workload.namespace).await,
        Some(before),
        "KEDA asked only one of them, or they differ"
    );
    demand.cut_last();
    let changes = workload.changes_in(Duration::from_secs(15)).await;
    assert!(changes.is_empty(), "{changes:?}");
    assert_eq!(two.desired(&workload.namespace).await, None, "it guesses");
    demand.is(1000, 0, 0);
    workload.until(20).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_scalers_one_may_die_and_the_other_goes_on_at_once() {
    let (cluster, mut scalers) = (TestCluster::shared(), Scaler::pair().await);
    cluster.set_host("one-of-two.test", &[scalers[0].ip(), scalers[1].ip()]);
    let address = format!("one-of-two.test:{}", scalers[0].port());
    let trigger = Trigger { address, ..Trigger::push(&scalers[0].grpc) };
    let workload = Workload::new(cluster, "pair").await;
    let demand = Demand::on(&workload.service(), &[&scalers[0], &scalers[1]]);
    demand.is(30, 0, 0);
    for scaler in &scalers {
        scaler.until_reported(&workload.service()).await;
    }
    workload.scale(&trigger).await;
    workload.settled(&scalers[1]).await;
    scalers[0].kill().await;
    demand.is(1000, 0, 0);
    let took = workload.until(20).await;
    println!("one of two killed, and the other has scaled: {took:?}");
    assert!(took < Duration::from_secs(30), "{took:?}");
}
