//! Karpenter itself, with its KWOK provider: what a NodePool's weight and a NodeOverlay's price do to its choice. And
//! KWOK, with many nodes.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use k8s_openapi::api::core::v1::{Node, Pod};
use kube::{
    Api, Client, ResourceExt as _,
    api::{DynamicObject, ListParams},
    core::{ApiResource, GroupVersionKind},
};
use serde_json::{Value, json};
use spotscale_test_cluster::{
    Options,
    apply::apply,
    catalog::{CapacityType, Catalog, Offering},
    control_plane::ControlPlane,
    group::{Group, logs},
    karpenter::{Karpenter, exactly},
    kubelet::Machine,
    kwok::Kwok,
    until,
};

const CAPACITY_TYPE: &str = "karpenter.sh/capacity-type";
/// A node for which a pod was meant is not looked at for 20 s.
const SPARED: Duration = Duration::from_secs(25);

/// A control plane of the test's own with KWOK.
async fn start(name: &str) -> (ControlPlane, Client, Kwok) {
    let options = Options {
        node_grace: Duration::from_secs(40),
        name: name.to_owned(),
        ..Options::default()
    };
    let group = Arc::new(Group::new(&logs(name)).unwrap());
    let (plane, _) = ControlPlane::start(group, &options).await.unwrap();
    let client = plane.client().await.unwrap();
    let kwok = Kwok::start(&plane).await.unwrap();
    (plane, client, kwok)
}

#[tokio::test]
async fn a_thousand_nodes_are_ready_and_run_pods() {
    let (_plane, client, kwok) = start("kwok").await;
    let zone = |number: usize| ["us-east-1a", "us-east-1b"][number % 2];
    let machine = |number| {
        Machine::new(&format!("fake-{number}"))
            .label("topology.kubernetes.io/zone", zone(number))
            .provider_id(&format!("aws:///{}/i-{number:017x}", zone(number)))
    };
    kwok.add_nodes(1000, machine).await.unwrap();
    let nodes: Api<Node> = Api::all(client.clone());
    until("a thousand nodes", || async {
        let nodes = nodes.list(&ListParams::default()).await?;
        Ok(nodes.iter().filter(|node| is_ready(node)).count() == 1000)
    })
    .await
    .unwrap();
    let web = deployment("web", 300, "1", &json!({ "topology.kubernetes.io/zone": "us-east-1b" }));
    put(&client, web).await;
    let pods: Api<Pod> = Api::default_namespaced(client);
    until("300 pods", || async {
        let pods = pods.list(&ListParams::default()).await?;
        Ok(pods.iter().filter(|pod| is_running(pod)).count() == 300)
    })
    .await
    .unwrap();
}

#[tokio::test]
async fn prices_weights_and_overlays_decide_what_karpenter_launches() {
    let (plane, client, _kwok) = start("karpenter").await;
    let offering = |name: &str, zone: &str, how| Offering::new(name, zone, how);
    let resources = [("cpu", "4"), ("memory", "16Gi")];
    let catalog = Catalog::default()
        .instance_type("g4dn.xlarge", &resources)
        .instance_type("g5.xlarge", &resources)
        .offer(offering("g4dn.xlarge", "us-east-1a", CapacityType::Spot), 0.16)
        .offer(offering("g4dn.xlarge", "us-east-1b", CapacityType::Spot), 0.20)
        .offer(offering("g4dn.xlarge", "us-east-1a", CapacityType::OnDemand), 0.53)
        .offer(offering("g5.xlarge", "us-east-1a", CapacityType::OnDemand), 1.01);
    Karpenter::start(&plane, &catalog).await.unwrap();
    put(&client, Karpenter::pool("spot", 1, &[exactly(CAPACITY_TYPE, "spot")])).await;

    put(&client, deployment("one", 1, "3", &json!({}))).await;
    let node = node_of(&client, "one").await;
    assert_eq!(what(&node), ("g4dn.xlarge", "us-east-1a", "spot"), "the cheapest");

    put(&client, Karpenter::pool("steady", 50, &[exactly(CAPACITY_TYPE, "on-demand")])).await;
    put(&client, deployment("two", 1, "3", &json!({}))).await;
    let node = node_of(&client, "two").await;
    assert_eq!(what(&node), ("g4dn.xlarge", "us-east-1a", "on-demand"), "the weightier");

    // A new node is spared; later Karpenter looks at it only when something changes, or after five minutes.
    tokio::time::sleep(SPARED).await;
    // Dearer than the other type now, so Karpenter moves what runs on it.
    let start = std::time::Instant::now();
    put(&client, overlay("2.00")).await;
    until("the overlay is taken", || async {
        let status =
            objects(&client, "v1alpha1", "NodeOverlay").get("dear").await?.data["status"].clone();
        let conditions = status["conditions"].as_array().cloned().unwrap_or_default();
        Ok(conditions.iter().any(|one| one["type"] == "Ready" && one["status"] == "True"))
    })
    .await
    .unwrap();
    let taken = start.elapsed();
    until("the move", || async { Ok(what(&node_of(&client, "two").await).0 == "g5.xlarge") })
        .await
        .unwrap();
    let moved = start.elapsed();
    println!("overlay taken after {taken:?}, moved after {moved:?}");

    put(&client, deployment("three", 1, "3", &json!({}))).await;
    node_of(&client, "three").await;
    let claims = objects(&client, "v1", "NodeClaim").list(&ListParams::default()).await.unwrap();
    let marked = |claim: &&DynamicObject| {
        claim.annotations().contains_key("karpenter.sh/price-overlay-applied")
    };
    assert_eq!(claims.iter().filter(marked).count(), 1, "{claims:#?}");
}

fn overlay(price: &str) -> Value {
    json!({
        "apiVersion": "karpenter.sh/v1alpha1", "kind": "NodeOverlay", "metadata": { "name": "dear" },
        "spec": { "price": price, "requirements": [
            exactly("node.kubernetes.io/instance-type", "g4dn.xlarge"),
            exactly(CAPACITY_TYPE, "on-demand"),
        ] },
    })
}

fn deployment(name: &str, replicas: u32, cpu: &str, selector: &Value) -> Value {
    let labels = json!({ "app": name });
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": { "name": name },
        "spec": {
            "replicas": replicas, "selector": { "matchLabels": labels },
            "template": { "metadata": { "labels": labels }, "spec": {
                "nodeSelector": selector,
                "containers": [{
                    "name": "main", "image": "none", "resources": { "requests": { "cpu": cpu } },
                }],
            } },
        },
    })
}

async fn put(client: &Client, object: Value) {
    apply(client, "default", &[serde_json::from_value(object).unwrap()]).await.unwrap();
}

fn objects(client: &Client, version: &str, kind: &str) -> Api<DynamicObject> {
    let kind = GroupVersionKind::gvk("karpenter.sh", version, kind);
    Api::all_with(client.clone(), &ApiResource::from_gvk(&kind))
}

/// The node that the one pod of a Deployment runs on, once it does.
async fn node_of(client: &Client, app: &str) -> Node {
    let pods: Api<Pod> = Api::default_namespaced(client.clone());
    let nodes: Api<Node> = Api::all(client.clone());
    let list = ListParams::default().labels(&format!("app={app}"));
    let found = Mutex::new(None);
    until(app, || async {
        let pods = pods.list(&list).await?;
        let spec = pods.iter().find(|pod| is_running(pod)).and_then(|pod| pod.spec.as_ref());
        let Some(name) = spec.and_then(|spec| spec.node_name.as_ref()) else { return Ok(false) };
        *found.lock().unwrap() = nodes.get_opt(name).await?;
        Ok(true)
    })
    .await
    .unwrap();
    found.into_inner().unwrap().unwrap()
}

fn what(node: &Node) -> (&str, &str, &str) {
    let label = |key: &str| node.labels().get(key).map(String::as_str).unwrap_or_default();
    let zone = label("topology.kubernetes.io/zone");
    (label("node.kubernetes.io/instance-type"), zone, label(CAPACITY_TYPE))
}

fn is_running(pod: &Pod) -> bool {
    let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
    phase == Some("Running") && pod.metadata.deletion_timestamp.is_none()
}

fn is_ready(node: &Node) -> bool {
    let conditions = node.status.iter().flat_map(|status| status.conditions.iter().flatten());
    conditions.into_iter().any(|one| one.type_ == "Ready" && one.status == "True")
}
