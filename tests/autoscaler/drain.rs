//! The daemon empties nodes: the scenarios of those who did it before, on a real control plane.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::Pod;
use serde_json::json;
use spotscale_autoscaler::{
    Cluster as _, CordonCause, News, NodeNotices as _, NoticeKind, Observation, Outcome, State,
    kubernetes::{KubeCluster, MANAGER, NOTICES, OwnNode},
};
use spotscale_decide::units::NodeName;

use crate::world::{World, is_ready, restricted};

/// For a busy machine. No test passes by waiting for it.
const PATIENCE: Duration = Duration::from_secs(90);

fn in_seconds(seconds: i64) -> Timestamp {
    Timestamp::now() + SignedDuration::from_secs(seconds)
}

/// A replica on machine 0, and the other machine free.
async fn one_replica(name: &str) -> World {
    let world = World::new(name, 2).await;
    world.patch_node(1, json!({ "spec": { "unschedulable": true } })).await;
    world.deploy("resnet", 1).await;
    let on: Vec<_> = world.ready(1).await.into_values().collect();
    assert_eq!(on, [world.machine(0)]);
    world.patch_node(1, json!({ "spec": { "unschedulable": null } })).await;
    world
}

fn first(world: &World) -> NodeName {
    world.machine(0).parse().unwrap()
}

/// Waits until the only replica serves on machine 1. Returns the fewest that served at any moment.
async fn moved(world: &World) -> usize {
    let (fewest, is_over) = (Arc::new(AtomicUsize::new(usize::MAX)), AtomicBool::new(false));
    let count = async {
        while !is_over.load(Ordering::SeqCst) {
            let serving = world.living().await.values().filter(|pod| is_ready(pod)).count();
            fewest.fetch_min(serving, Ordering::SeqCst);
        }
    };
    let wait = async {
        let on_1 = || async {
            let living = world.living().await;
            let node = |pod: &Pod| pod.spec.as_ref()?.node_name.clone();
            let there =
                living.values().all(|pod| is_ready(pod) && node(pod) == Some(world.machine(1)));
            Ok(living.len() == 1 && there)
        };
        world.until("the replica to move", on_1).await;
        is_over.store(true, Ordering::SeqCst);
    };
    tokio::join!(count, wait);
    fewest.load(Ordering::SeqCst)
}

async fn until_cordoned(world: &World, cluster: &KubeCluster) {
    let is_cordoned = |seen: &Observation| {
        seen.nodes
            .iter()
            .any(|node| node.name == first(world) && node.cordoned == Some(CordonCause::Notice))
    };
    world.seen(cluster, "the cordon", is_cordoned).await;
    let spec = world.node(0).await.spec.unwrap();
    assert_eq!(spec.unschedulable, Some(true));
}

/// Scenario 1: a notice heard on the node itself.
#[tokio::test(flavor = "multi_thread")]
async fn s01_a_notice_of_the_node_itself_empties_it_and_something_serves_throughout() {
    let world = one_replica("s01").await;
    let cluster = world.daemon().await;
    let own = OwnNode::new(restricted(&world.cluster).await, first(&world));
    own.tell(&[NoticeKind::Interruption { deadline: in_seconds(120) }]).await.unwrap();
    assert!(moved(&world).await >= 1, "for a moment nothing served");
    until_cordoned(&world, &cluster).await;
}

/// Scenarios 2 and D: a notice from the queue, and the same from the node: one drain.
#[tokio::test(flavor = "multi_thread")]
async fn s02_the_same_notice_from_the_queue_and_from_the_node_is_one_drain() {
    let world = one_replica("s02").await;
    let before = world.ready(1).await;
    let cluster = world.daemon().await;
    let interruption = NoticeKind::Interruption { deadline: in_seconds(120) };
    let own = OwnNode::new(restricted(&world.cluster).await, first(&world));
    let (told, notified) = tokio::join!(own.tell(std::slice::from_ref(&interruption)), async {
        cluster.notify(&first(&world), News::Stands(interruption)).await
    },);
    told.unwrap();
    notified.unwrap();
    assert!(moved(&world).await >= 1, "for a moment nothing served");
    let after = world.ready(1).await;
    assert!(before.keys().all(|name| !after.contains_key(name)), "{before:?} {after:?}");
    until_cordoned(&world, &cluster).await;
}

/// Scenario 4: a rebalance recommendation empties the node too, replacement first.
#[tokio::test(flavor = "multi_thread")]
async fn s04_a_rebalance_recommendation_empties_the_node_with_the_replacement_first() {
    let world = one_replica("s04").await;
    let cluster = world.daemon().await;
    cluster.notify(&first(&world), News::Stands(NoticeKind::Rebalance)).await.unwrap();
    assert!(moved(&world).await >= 1, "for a moment nothing served");
    until_cordoned(&world, &cluster).await;
}

/// Scenario 6: maintenance that is called off leaves a node as it was, and pods are placed there again.
#[tokio::test(flavor = "multi_thread")]
async fn s06_maintenance_that_is_called_off_leaves_the_node_as_it_was() {
    let world = World::new("s06", 1).await;
    let cluster = world.daemon().await;
    // A new Node is tainted until its first heartbeat.
    let untainted = || async { Ok(world.node(0).await.spec.unwrap().taints.is_none()) };
    world.until("a node without taints", untainted).await;
    let before = world.node(0).await.spec.unwrap();
    let maintenance = NoticeKind::Maintenance { deadline: in_seconds(86_400) };
    cluster.notify(&first(&world), News::Stands(maintenance)).await.unwrap();
    until_cordoned(&world, &cluster).await;
    cluster.notify(&first(&world), News::MaintenanceOver).await.unwrap();
    let is_good = |seen: &Observation| seen.nodes[0].cordoned.is_none();
    world.seen(&cluster, "the node to be good again", is_good).await;
    world
        .until("the node as it was", || async {
            let now = world.node(0).await.spec.unwrap();
            Ok(now.taints == before.taints && now.unschedulable.is_none_or(|is| !is))
        })
        .await;
    world.deploy("resnet", 1).await;
    world.ready(1).await;
}

/// Scenarios 8 and 19: a machine that is taken, and a budget in the way: it holds the pod for as long as there is time, and
/// then the pod is told to end all the same, so that it has ended by the deadline.
#[tokio::test(flavor = "multi_thread")]
async fn s19_at_the_deadline_a_budget_no_longer_holds_a_pod() {
    let world = World::new("s19", 1).await;
    world.deploy("resnet", 1).await;
    world.budget("resnet", "minAvailable", 1).await;
    let name = world.ready(1).await.into_keys().next().unwrap();
    let cluster = world.daemon().await;
    let deadline = in_seconds(35);
    let notice = NoticeKind::Interruption { deadline };
    cluster.notify(&first(&world), News::Stands(notice)).await.unwrap();
    until_cordoned(&world, &cluster).await;
    tokio::time::sleep(Duration::from_secs(8)).await;
    assert!(world.living().await.contains_key(&name), "there was time");
    let is_gone = || async { Ok(world.pods().get_opt(&name).await?.is_none()) };
    world.until("the pod to be gone", is_gone).await;
    assert!(Timestamp::now() <= deadline, "it went with its machine");
}

/// Scenario 18: while there is time a budget is honoured, however long it takes.
#[tokio::test(flavor = "multi_thread")]
async fn s18_a_pod_that_a_budget_protects_stays_while_there_is_time() {
    let world = World::new("s18", 1).await;
    world.apply(with_app(&world, "guest")).await;
    world.budget("guest", "minAvailable", 1).await;
    world.ready(1).await;
    let cluster = world.daemon().await;
    let maintenance = NoticeKind::Maintenance { deadline: in_seconds(86_400) };
    cluster.notify(&first(&world), News::Stands(maintenance)).await.unwrap();
    until_cordoned(&world, &cluster).await;
    tokio::time::sleep(std::time::Duration::from_secs(5)).await;
    assert_eq!(world.ready(1).await.len(), 1);
    let budgets: kube::Api<k8s_openapi::api::policy::v1::PodDisruptionBudget> =
        kube::Api::namespaced(world.client.clone(), &world.namespace);
    budgets.delete("guest-minavailable", &kube::api::DeleteParams::default()).await.unwrap();
    world.until("the guest to leave", || async { Ok(world.living().await.is_empty()) }).await;
}

/// Scenario 7: a dry run tells what it would do, and nobody finds a trace of it in the cluster.
#[tokio::test(flavor = "multi_thread")]
async fn s07_a_dry_run_writes_nothing() {
    let world = one_replica("s07").await;
    let deadline = in_seconds(10).to_string();
    let notice = json!([{ "kind": "interruption", "deadline": deadline }]).to_string();
    world.patch_node(0, json!({ "metadata": { "annotations": { NOTICES: notice } } })).await;
    let (before, node) = (world.living().await, world.node(0).await);
    let (_cluster, mut states) = world.daemon_with(&["--dry-run"]).await;
    let told = |kind: &str, state: &State| {
        state
            .decisions
            .iter()
            .any(|one| one.action.kind() == kind && one.outcome == Outcome::DryRun)
    };
    for kind in ["cordon", "surge", "evict"] {
        let is_told =
            |state: &Option<Arc<State>>| state.as_ref().is_some_and(|state| told(kind, state));
        tokio::time::timeout(PATIENCE, states.wait_for(is_told)).await.unwrap().unwrap();
    }
    let versions = |pods: &BTreeMap<String, Pod>| -> Vec<_> {
        pods.values().map(kube::ResourceExt::resource_version).collect()
    };
    assert_eq!(versions(&world.living().await), versions(&before));
    let now = world.node(0).await;
    assert_eq!((now.spec, now.metadata.annotations), (node.spec, node.metadata.annotations));
    let managers = now.metadata.managed_fields.unwrap();
    assert!(managers.iter().all(|entry| entry.manager.as_deref() != Some(MANAGER)), "{managers:?}");
}

/// A pod that no workload of ours keeps.
fn with_app(world: &World, app: &str) -> serde_json::Value {
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": { "name": app, "labels": { "app": app } },
        "spec": world.pod_spec(),
    })
}
