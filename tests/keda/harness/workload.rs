//! A Deployment, the ScaledObject on it, and everything that happens to its replicas.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use futures::StreamExt as _;
use k8s_openapi::api::apps::v1::Deployment;
use kube::{
    Api, Client,
    api::{DynamicObject, Patch, PatchParams},
    runtime::{WatchStreamExt as _, watcher},
};
use serde_json::{Value, json};
use spotscale_test_cluster::{TestCluster, apply::apply, until};
use tokio::task::JoinHandle;

use super::{Demand, PATIENCE, Scaler};

/// What the ScaledObject says.
#[derive(Clone)]
pub(crate) struct Trigger {
    /// `external-push` or `external`.
    pub(crate) kind: &'static str,
    pub(crate) address: String,
    /// The trigger's metadata beside the address.
    pub(crate) metadata: Value,
    /// The HPA's `behavior`.
    pub(crate) behavior: Value,
    /// Further fields of the ScaledObject's `spec`, merged over ours.
    pub(crate) spec: Value,
}

/// A Deployment `app` in a namespace of its own, watched.
pub(crate) struct Workload {
    pub(crate) namespace: String,
    client: Client,
    changes: Arc<Mutex<Vec<(Instant, i32)>>>,
    watching: JoinHandle<()>,
}

impl Trigger {
    /// A push trigger on this scaler with quick timings: polled every second, down a second after the last work.
    pub(crate) fn push(scaler: SocketAddr) -> Self {
        Self {
            kind: "external-push",
            address: scaler.to_string(),
            metadata: json!({
                "concurrency": "1", "serviceTimeMs": "1000", "sloMs": "2000",
                "idleAfterSeconds": "1", "shrinkWindowSeconds": "1", "coldStartSeconds": "1",
            }),
            behavior: quick(),
            spec: json!({}),
        }
    }

    pub(crate) fn with(mut self, spec: Value) -> Self {
        merge(&mut self.spec, spec);
        self
    }

    pub(crate) fn asking(mut self, metadata: Value) -> Self {
        merge(&mut self.metadata, metadata);
        self
    }

    fn object(&self) -> DynamicObject {
        let mut metadata = self.metadata.clone();
        metadata["scalerAddress"] = json!(self.address);
        let mut spec = json!({
            "scaleTargetRef": { "name": "app" },
            "pollingInterval": 1, "cooldownPeriod": 1, "minReplicaCount": 0, "maxReplicaCount": 20,
            "advanced": { "horizontalPodAutoscalerConfig": { "behavior": self.behavior } },
            "triggers": [{ "type": self.kind, "metadata": metadata }],
        });
        merge(&mut spec, self.spec.clone());
        let object = json!({
            "apiVersion": "keda.sh/v1alpha1", "kind": "ScaledObject",
            "metadata": { "name": "app" }, "spec": spec,
        });
        serde_json::from_value(object).unwrap()
    }
}

/// An HPA that does what it is told, at once.
fn quick() -> Value {
    let any = json!([{ "type": "Pods", "value": 100, "periodSeconds": 1 }]);
    json!({
        "scaleUp": { "stabilizationWindowSeconds": 0, "tolerance": "0", "policies": any },
        "scaleDown": { "stabilizationWindowSeconds": 0, "tolerance": "0", "policies": any },
    })
}

impl Workload {
    /// A Deployment of no replicas, in a new namespace, without a ScaledObject.
    pub(crate) async fn new(cluster: &TestCluster, name: &str) -> Self {
        let (client, namespace) = (cluster.client().await, cluster.namespace(name).await);
        let deployment = json!({
            "apiVersion": "apps/v1", "kind": "Deployment", "metadata": { "name": "app" },
            "spec": {
                "replicas": 0, "selector": { "matchLabels": { "app": "app" } },
                "template": {
                    "metadata": { "labels": { "app": "app" } },
                    "spec": { "containers": [{ "name": "app", "image": "app" }] },
                },
            },
        });
        apply(&client, &namespace, &[serde_json::from_value(deployment).unwrap()]).await.unwrap();
        let changes = Arc::new(Mutex::new(Vec::new()));
        let deployments = Api::namespaced(client.clone(), &namespace);
        let watching = tokio::spawn(follow(deployments, Arc::clone(&changes)));
        Self { namespace, client, changes, watching }
    }

    /// The same with a front that reports, and a ScaledObject that KEDA has accepted. The front is first: as long as
    /// nobody has reported, the scaler answers that it does not know, and each such answer costs KEDA its connection.
    pub(crate) async fn scaled(
        cluster: &TestCluster,
        name: &str,
        scaler: &Scaler,
        trigger: &Trigger,
    ) -> (Self, Demand) {
        let workload = Self::new(cluster, name).await;
        let demand = Demand::on(&workload.service(), &[scaler.grpc]);
        scaler.until_reported(&workload.service()).await;
        workload.scale(trigger).await;
        workload.until_condition("Ready", "True").await;
        (workload, demand)
    }

    /// The name under which fronts report on it.
    pub(crate) fn service(&self) -> String {
        format!("{}/app", self.namespace)
    }

    /// Puts the ScaledObject in place.
    pub(crate) async fn scale(&self, trigger: &Trigger) {
        apply(&self.client, &self.namespace, &[trigger.object()]).await.unwrap();
    }

    /// Changes the ScaledObject.
    pub(crate) async fn patch(&self, change: Value) {
        let objects = self.scaled_objects().await;
        objects.patch("app", &PatchParams::default(), &Patch::Merge(change)).await.unwrap();
    }

    /// The ScaledObject, as it is.
    pub(crate) async fn scaled_object(&self) -> Value {
        serde_json::to_value(self.scaled_objects().await.get("app").await.unwrap()).unwrap()
    }

    /// Waits for a condition of the ScaledObject.
    pub(crate) async fn until_condition(&self, kind: &str, status: &str) {
        let what = format!("{kind}={status} of {}", self.service());
        let waited = until(&what, || async {
            let object = self.scaled_object().await;
            let conditions = object["status"]["conditions"].as_array().cloned().unwrap_or_default();
            Ok(conditions.iter().any(|c| c["type"] == kind && c["status"] == status))
        });
        if let Err(error) = waited.await {
            panic!("{error:#}: {:#}", self.scaled_object().await["status"])
        }
    }

    /// Waits until that many replicas are asked for, and says how long it took.
    pub(crate) async fn until(&self, replicas: i32) -> Duration {
        self.until_seen(&format!("{replicas} replicas"), |now| now == replicas).await
    }

    /// Waits until the replicas asked for are as wanted, and says how long it took.
    pub(crate) async fn until_seen(&self, what: &str, wanted: impl Fn(i32) -> bool) -> Duration {
        let start = Instant::now();
        while !self.replicas().is_some_and(&wanted) {
            assert!(start.elapsed() < PATIENCE, "never {what}: {:?}", self.history());
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        start.elapsed()
    }

    /// How many replicas are asked for now.
    pub(crate) fn replicas(&self) -> Option<i32> {
        self.changes.lock().unwrap().last().map(|(_, replicas)| *replicas)
    }

    /// Every number of replicas so far, in order.
    pub(crate) fn history(&self) -> Vec<i32> {
        self.changes.lock().unwrap().iter().map(|(_, replicas)| *replicas).collect()
    }

    /// Watches for so long, and says every number of replicas that came in that time.
    pub(crate) async fn changes_in(&self, span: Duration) -> Vec<i32> {
        let before = self.history().len();
        tokio::time::sleep(span).await;
        self.history().split_off(before)
    }

    async fn scaled_objects(&self) -> Api<DynamicObject> {
        let kind = kube::core::GroupVersionKind::gvk("keda.sh", "v1alpha1", "ScaledObject");
        let resource = kube::core::ApiResource::from_gvk(&kind);
        Api::namespaced_with(self.client.clone(), &self.namespace, &resource)
    }
}

impl Drop for Workload {
    fn drop(&mut self) {
        self.watching.abort();
    }
}

async fn follow(deployments: Api<Deployment>, changes: Arc<Mutex<Vec<(Instant, i32)>>>) {
    let objects =
        watcher(deployments, watcher::Config::default()).default_backoff().applied_objects();
    let mut objects = std::pin::pin!(objects);
    while let Some(object) = objects.next().await {
        let Ok(Deployment { spec: Some(spec), .. }) = object else { continue };
        let (now, mut changes) = (spec.replicas.unwrap_or(1), changes.lock().unwrap());
        if changes.last().is_none_or(|(_, last)| *last != now) {
            changes.push((Instant::now(), now));
        }
    }
}

/// Objects are merged key by key; everything else is replaced.
fn merge(base: &mut Value, over: Value) {
    match (base, over) {
        (Value::Object(base), Value::Object(over)) => {
            for (key, value) in over {
                merge(base.entry(key).or_insert(Value::Null), value);
            }
        }
        (base, over) => *base = over,
    }
}
