//! A namespace with Services, Pods and Nodes of its own.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use k8s_openapi::api::{
    coordination::v1::Lease,
    core::v1::{Node, Service, ServiceAccount},
};
use kube::{
    Api, Client,
    api::{Patch, PatchParams, PostParams},
};
use serde_json::{Value, json};
use spotscale_test_cluster::{TestCluster, until};
use tokio::task::JoinSet;

use crate::pod::Pod;

/// The API server is shared by all tests: who stops it takes this for writing.
static API_SERVER: tokio::sync::RwLock<()> = tokio::sync::RwLock::const_new(());

/// One test's part of the cluster.
pub(crate) struct World {
    pub(crate) cluster: &'static TestCluster,
    pub(crate) client: Client,
    pub(crate) namespace: String,
    heartbeats: JoinSet<()>,
    _api_server: Guard,
}

enum Guard {
    Shared { _guard: tokio::sync::RwLockReadGuard<'static, ()> },
    Alone { _guard: tokio::sync::RwLockWriteGuard<'static, ()> },
}

impl World {
    pub(crate) async fn new() -> Self {
        Self::with(Guard::Shared { _guard: API_SERVER.read().await }).await
    }

    /// For a test that stops the API server.
    pub(crate) async fn alone() -> Self {
        Self::with(Guard::Alone { _guard: API_SERVER.write().await }).await
    }

    async fn with(guard: Guard) -> Self {
        let cluster = TestCluster::shared();
        let (client, namespace) = (cluster.client().await, cluster.namespace("front").await);
        let accounts: Api<ServiceAccount> = Api::namespaced(client.clone(), &namespace);
        until("the default service account", || async {
            Ok(accounts.get_opt("default").await?.is_some())
        })
        .await
        .unwrap();
        Self { cluster, client, namespace, heartbeats: JoinSet::new(), _api_server: guard }
    }

    /// A Service whose Pods are labelled `app=NAME`, with these labels of its own.
    pub(crate) async fn service(&self, name: &str, labels: Value) {
        let service = json!({
            "metadata": { "name": name, "labels": labels },
            "spec": {
                "selector": { "app": name },
                "ports": [
                    { "name": "grpc", "port": 81, "targetPort": 1 },
                    { "name": "http", "port": 80, "targetPort": 8000 },
                ],
            },
        });
        let services: Api<Service> = Api::namespaced(self.client.clone(), &self.namespace);
        services
            .create(&PostParams::default(), &serde_json::from_value(service).unwrap())
            .await
            .unwrap();
    }

    /// A ready Node that stays so while this world is there; returns its name.
    pub(crate) async fn node(&mut self, name: &str) -> String {
        let name = format!("{}-{name}", self.namespace);
        let nodes: Api<Node> = Api::all(self.client.clone());
        let node = json!({ "metadata": { "name": name } });
        let node = serde_json::from_value(node).unwrap();
        nodes.create(&PostParams::default(), &node).await.unwrap();
        self.heartbeats.spawn(beat(self.client.clone(), name.clone()));
        // Kubernetes taints a new Node until its first heartbeat.
        until("a Node without taints", || async {
            Ok(nodes
                .get(&name)
                .await?
                .spec
                .and_then(|spec| spec.taints)
                .is_none_or(|t| t.is_empty()))
        })
        .await
        .unwrap();
        name
    }

    /// Puts this taint on a Node, or takes all away.
    pub(crate) async fn taint(&self, node: &str, key: Option<&str>) {
        let nodes: Api<Node> = Api::all(self.client.clone());
        let taints: Vec<Value> =
            key.into_iter().map(|key| json!({ "key": key, "effect": "NoSchedule" })).collect();
        let patch = Patch::Merge(json!({ "spec": { "taints": taints } }));
        nodes.patch(node, &PatchParams::default(), &patch).await.unwrap();
    }

    /// A ready Pod of a Service, with a replica that answers on its address.
    pub(crate) async fn pod(&self, service: &str, node: &str) -> Pod {
        Pod::start(&self.client, &self.namespace, service, node).await
    }
}

/// Renews a Node's lease and says that it is ready every second, also after the API server was away.
async fn beat(client: Client, node: String) {
    let nodes: Api<Node> = Api::all(client.clone());
    let leases: Api<Lease> = Api::namespaced(client, "kube-node-lease");
    let since = now();
    loop {
        let lease = json!({
            "apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
            "metadata": { "name": node },
            "spec": { "holderIdentity": node, "leaseDurationSeconds": 40, "renewTime": now() },
        });
        let _ = leases.patch(&node, &PatchParams::apply("test"), &Patch::Apply(lease)).await;
        let ready = json!({ "status": { "conditions": [{
            "type": "Ready", "status": "True", "reason": "Test", "message": "",
            "lastHeartbeatTime": now(), "lastTransitionTime": since,
        }] } });
        let _ = nodes.patch_status(&node, &PatchParams::default(), &Patch::Strategic(ready)).await;
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}

/// RFC 3339 with microseconds, as leases want it.
pub(crate) fn now() -> String {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let now = jiff::Timestamp::from_microsecond(since.as_micros() as i64).unwrap();
    format!("{now:.6}")
}
