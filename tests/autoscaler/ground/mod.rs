//! Everything that a test of the whole needs, all of it real but the provider and the kubelet: a control plane, machines
//! that are bought and taken, model servers as processes on them, a front, daemons, and a queue that tells of interruptions.

pub(crate) mod daemon;
pub(crate) mod load;
pub(crate) mod objects;
pub(crate) mod process;
pub(crate) mod proxy;

use std::{
    path::{Path, PathBuf},
    process::Command,
    sync::{Arc, LazyLock},
    time::Duration,
};

use bytes::Bytes;
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::{
    Api, Client, ResourceExt as _,
    api::{ListParams, Patch, PatchParams},
};
use serde_json::{Value, json};
use spotscale_test_cluster::{
    TestCluster,
    apply::apply,
    catalog::{CapacityType, Catalog, Offering},
    kubelet::{Image, Running},
    parts::part,
    provider::{Instance, Options, Provider},
    until,
};

use self::{
    load::Target,
    objects::{MODEL, POOL, Pods, TYPE},
    process::Process,
};

/// Held for writing by a test whose measurements the load of another would spoil.
pub(crate) static QUIET: tokio::sync::RwLock<()> = tokio::sync::RwLock::const_new(());

/// What a test's part of the cluster is made of.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Setup {
    pub(crate) pods: Pods,
    /// From a machine's launch to its Node.
    pub(crate) boot: Duration,
}

impl Default for Setup {
    fn default() -> Self {
        Self { pods: Pods::default(), boot: Duration::from_secs(3) }
    }
}

/// One test's part of the cluster.
pub(crate) struct Ground {
    pub(crate) cluster: &'static TestCluster,
    pub(crate) client: Client,
    pub(crate) namespace: String,
    pub(crate) provider: Provider,
    pub(crate) folder: tempfile::TempDir,
}

pub(crate) fn spot(zone: &str) -> Offering {
    Offering::new(TYPE, zone, CapacityType::Spot)
}

pub(crate) fn on_demand(zone: &str) -> Offering {
    Offering::new(TYPE, zone, CapacityType::OnDemand)
}

impl Ground {
    /// With two pools, spot before on-demand, and the model on machines of its own, all replicas ready.
    pub(crate) async fn new(name: &str, setup: Setup) -> Self {
        let cluster = TestCluster::shared();
        let (client, namespace) = (cluster.client().await, cluster.namespace(name).await);
        let catalog = Catalog::default()
            .instance_type(TYPE, &[("cpu", "4"), ("memory", "16Gi"), ("nvidia.com/gpu", "1")])
            .offer(spot("us-east-1a"), 0.16)
            .offer(spot("us-east-1b"), 0.20)
            .offer(on_demand("us-east-1a"), 0.526)
            .offer(on_demand("us-east-1b"), 0.526);
        let mut options = Options::new(&namespace, catalog);
        options.boot = setup.boot;
        options.images = images();
        let provider = Provider::start(cluster.plane(), options).await.unwrap();
        let folder = tempfile::tempdir().unwrap();
        let ground = Self { cluster, client, namespace, provider, folder };
        ground.pool("spot", 10, CapacityType::Spot).await;
        ground.pool("on-demand", 1, CapacityType::OnDemand).await;
        ground.apply(objects::service()).await;
        ground.apply(objects::budget()).await;
        ground.deploy(setup.pods).await;
        ground.ready(setup.pods.replicas).await;
        ground
    }

    pub(crate) async fn apply(&self, object: Value) {
        let objects: Vec<_> = serde_json::from_value(json!([object])).unwrap();
        apply(&self.client, &self.namespace, &objects).await.unwrap();
    }

    pub(crate) async fn deploy(&self, pods: Pods) {
        self.apply(objects::deployment(&self.namespace, pods, tiny_model())).await;
    }

    async fn pool(&self, name: &str, weight: u32, capacity: CapacityType) {
        let name = format!("{}-{name}", self.namespace);
        let mut pool = self.provider.pool(&name, weight, capacity);
        pool["spec"]["template"]["metadata"] = json!({ "labels": { POOL: self.namespace } });
        self.apply(pool).await;
    }

    /// Waits until so many of the model's pods serve and none besides is there, and returns them.
    pub(crate) async fn ready(&self, count: usize) -> Vec<Running> {
        self.until("ready pods", || async {
            let pods = self.pods();
            Ok(pods.len() == count && pods.iter().all(|pod| pod.ready))
        })
        .await;
        self.pods()
    }

    /// The processes of the model.
    pub(crate) fn pods(&self) -> Vec<Running> {
        let mut pods = self.provider.kubelet().pods();
        pods.retain(|pod| pod.namespace == self.namespace);
        pods
    }

    /// The machines that are there.
    pub(crate) fn machines(&self) -> Vec<Instance> {
        self.provider.instances().into_iter().filter(Instance::is_there).collect()
    }

    pub(crate) fn nodes(&self) -> Api<Node> {
        Api::all(self.client.clone())
    }

    pub(crate) async fn patch_node(&self, node: &str, patch: Value) {
        self.nodes().patch(node, &PatchParams::default(), &Patch::Merge(patch)).await.unwrap();
    }

    /// A front that follows the model's Service, once it has all these replicas.
    pub(crate) async fn front(&self) -> (Process, Arc<Target>) {
        let service = format!("--kubernetes-service={}/{MODEL}", self.namespace);
        let args = ["front", "--listen=127.0.0.1:0", "--admin-listen=127.0.0.1:0", "--kubernetes"];
        let args = args.into_iter().chain([service.as_str()]).map(str::to_owned);
        let env = [("KUBECONFIG", self.cluster.kubeconfig().display().to_string())];
        let name = format!("{}-front", self.namespace);
        let group = self.cluster.plane().group();
        let front = Process::start(group, &name, &args.collect::<Vec<_>>(), &env).await;
        let target = Target::new(&front.url("service"), pixel());
        self.until("the front to answer", || async {
            target.classify().await.map(|()| true).map_err(anyhow::Error::msg)
        })
        .await;
        (front, target)
    }

    /// Waits for a condition, and tells the state of everything if it does not come.
    pub(crate) async fn until<F: Future<Output = anyhow::Result<bool>>>(
        &self,
        what: &str,
        condition: impl FnMut() -> F,
    ) {
        if let Err(error) = until(&format!("{}: {what}", self.namespace), condition).await {
            let pods = Api::<Pod>::namespaced(self.client.clone(), &self.namespace);
            let pods = pods.list(&ListParams::default()).await.unwrap();
            let states: Vec<_> = pods.iter().map(|pod| (pod.name_any(), &pod.status)).collect();
            panic!("{error:#}; {:#?}; {:#?}; {states:#?}", self.provider.instances(), self.pods());
        }
    }
}

/// The program, and the program behind one that keeps SIGTERM from it and dies only of SIGKILL, together with it.
fn images() -> std::collections::BTreeMap<String, Image> {
    let spotscale = Image::of(Path::new(env!("CARGO_BIN_EXE_spotscale")))
        .env("ORT_DYLIB_PATH", &part("ORT_DYLIB_PATH").display().to_string());
    let mut stubborn = spotscale.clone();
    let deaf = ["/usr/bin/unshare", "--fork", "--kill-child=KILL"].map(str::to_owned);
    stubborn.entrypoint.splice(..0, deaf);
    [("spotscale".to_owned(), spotscale), ("stubborn".to_owned(), stubborn)].into()
}

/// A folder with the model `logits.onnx`, which costs next to nothing. Not a temporary one, of which a pod has its own.
fn tiny_model() -> &'static Path {
    static WRITTEN: LazyLock<PathBuf> = LazyLock::new(|| {
        let models = Path::new(env!("CARGO_TARGET_TMPDIR")).join("tiny-models");
        std::fs::create_dir_all(&models).unwrap();
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let script = root.join("inference/tests/python/tiny_model.py");
        let written = Command::new(part("SPOTSCALE_PYTHON")).arg(script).arg(&models).status();
        assert!(written.unwrap().success());
        models
    });
    &WRITTEN
}

/// A picture of one white pixel.
fn pixel() -> Bytes {
    let mut bmp =
        b"BM\x3a\0\0\0\0\0\0\0\x36\0\0\0\x28\0\0\0\x01\0\0\0\x01\0\0\0\x01\0\x18\0".to_vec();
    bmp.resize(54, 0);
    bmp.extend([255, 255, 255, 0]);
    bmp.into()
}
