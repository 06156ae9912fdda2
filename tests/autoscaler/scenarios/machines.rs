//! Machines that go, one or all of them, with a word before or without.

use std::time::{Duration, Instant};

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Node;
use spotscale_test_cluster::{
    catalog::CapacityType,
    cloud::events,
    kubelet::Running,
    provider::{EndedBy, Instance, State},
};

use super::{SCOPE, Stage};
use crate::ground::{proxy::Act, queue::NOTICE};

#[tokio::test(flavor = "multi_thread")]
async fn scenario_16_an_interrupted_machine_goes_and_its_pod_is_well_elsewhere() {
    let stage = Stage::new("taken", 1).await;
    let victim = stage.machine(0);
    let deadline = stage.ground.interrupt(&victim.node, Duration::from_secs(30)).await;
    stage.moved(std::slice::from_ref(&victim)).await;
    assert!(Timestamp::now() < deadline, "it was still there when the machine went");
    stage
        .ground
        .until("the Node to go", || async { Ok(stage.node(&victim).await.is_none()) })
        .await;
    let became = stage.ground.provider.instance(&victim.node).unwrap().state;
    assert!(matches!(became, State::Ended { by: EndedBy::Cloud, .. }), "{became:?}");
    stage.moved(&[victim]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn scenario_17_a_machine_that_is_ended_behind_the_clusters_back_is_replaced() {
    let stage = Stage::new("vanished", 1).await;
    let victim = stage.machine(0);
    stage.ground.provider.interrupt(&victim.node, Duration::ZERO).await.unwrap();
    let event = events::state_change(&victim.id, "shutting-down", Timestamp::now());
    stage.queue.moto.send(&stage.queue.url, &event).await.unwrap();
    let start = Instant::now();
    stage.moved(&[victim]).await;
    println!("machine gone without notice to pod elsewhere: {:.1?}", start.elapsed());
}

/// Scenario 20: the machine is gone and its Node stays, as where something holds it. Nobody is asked to leave who is not
/// there any more, and the pod is replaced as soon as it is known, which Kubernetes itself would do after five minutes.
#[tokio::test(flavor = "multi_thread")]
async fn scenario_20_a_machine_that_is_gone_and_whose_node_stays_holds_nothing_up() {
    let stage = Stage::new("stays", 1).await;
    let gone = stage.machine(0);
    stage.ground.provider.kubelet().take(&gone.node);
    let is_lost = || async { Ok(!is_ready(&stage.node(&gone).await.unwrap())) };
    stage.ground.until("its Node not to be ready", is_lost).await;
    assert!(stage.daemon.proxy.acts().iter().all(|act| *act == Act::Steer), "it may come back");
    stage.send(&events::state_change(&gone.id, "terminated", Timestamp::now())).await;
    stage.moved(std::slice::from_ref(&gone)).await;
    // A pod may be gone before the answer to its eviction is written down.
    let is_told = || async { Ok(stage.daemon.proxy.count(Act::Evict) == 1) };
    stage.ground.until("the eviction to be written down", is_told).await;
    let acts = stage.daemon.proxy.acts();
    assert_eq!(stage.daemon.proxy.count(Act::Surge), 0, "it served nobody: {acts:?}");
    let node = stage.node(&gone).await.unwrap();
    assert!(!is_ready(&node) && node.metadata.deletion_timestamp.is_none(), "{node:?}");
}

/// Scenario 8.
#[tokio::test(flavor = "multi_thread")]
async fn scenario_8_a_machine_that_stops_is_left_and_one_that_starts_is_not() {
    let stage = Stage::new("states", 2).await;
    for state in ["pending", "running"] {
        stage.send(&events::state_change(&stage.machine(0).id, state, Timestamp::now())).await;
    }
    stage.read().await;
    stage.assert_calm().await;
    assert!(stage.daemon.proxy.acts().iter().all(|act| *act == Act::Steer));
    let stopping = stage.machine(1);
    stage.send(&events::state_change(&stopping.id, "stopping", Timestamp::now())).await;
    stage.moved(&[stopping]).await;
    stage.read().await;
    assert_eq!(stage.daemon.proxy.count(Act::Cordon), 1, "{:?}", stage.daemon.proxy.acts());
}

#[tokio::test(flavor = "multi_thread")]
async fn scenario_e_when_all_spot_goes_at_once_on_demand_takes_over() {
    let stage = Stage::new("drought", 4).await;
    let victims: Vec<Instance> = (0..4).map(|n| stage.machine(n)).collect();
    stage.ground.set_capacity(CapacityType::Spot, false);
    let start = Instant::now();
    for victim in &victims {
        let deadline = stage.ground.provider.interrupt(&victim.node, NOTICE).await.unwrap();
        stage.queue.interruption(victim, deadline).await;
    }
    stage.moved(&victims).await;
    println!("all spot gone to all on demand: {:.1?}", start.elapsed());
    stage.drained(4).await;
    let capacity = |pod: &Running| stage.ground.machine_of(pod).offering.capacity_type;
    let pods = stage.ground.of(SCOPE);
    assert!(pods.iter().all(|pod| capacity(pod) == CapacityType::OnDemand), "{pods:?}");
}

fn is_ready(node: &Node) -> bool {
    let conditions = node.status.iter().flat_map(|status| status.conditions.iter().flatten());
    conditions.into_iter().any(|one| one.type_ == "Ready" && one.status == "True")
}
