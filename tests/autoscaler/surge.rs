//! A pod that is released from its ReplicaSet: what Kubernetes makes of it.

use k8s_openapi::api::{discovery::v1::EndpointSlice, policy::v1::PodDisruptionBudget};
use kube::{
    Api, ResourceExt as _,
    api::{DeleteParams, ListParams, Patch, PatchParams},
};
use serde_json::json;
use spotscale_autoscaler::{
    Action, Applied, Cluster as _, ClusterError, Observation,
    kubernetes::{KubeCluster, SURGED},
};
use spotscale_decide::units::{PodName, Replicas};

use crate::world::World;

fn surge(world: &World, pod: &str) -> Action {
    Action::Surge { pod: named(world, pod) }
}

fn named(world: &World, pod: &str) -> PodName {
    format!("{}/{pod}", world.namespace).parse().unwrap()
}

/// Two replicas, of which the first, by name, is released. Returns its name when its heir is ready.
async fn released(world: &World, cluster: &KubeCluster) -> String {
    let name = world.ready(2).await.into_keys().next().unwrap();
    world.seen(cluster, "the pods", |seen| seen.pods.len() == 2).await;
    assert_eq!(cluster.apply(&surge(world, &name)).await, Ok(Applied::Done));
    assert_eq!(cluster.apply(&surge(world, &name)).await, Ok(Applied::AlreadySo));
    assert!(world.ready(3).await.contains_key(&name), "it goes on");
    name
}

async fn evicted(world: &World, cluster: &KubeCluster, pod: &str) -> Result<Applied, ClusterError> {
    cluster.apply(&Action::Evict { pod: named(world, pod), by: None, force: false }).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_released_pod_serves_on_beside_its_heir() {
    let world = World::new("serves", 1).await;
    world.deploy("resnet", 2).await;
    let service = json!({ "selector": { "app": "resnet" }, "ports": [{ "port": 80 }] });
    world
        .apply(json!({
            "apiVersion": "v1", "kind": "Service", "metadata": { "name": "resnet" }, "spec": service,
        }))
        .await;
    let cluster = world.watch().await;
    let name = released(&world, &cluster).await;
    let slices: Api<EndpointSlice> = Api::namespaced(world.client.clone(), &world.namespace);
    world
        .until("three endpoints", || async {
            let slices = slices.list(&ListParams::default()).await?.items;
            let ready = slices.iter().flat_map(|slice| &slice.endpoints).filter(|endpoint| {
                endpoint.conditions.as_ref().is_some_and(|is| is.ready == Some(true))
            });
            let targets: Vec<_> =
                ready.filter_map(|one| one.target_ref.as_ref()?.name.clone()).collect();
            Ok(targets.len() == 3 && targets.contains(&name))
        })
        .await;
    let seen = world.seen(&cluster, "three pods", |seen| seen.pods.len() == 3).await;
    let of_resnet = |pod: &&spotscale_autoscaler::Pod| {
        pod.workload == Some(named(&world, "resnet").to_string().parse().unwrap())
    };
    assert_eq!(seen.pods.iter().filter(of_resnet).count(), 3);
    let surged: Vec<_> = seen.pods.iter().filter(|pod| pod.surged).collect();
    assert_eq!((surged.len(), &surged[0].name), (1, &named(&world, &name)));
    let refused = cluster.apply(&surge(&world, "nobody")).await;
    assert_eq!(refused, Ok(Applied::AlreadySo));
    assert_eq!(evicted(&world, &cluster, &name).await, Ok(Applied::Done));
    assert!(!world.ready(2).await.contains_key(&name), "nobody replaces it twice");
}

/// Of three pods the released one can go, and then none of two.
async fn a_budget_counts_released_pods(rule: &str, count: u32) {
    let world = World::new("counts", 1).await;
    world.deploy("resnet", 2).await;
    world.budget("resnet", rule, count).await;
    let cluster = world.watch().await;
    let name = released(&world, &cluster).await;
    let budgets: Api<PodDisruptionBudget> = Api::namespaced(world.client.clone(), &world.namespace);
    world
        .until("the budget to count three", || async {
            let budget = budgets.list(&ListParams::default()).await?.items.remove(0);
            let status = budget.status.unwrap_or_default();
            let counted = (status.expected_pods, status.current_healthy, status.desired_healthy);
            anyhow::ensure!(status.disruptions_allowed == 1, "{counted:?}");
            Ok(status.current_healthy == 3 && status.desired_healthy == 2)
        })
        .await;
    assert_eq!(evicted(&world, &cluster, &name).await, Ok(Applied::Done));
    let next = world.ready(2).await.into_keys().next().unwrap();
    world
        .until("the budget to forbid", || async {
            let refused = evicted(&world, &cluster, &next).await;
            Ok(matches!(refused, Err(ClusterError::Refused(_))))
        })
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_budget_of_pods_that_must_be_there_counts_released_ones() {
    a_budget_counts_released_pods("minAvailable", 2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_budget_of_pods_that_may_be_missing_counts_released_ones() {
    a_budget_counts_released_pods("maxUnavailable", 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_released_pod_does_not_outlive_its_deployment() {
    let world = World::new("orphan", 1).await;
    world.deploy("resnet", 2).await;
    let cluster = world.watch().await;
    released(&world, &cluster).await;
    let deployments: Api<k8s_openapi::api::apps::v1::Deployment> =
        Api::namespaced(world.client.clone(), &world.namespace);
    deployments.delete("resnet", &DeleteParams::default()).await.unwrap();
    world.until("no pod to be left", || async { Ok(world.living().await.is_empty()) }).await;
    world.seen(&cluster, "nothing", |seen| seen.pods.is_empty() && seen.workloads.is_empty()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_released_pod_whose_deployment_was_cut_off_belongs_to_a_workload_that_wants_none() {
    let world = World::new("cut", 1).await;
    world.deploy("resnet", 2).await;
    let cluster = world.watch().await;
    let name = released(&world, &cluster).await;
    let deployments: Api<k8s_openapi::api::apps::v1::Deployment> =
        Api::namespaced(world.client.clone(), &world.namespace);
    let orphaning = DeleteParams::orphan();
    deployments.delete("resnet", &orphaning).await.unwrap();
    let wants_none = |seen: &Observation| {
        seen.workloads.len() == 1 && seen.workloads[0].replicas_wanted == Replicas::ZERO
    };
    let seen = world.seen(&cluster, "a workload that wants none", wants_none).await;
    let pod = seen.pods.iter().find(|pod| pod.name == named(&world, &name)).unwrap();
    assert_eq!((pod.surged, pod.workload.as_ref()), (true, Some(&seen.workloads[0].name)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rollout_replaces_the_heirs_and_leaves_the_released_pod_to_us() {
    let world = World::new("rolled", 1).await;
    world.deploy("resnet", 2).await;
    let cluster = world.watch().await;
    let name = released(&world, &cluster).await;
    let deployments: Api<k8s_openapi::api::apps::v1::Deployment> =
        Api::namespaced(world.client.clone(), &world.namespace);
    let env = json!([{ "name": "replica", "env": [{ "name": "VERSION", "value": "2" }] }]);
    let rollout = json!({ "spec": { "template": { "spec": { "containers": env } } } });
    let params = PatchParams::default();
    deployments.patch("resnet", &params, &Patch::Strategic(rollout)).await.unwrap();
    world
        .until("the rollout", || async {
            let deployment = deployments.get("resnet").await?;
            let status = deployment.status.clone().unwrap_or_default();
            let is_observed = status.observed_generation == deployment.metadata.generation;
            Ok(is_observed && status.updated_replicas == Some(2) && status.replicas == Some(2))
        })
        .await;
    let left = world.ready(3).await;
    assert!(left.contains_key(&name), "{left:?}");
    let pod = world.pods().get(&name).await.unwrap();
    assert!(pod.annotations().contains_key(SURGED));
    world.seen(&cluster, "it", |seen| seen.pods.iter().filter(|pod| pod.surged).count() == 1).await;
    assert_eq!(evicted(&world, &cluster, &name).await, Ok(Applied::Done));
    world.ready(2).await;
}
