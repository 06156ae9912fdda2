//! The cluster itself: it starts, controllers run, KEDA and the HPA reach each other, and a crash of the API server is
//! survived.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use k8s_openapi::{api::apps::v1::Deployment, api::core::v1::Pod};
use kube::{
    Api,
    api::{ListParams, PostParams},
};
use serde_json::json;
use spotscale_test_cluster::{TestCluster, until};

#[tokio::test]
async fn controllers_make_pods_of_a_deployment_also_after_a_crash_of_the_api_server() {
    let cluster = TestCluster::shared();
    let (client, namespace) = (cluster.client().await, cluster.namespace("cluster").await);
    cluster.plane().kill_api_server().unwrap();
    cluster.plane().restart_api_server().await.unwrap();
    let deployment = json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": { "name": "web" },
        "spec": {
            "replicas": 3, "selector": { "matchLabels": { "app": "web" } },
            "template": {
                "metadata": { "labels": { "app": "web" } },
                "spec": { "containers": [{ "name": "web", "image": "none" }] },
            },
        },
    });
    let deployments: Api<Deployment> = Api::namespaced(client.clone(), &namespace);
    deployments
        .create(&PostParams::default(), &serde_json::from_value(deployment).unwrap())
        .await
        .unwrap();
    let pods: Api<Pod> = Api::namespaced(client, &namespace);
    until("three Pods", || async { Ok(pods.list(&ListParams::default()).await?.items.len() == 3) })
        .await
        .unwrap();
}
