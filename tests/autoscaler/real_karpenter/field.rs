//! One test's part of a cluster with the real Karpenter: pools, a workload whose pods have a machine each, and a daemon.

use std::{
    collections::BTreeSet,
    sync::{Arc, LazyLock, Mutex},
    time::Duration,
};

use futures::StreamExt as _;
use k8s_openapi::api::core::v1::{Namespace, Node, NodeSelectorRequirement, Pod};
use kube::{
    Api, Client, ResourceExt as _,
    api::{ApiResource, DynamicObject, ListParams, ObjectMeta, Patch, PatchParams, PostParams},
    core::GroupVersionKind,
    runtime::{WatchStreamExt as _, watcher},
};
use serde_json::{Value, json};
use spotscale_autoscaler::{NoticeKind, kubernetes::NOTICES};
use spotscale_test_cluster::{
    Options,
    apply::apply,
    catalog::{CapacityType, Catalog, Offering},
    control_plane::ControlPlane,
    group::{Group, logs},
    karpenter::Karpenter,
    kwok::Kwok,
    until,
};
use tokio_util::task::AbortOnDropHandle;

use crate::{
    ground::{
        daemon::{Daemon, Place},
        objects::{POOL, WORKLOAD},
    },
    world::is_ready,
};

/// The workload's Deployment.
const WORK: &str = "work";
/// As many types as Karpenter offers a provider for one launch: with two more, it leaves out the two dearest.
const FILLERS: usize = 600;
/// Dearer than the spot that is bought, and cheaper than what Karpenter is told of an offering that it should leave alone
/// or take last.
const FILLER_USD: f64 = 0.6;
const ZONE: &str = "us-east-1a";

/// What may be bought besides the fillers, and for how much an hour.
const OFFERINGS: [(&str, CapacityType, f64); 3] = [
    ("g4dn.xlarge", CapacityType::Spot, 0.16),
    ("g5.xlarge", CapacityType::Spot, 0.30),
    ("g4dn.xlarge", CapacityType::OnDemand, 0.526),
];

pub(super) struct Field {
    client: Client,
    namespace: String,
    folder: tempfile::TempDir,
    /// Of every machine that was ever asked for.
    claims: Arc<Mutex<BTreeSet<String>>>,
    _watching: AbortOnDropHandle<()>,
}

/// A ready pod, and where it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Placed {
    pub(super) pod: String,
    pub(super) node: String,
    pub(super) instance_type: String,
    pub(super) capacity_type: String,
}

/// The cluster that these tests share.
fn plane() -> &'static ControlPlane {
    static PLANE: LazyLock<(ControlPlane, Kwok)> = LazyLock::new(|| {
        let start = || tokio::runtime::Runtime::new().unwrap().block_on(start());
        std::thread::spawn(start).join().expect("the cluster has not started")
    });
    &PLANE.0
}

async fn start() -> (ControlPlane, Kwok) {
    let name = "autoscaler-karpenter";
    let options = Options {
        node_grace: Duration::from_secs(40),
        name: name.to_owned(),
        ..Options::default()
    };
    let _ = std::fs::remove_dir_all(logs(name));
    let group = Arc::new(Group::new(&logs(name)).unwrap());
    let (plane, _) = ControlPlane::start(group, &options).await.unwrap();
    let kwok = Kwok::start(&plane).await.unwrap();
    Karpenter::start(&plane, &catalog()).await.unwrap();
    (plane, kwok)
}

fn catalog() -> Catalog {
    let resources = [("cpu", "4"), ("memory", "16Gi")];
    let fillers = (0..FILLERS).map(|n| (format!("filler.{n:03}"), CapacityType::Spot, FILLER_USD));
    let own = OFFERINGS.map(|(name, capacity, usd)| (name.to_owned(), capacity, usd));
    fillers.chain(own).fold(Catalog::default(), |catalog, (name, capacity, usd)| {
        let catalog = catalog.instance_type(&name, &resources);
        catalog.offer(Offering::new(&name, ZONE, capacity), usd)
    })
}

fn prices() -> String {
    let line = |(name, capacity, usd): &(&str, CapacityType, f64)| {
        format!("2024-01-01T00:00:00Z,{name},{ZONE},{capacity},{usd}\n")
    };
    let lines: String = OFFERINGS.iter().map(line).collect();
    format!("timestamp,instance_type,zone,capacity_type,usd_per_hour\n{lines}")
}

impl Field {
    pub(super) async fn new(name: &str) -> Self {
        let client = plane().client().await.unwrap();
        let metadata =
            ObjectMeta { generate_name: Some(format!("{name}-")), ..ObjectMeta::default() };
        let namespace = Namespace { metadata, ..Namespace::default() };
        let namespaces: Api<Namespace> = Api::all(client.clone());
        let made = namespaces.create(&PostParams::default(), &namespace).await.unwrap();
        let namespace = made.name_any();
        let claims: Arc<Mutex<BTreeSet<String>>> = Arc::default();
        let watching = watch(of_karpenter(&client, "v1", "NodeClaim"), &namespace, &claims);
        let folder = tempfile::tempdir().unwrap();
        Self { client, namespace, folder, claims, _watching: watching }
    }

    /// A daemon with these flags.
    pub(super) async fn daemon(&self, flags: &[&str]) -> Daemon {
        let place = Place {
            plane: plane(),
            namespace: &self.namespace,
            label: self.namespace.clone(),
            folder: self.folder.path(),
            prices: prices(),
        };
        let flags: Vec<&str> = ["--machine=g5.xlarge=400/1"].iter().chain(flags).copied().collect();
        let daemon = Daemon::at(&place, (WORK, "daemon"), &flags, &[]).await;
        daemon.leads().await;
        daemon
    }

    /// A pool of this capacity that gives back empty machines at once, and moves nobody.
    pub(super) async fn pool(&self, capacity: CapacityType, weight: u32) {
        self.limited_pool(capacity, weight, json!({})).await;
    }

    /// The same, with limits.
    pub(super) async fn limited_pool(&self, capacity: CapacityType, weight: u32, limits: Value) {
        let exactly = |key: &str, value: String| NodeSelectorRequirement {
            key: key.to_owned(),
            operator: "In".to_owned(),
            values: Some(vec![value]),
        };
        let capacity_type = exactly("karpenter.sh/capacity-type", capacity.to_string());
        let mut pool = Karpenter::pool(&self.pool_name(capacity), weight, &[capacity_type]);
        pool["spec"]["disruption"]["consolidationPolicy"] = "WhenEmpty".into();
        pool["spec"]["limits"] = limits;
        pool["spec"]["template"]["metadata"] = json!({ "labels": { POOL: self.namespace } });
        self.apply(pool).await;
    }

    fn pool_name(&self, capacity: CapacityType) -> String {
        format!("{}-{capacity}", self.namespace)
    }

    /// Does Karpenter try spot before on demand?
    pub(super) async fn is_spot_first(&self) -> anyhow::Result<bool> {
        let pools = of_karpenter(&self.client, "v1", "NodePool");
        let mut weights = Vec::new();
        for capacity in [CapacityType::Spot, CapacityType::OnDemand] {
            let pool = pools.get(&self.pool_name(capacity)).await?;
            weights.push(pool.data["spec"]["weight"].as_u64().unwrap_or_default());
        }
        Ok(weights[0] > weights[1])
    }

    /// So many pods, or their announcement.
    pub(super) async fn workload(&self, replicas: usize, is_announced: bool) {
        let labels = json!({ "app": WORK });
        let container = json!({
            "name": "main", "image": "none", "resources": { "requests": { "cpu": "3" } },
        });
        let pod = json!({
            "nodeSelector": { POOL: self.namespace }, "terminationGracePeriodSeconds": 2,
            "containers": [container],
        });
        self.apply(json!({
            "apiVersion": "apps/v1", "kind": "Deployment",
            "metadata": { "name": WORK, "labels": { WORKLOAD: self.namespace } },
            "spec": {
                "replicas": replicas, "paused": is_announced, "selector": { "matchLabels": labels },
                "template": { "metadata": { "labels": labels }, "spec": pod },
            },
        }))
        .await;
    }

    async fn apply(&self, object: Value) {
        let objects: Vec<_> = serde_json::from_value(json!([object])).unwrap();
        apply(&self.client, &self.namespace, &objects).await.unwrap();
    }

    /// Leaves a notice with a Node.
    pub(super) async fn notice(&self, node: &str, kind: NoticeKind) {
        let text = serde_json::to_string(&[kind]).unwrap();
        let patch = json!({ "metadata": { "annotations": { NOTICES: text } } });
        self.nodes().patch(node, &PatchParams::default(), &Patch::Merge(patch)).await.unwrap();
    }

    /// The pods that serve: those that are told to end do not count.
    pub(super) async fn serving(&self) -> anyhow::Result<Vec<Placed>> {
        let pods: Api<Pod> = Api::namespaced(self.client.clone(), &self.namespace);
        let mut serving = Vec::new();
        for pod in pods.list(&ListParams::default()).await? {
            let name = pod.spec.as_ref().and_then(|spec| spec.node_name.clone());
            let Some(name) = name.filter(|_| is_ready(&pod)) else { continue };
            let Some(node) = self.node(&name).await? else { continue };
            if pod.metadata.deletion_timestamp.is_none() {
                let label = |key: &str| node.labels().get(key).cloned().unwrap_or_default();
                serving.push(Placed {
                    pod: pod.name_any(),
                    node: name,
                    instance_type: label("node.kubernetes.io/instance-type"),
                    capacity_type: label("karpenter.sh/capacity-type"),
                });
            }
        }
        Ok(serving)
    }

    /// Waits until so many pods serve, and no others are there.
    pub(super) async fn ready(&self, count: usize) -> Vec<Placed> {
        let pods: Api<Pod> = Api::namespaced(self.client.clone(), &self.namespace);
        self.until("ready pods", || async {
            let all = pods.list(&ListParams::default()).await?.items.len();
            Ok(all == count && self.serving().await?.len() == count)
        })
        .await;
        self.serving().await.unwrap()
    }

    pub(super) async fn node(&self, name: &str) -> anyhow::Result<Option<Node>> {
        Ok(self.nodes().get_opt(name).await?)
    }

    /// Machines that are there or asked for.
    pub(super) async fn machines(&self) -> anyhow::Result<Vec<DynamicObject>> {
        let ours = ListParams::default().labels(&format!("{POOL}={}", self.namespace));
        Ok(of_karpenter(&self.client, "v1", "NodeClaim").list(&ours).await?.items)
    }

    /// How many machines were ever asked for.
    pub(super) fn bought(&self) -> usize {
        self.claims.lock().unwrap().len()
    }

    /// The prices that the daemon has told for its pools.
    pub(super) async fn overlays(&self) -> anyhow::Result<Vec<DynamicObject>> {
        let overlays = of_karpenter(&self.client, "v1alpha1", "NodeOverlay");
        let mut all = overlays.list(&ListParams::default()).await?.items;
        all.retain(|overlay| overlay.name_any().ends_with(&self.namespace));
        Ok(all)
    }

    fn nodes(&self) -> Api<Node> {
        Api::all(self.client.clone())
    }

    pub(super) async fn until<F: Future<Output = anyhow::Result<bool>>>(
        &self,
        what: &str,
        condition: impl FnMut() -> F,
    ) {
        if let Err(error) = until(&format!("{}: {what}", self.namespace), condition).await {
            panic!("{error:#}; {:#?}; {:#?}", self.serving().await, self.machines().await);
        }
    }
}

fn of_karpenter(client: &Client, version: &str, kind: &str) -> Api<DynamicObject> {
    let kind = GroupVersionKind::gvk("karpenter.sh", version, kind);
    Api::all_with(client.clone(), &ApiResource::from_gvk(&kind))
}

fn watch(
    api: Api<DynamicObject>,
    label: &str,
    names: &Arc<Mutex<BTreeSet<String>>>,
) -> AbortOnDropHandle<()> {
    let (ours, names) = (format!("{POOL}={label}"), Arc::clone(names));
    let objects = watcher(api, watcher::Config::default().labels(&ours)).applied_objects();
    AbortOnDropHandle::new(tokio::spawn(objects.for_each(move |object| {
        names.lock().unwrap().extend(object.ok().map(|object| object.name_any()));
        std::future::ready(())
    })))
}
