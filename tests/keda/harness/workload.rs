//! A Deployment, the ScaledObject on it, and everything that happens to its replicas.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex},
    thread,
    time::{Duration, Instant},
};

use futures::{StreamExt as _, future::join_all};
use k8s_openapi::api::apps::v1::Deployment;
use kube::{
    Api, Client, ResourceExt as _,
    api::{DeleteParams, DynamicObject, Patch, PatchParams},
    runtime::{WatchStreamExt as _, watcher},
};
use serde_json::{Value, json};
use spotscale_test_cluster::{TestCluster, apply::apply, until};
use tokio::{runtime::Handle, task::JoinHandle, time::timeout};

use super::{Demand, PATIENCE, Scaler, Trigger};

/// For the objects of KEDA's to be deleted at the end, at most.
const LEAVE: Duration = Duration::from_secs(3);

/// A Deployment `app` in a namespace of its own, watched.
pub(crate) struct Workload {
    pub(crate) namespace: String,
    pub(super) client: Client,
    changes: Arc<Mutex<Vec<(Instant, i32)>>>,
    watching: JoinHandle<()>,
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
        let workload = Self { namespace, client, changes, watching };
        workload.until_quiet().await;
        workload
    }

    /// Waits until Kubernetes' own controllers have nothing to say any more of the Deployment, which has no replicas. KEDA
    /// 2.21 writes most of its steps once, and gives up where somebody else writes at the same moment.
    pub(crate) async fn until_quiet(&self) {
        let deployments: Api<Deployment> = Api::namespaced(self.client.clone(), &self.namespace);
        let is_quiet = || async {
            let now = deployments.get("app").await?;
            let status = now.status.unwrap_or_default();
            let is_seen = status.observed_generation == now.metadata.generation;
            let mut conditions = status.conditions.iter().flatten();
            let is_complete = conditions.any(|one| {
                one.type_ == "Progressing"
                    && one.reason.as_deref() == Some("NewReplicaSetAvailable")
            });
            Ok(is_seen && is_complete && status.replicas.unwrap_or(0) == 0)
        };
        until(&format!("{} to be quiet", self.service()), is_quiet).await.unwrap();
    }

    /// The same with a front that reports, and a ScaledObject that KEDA has accepted. The front is first: as long as
    /// nobody has reported, the scaler answers that it does not know, and each such answer costs KEDA its connection.
    pub(crate) async fn scaled(
        cluster: &TestCluster,
        name: &str,
        scaler: &Scaler,
        trigger: &Trigger,
    ) -> (Self, Demand) {
        Self::scaled_under(cluster, name, scaler, trigger, (0, 0, 0)).await
    }

    /// The same, and from the start so much demand: held, in flight, endpoints.
    pub(crate) async fn scaled_under(
        cluster: &TestCluster,
        name: &str,
        scaler: &Scaler,
        trigger: &Trigger,
        (held, in_flight, endpoints): (u64, u64, u32),
    ) -> (Self, Demand) {
        let workload = Self::new(cluster, name).await;
        let demand = workload.demand(scaler).await;
        demand.is(held, in_flight, endpoints);
        workload.scale(trigger).await;
        workload.until_condition("Ready", "True").await;
        (workload, demand)
    }

    /// A front that has reported.
    pub(crate) async fn demand(&self, scaler: &Scaler) -> Demand {
        let demand = Demand::on(&self.service(), &[scaler]);
        scaler.until_reported(&self.service()).await;
        demand
    }

    /// The name under which fronts report on it.
    pub(crate) fn service(&self) -> String {
        format!("{}/app", self.namespace)
    }

    /// Puts the ScaledObject in place.
    pub(crate) async fn scale(&self, trigger: &Trigger) {
        apply(&self.client, &self.namespace, &[trigger.object()]).await.unwrap();
    }

    /// Takes the ScaledObject away.
    pub(crate) async fn unscale(&self) {
        self.of_keda("ScaledObject").delete("app", &DeleteParams::default()).await.unwrap();
    }

    /// Sets or removes an annotation of the ScaledObject.
    pub(crate) async fn annotate(&self, name: &str, value: Option<&str>) {
        let change = json!({ "metadata": { "annotations": { name: value } } });
        let objects = self.of_keda("ScaledObject");
        objects.patch("app", &PatchParams::default(), &Patch::Merge(change)).await.unwrap();
    }

    /// Says how many replicas there are to be, as a person would.
    pub(crate) async fn set_replicas(&self, replicas: i32) {
        let deployments: Api<Deployment> = Api::namespaced(self.client.clone(), &self.namespace);
        let change = Patch::Merge(json!({ "spec": { "replicas": replicas } }));
        deployments.patch("app", &PatchParams::default(), &change).await.unwrap();
        self.until(replicas).await;
    }

    /// Puts a `ScaledJob` in place.
    pub(crate) async fn scale_jobs(&self, trigger: &Trigger) {
        apply(&self.client, &self.namespace, &[trigger.job()]).await.unwrap();
    }

    /// Puts another object in place.
    pub(crate) async fn apply(&self, object: Value) {
        let object = serde_json::from_value(object).unwrap();
        apply(&self.client, &self.namespace, &[object]).await.unwrap();
    }

    /// Waits until the replicas are what the scaler wants, for two seconds on end, and says how many that is.
    pub(crate) async fn settled(&self, scaler: &Scaler) -> i32 {
        let start = Instant::now();
        loop {
            let wanted = scaler.desired(&self.namespace).await;
            let changes = self.changes_in(Duration::from_secs(2)).await;
            if changes.is_empty() && wanted == self.replicas() && wanted > Some(0) {
                return wanted.unwrap_or_default();
            }
            assert!(start.elapsed() < PATIENCE, "{wanted:?} were wanted: {:?}", self.history());
        }
    }

    /// The status of the ScaledObject or the `ScaledJob`.
    pub(crate) async fn status(&self, kind: &str) -> Value {
        let object = self.of_keda(kind).get("app").await.unwrap();
        object.data["status"].clone()
    }

    /// Waits for a condition of the ScaledObject.
    pub(crate) async fn until_condition(&self, kind: &str, status: &str) {
        let what = format!("{kind}={status} of {}", self.service());
        let is_it = |one: &Value| one["type"] == kind && one["status"] == status;
        self.until_status(&what, "ScaledObject", |now| {
            now["conditions"].as_array().is_some_and(|all| all.iter().any(is_it))
        })
        .await;
    }

    /// Waits until the status of the ScaledObject or the `ScaledJob` is as wanted.
    pub(crate) async fn until_status(
        &self,
        what: &str,
        kind: &str,
        wanted: impl Fn(&Value) -> bool,
    ) {
        let outcome = until(what, || async { Ok(wanted(&self.status(kind).await)) });
        if let Err(error) = outcome.await {
            panic!("{error:#}: {:#}", self.status(kind).await)
        }
    }

    /// Watches for so long, and says how often the ScaledObject was written, its status included.
    pub(crate) async fn writes_in(&self, span: Duration) -> usize {
        let objects = watcher(self.of_keda("ScaledObject"), watcher::Config::default());
        let mut objects = std::pin::pin!(objects.default_backoff().applied_objects());
        let mut versions = BTreeSet::new();
        let _ = timeout(span, async {
            while let Some(object) = objects.next().await {
                versions.insert(object.unwrap().resource_version());
            }
        })
        .await;
        assert!(!versions.is_empty(), "the watch has not begun");
        // The first is how it was before.
        versions.len() - 1
    }

    /// Asks for the metric as the HPA does, but all the time, and says how often.
    pub(crate) async fn ask_for_metrics(&self, span: Duration) -> usize {
        let metrics =
            format!("/apis/external.metrics.k8s.io/v1beta1/namespaces/{}", self.namespace);
        let names = self.status("ScaledObject").await["externalMetricNames"].clone();
        let name = names[0].as_str().unwrap();
        let url = format!("{metrics}/{name}?labelSelector=scaledobject.keda.sh%2Fname%3Dapp");
        let ask = || async {
            let request = http::Request::get(&url).body(Vec::new()).unwrap();
            // That it answers with an error is why it is asked.
            let _ = self.client.request_text(request).await;
        };
        let start = Instant::now();
        let mut asked = 0;
        while start.elapsed() < span {
            join_all((0..4).map(|_| ask())).await;
            asked += 4;
        }
        asked
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

    fn of_keda(&self, kind: &str) -> Api<DynamicObject> {
        let kind = kube::core::GroupVersionKind::gvk("keda.sh", "v1alpha1", kind);
        let resource = kube::core::ApiResource::from_gvk(&kind);
        Api::namespaced_with(self.client.clone(), &self.namespace, &resource)
    }
}

impl Drop for Workload {
    fn drop(&mut self) {
        self.watching.abort();
        // KEDA would go on to ask a scaler that goes with its test, and log that, to the end of all tests.
        let leave = timeout(LEAVE, async {
            for kind in ["ScaledObject", "ScaledJob"] {
                let _ = self.of_keda(kind).delete("app", &DeleteParams::default()).await;
            }
        });
        let runtime = Handle::current();
        // On a thread of its own: this one waits already, further up, and would be woken here instead of there.
        let _ = thread::scope(|scope| scope.spawn(|| runtime.block_on(leave)).join());
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
