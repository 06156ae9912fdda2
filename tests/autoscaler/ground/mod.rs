//! Everything that a test of the whole needs, all of it real but the provider and the kubelet: a control plane, machines
//! that are bought and taken, model servers as processes on them, a front, daemons, and a queue that tells of interruptions.

pub(crate) mod clock;
pub(crate) mod daemon;
pub(crate) mod load;
pub(crate) mod objects;
pub(crate) mod pace;
pub(crate) mod process;
pub(crate) mod proxy;
pub(crate) mod queue;
pub(crate) mod sqs;

use std::{path::Path, sync::Arc, time::Duration};

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::{
    Api, Client, ResourceExt as _,
    api::{ListParams, Patch, PatchParams},
};
use serde_json::{Value, json};
use spotscale_autoscaler::{NoticeKind, kubernetes::NOTICES};
use spotscale_test_cluster::{
    TestCluster,
    apply::apply,
    catalog::{CapacityType, Catalog, Offering},
    found,
    kubelet::{Image, Running, all_ready},
    parts::part,
    provider::{Instance, Options, Provider},
    tiny, until,
};

use crate::world::{is_ready, shared};

use self::{
    load::Target,
    objects::{MODEL, POOL, Pods, TYPE},
    process::Process,
};

/// One test's part of the cluster.
pub(crate) struct Ground {
    pub(crate) cluster: &'static TestCluster,
    pub(crate) client: Client,
    pub(crate) namespace: String,
    pub(crate) provider: Provider,
    pub(crate) folder: tempfile::TempDir,
}

/// The folder with the model that pods serve.
const MODELS: &str = concat!(env!("CARGO_TARGET_TMPDIR"), "/autoscaler-models");
/// What there is, where, how and for how much an hour: what the file market tells the daemon, too.
const OFFERINGS: [(&str, CapacityType, f64); 4] = [
    ("us-east-1a", CapacityType::Spot, 0.16),
    ("us-east-1b", CapacityType::Spot, 0.20),
    ("us-east-1a", CapacityType::OnDemand, 0.526),
    ("us-east-1b", CapacityType::OnDemand, 0.526),
];

impl Ground {
    /// With nothing on it.
    pub(crate) async fn new(name: &str, boot: Duration) -> Self {
        let cluster = shared().await;
        let (client, namespace) = (cluster.client().await, cluster.namespace(name).await);
        let catalog = Catalog::default()
            .instance_type(TYPE, &[("cpu", "4"), ("memory", "16Gi"), ("nvidia.com/gpu", "1")]);
        let catalog = OFFERINGS.iter().fold(catalog, |catalog, (zone, capacity, usd)| {
            catalog.offer(Offering::new(TYPE, zone, *capacity), *usd)
        });
        let mut options = Options::new(&namespace, catalog);
        options.boot = boot;
        options.images = images();
        let provider = Provider::start(cluster.plane(), options).await.unwrap();
        let folder = tempfile::tempdir().unwrap();
        Self { cluster, client, namespace, provider, folder }
    }

    pub(crate) async fn apply(&self, object: Value) {
        let objects: Vec<_> = serde_json::from_value(json!([object])).unwrap();
        apply(&self.client, &self.namespace, &objects).await.unwrap();
    }

    /// Two pools, spot before on-demand, whose machines are for this scope alone.
    pub(crate) async fn pools(&self, scope: &str) {
        for (capacity, weight) in [(CapacityType::Spot, 10), (CapacityType::OnDemand, 1)] {
            let name = format!("{}-{scope}-{capacity}", self.namespace);
            let mut pool = self.provider.pool(&name, weight, capacity);
            let labels = json!({ POOL: self.label(scope) });
            pool["spec"]["template"]["metadata"] = json!({ "labels": labels });
            self.apply(pool).await;
        }
    }

    /// The model on machines of its own, once all replicas are ready.
    pub(crate) async fn model(&self, pods: Pods) {
        self.pools(MODEL).await;
        self.apply(objects::service()).await;
        self.apply(objects::budget()).await;
        let models = tiny::write_models_once(MODELS);
        self.apply(objects::model(&self.label(MODEL), pods, models)).await;
        self.ready(pods.replicas).await;
    }

    /// Pods that only sleep, on machines of their own.
    pub(crate) async fn sleepers(&self, scope: &str, replicas: usize) {
        self.pools(scope).await;
        self.scale(scope, replicas).await;
    }

    pub(crate) async fn scale(&self, scope: &str, replicas: usize) {
        self.apply(objects::sleepers(scope, &self.label(scope), replicas)).await;
    }

    /// What nodes and Deployments of a scope are labelled with.
    pub(crate) fn label(&self, scope: &str) -> String {
        format!("{}-{scope}", self.namespace)
    }

    /// Waits until a scope has so many pods that are ready, and none besides.
    pub(crate) async fn slept(&self, scope: &str, count: usize) -> Vec<Running> {
        self.until_ready(count, || self.of(scope)).await
    }

    /// The processes of a scope.
    pub(crate) fn of(&self, scope: &str) -> Vec<Running> {
        let mut pods = self.pods();
        pods.retain(|pod| pod.name.starts_with(&format!("{scope}-")));
        pods
    }

    /// The machine of a pod.
    pub(crate) fn machine_of(&self, pod: &Running) -> Instance {
        self.provider.instance(&pod.machine).unwrap()
    }

    /// Leaves notices with a Node, in the place of those that were there.
    pub(crate) async fn notice(&self, node: &str, kinds: &[NoticeKind]) {
        let text = serde_json::to_string(kinds).unwrap();
        self.patch_node(node, json!({ "metadata": { "annotations": { NOTICES: text } } })).await;
    }

    /// The provider will take a machine so long from now, and its Node says so.
    pub(crate) async fn interrupt(&self, node: &str, lead: Duration) -> Timestamp {
        let deadline = self.provider.interrupt(node, lead).await.unwrap();
        self.notice(node, &[NoticeKind::Interruption { deadline }]).await;
        deadline
    }

    /// From now on nothing else can be had.
    pub(crate) fn only(&self, offering: &Offering) {
        for (zone, capacity, _) in OFFERINGS {
            let other = Offering::new(TYPE, zone, capacity);
            self.provider.set_capacity(&other, other == *offering);
        }
    }

    /// Whether anything more can be had.
    pub(crate) fn set_capacity(&self, capacity: CapacityType, is_there: bool) {
        for (zone, kind, _) in OFFERINGS.iter().filter(|(_, kind, _)| *kind == capacity) {
            self.provider.set_capacity(&Offering::new(TYPE, zone, *kind), is_there);
        }
    }

    /// Waits until so many of the model's pods serve and none besides is there, and returns them.
    pub(crate) async fn ready(&self, count: usize) -> Vec<Running> {
        self.until_ready(count, || self.pods()).await
    }

    async fn until_ready(&self, count: usize, pods: impl Fn() -> Vec<Running>) -> Vec<Running> {
        let look = || async { Ok(all_ready(pods(), count)) };
        let ready = found(&format!("{}: ready pods", self.namespace), look).await;
        self.in_time(ready).await
    }

    /// The processes of the model.
    pub(crate) fn pods(&self) -> Vec<Running> {
        let mut pods = self.provider.kubelet().pods();
        pods.retain(|pod| pod.namespace == self.namespace);
        pods
    }

    /// How many pods of the model were ready and not told to end when it was fewest, while something was done.
    pub(crate) async fn fewest_serving<T>(&self, doing: impl Future<Output = T>) -> (usize, T) {
        let pods: Api<Pod> = Api::namespaced(self.client.clone(), &self.namespace);
        let of_model = ListParams::default().labels(&format!("app={MODEL}"));
        let mut doing = std::pin::pin!(doing);
        let mut fewest = usize::MAX;
        loop {
            let serving = pods.list(&of_model).await.unwrap();
            let serves = |pod: &&Pod| is_ready(pod) && pod.metadata.deletion_timestamp.is_none();
            fewest = fewest.min(serving.iter().filter(serves).count());
            let pause = Duration::from_millis(20);
            if let Ok(done) = tokio::time::timeout(pause, &mut doing).await {
                return (fewest, done);
            }
        }
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

    /// A front that follows the model's Service and sends each replica so many requests at once.
    pub(crate) async fn front(&self, concurrency: u32) -> (Process, Arc<Target>) {
        let service = format!("--kubernetes-service={}/{MODEL}", self.namespace);
        let concurrency = format!("--concurrency={concurrency}");
        let args = ["front", "--listen=127.0.0.1:0", "--admin-listen=127.0.0.1:0", "--kubernetes"];
        let args = args.into_iter().chain([service.as_str(), &concurrency]).map(str::to_owned);
        let env = [("KUBECONFIG", self.cluster.kubeconfig().display().to_string())];
        let name = format!("{}-front", self.namespace);
        let group = self.cluster.plane().group();
        let front = Process::start(group, &name, &args.collect::<Vec<_>>(), &env).await;
        let target = Target::new(&front.url("service"), tiny::pixel(0));
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
        self.in_time(until(&format!("{}: {what}", self.namespace), condition).await).await;
    }

    async fn in_time<T>(&self, outcome: anyhow::Result<T>) -> T {
        let error = match outcome {
            Ok(value) => return value,
            Err(error) => error,
        };
        let pods = Api::<Pod>::namespaced(self.client.clone(), &self.namespace);
        let pods = pods.list(&ListParams::default()).await.unwrap();
        let states: Vec<_> = pods.iter().map(|pod| (pod.name_any(), &pod.status)).collect();
        panic!("{error:#}; {:#?}; {:#?}; {states:#?}", self.provider.instances(), self.pods());
    }
}

/// What an offering costs.
pub(crate) fn usd_per_hour(offering: &Offering) -> f64 {
    let is_it = |(zone, capacity, _): &&(&str, CapacityType, f64)| {
        (*zone, *capacity) == (offering.zone.as_str(), offering.capacity_type)
    };
    OFFERINGS.iter().find(is_it).unwrap().2
}

/// The prices as the file market reads them.
pub(crate) fn prices() -> String {
    let line = |(zone, capacity, usd): &(&str, CapacityType, f64)| {
        format!("2024-01-01T00:00:00Z,{TYPE},{zone},{capacity},{usd}\n")
    };
    let lines: String = OFFERINGS.iter().map(line).collect();
    format!("timestamp,instance_type,zone,capacity_type,usd_per_hour\n{lines}")
}

/// The program, and the program behind one that keeps SIGTERM from it and dies only of SIGKILL, together with it.
fn images() -> std::collections::BTreeMap<String, Image> {
    let spotscale = Image::of(Path::new(env!("CARGO_BIN_EXE_spotscale")))
        .env("ORT_DYLIB_PATH", &part("ORT_DYLIB_PATH").display().to_string());
    let mut stubborn = spotscale.clone();
    let deaf = ["/usr/bin/unshare", "--fork", "--kill-child=KILL"].map(str::to_owned);
    stubborn.entrypoint.splice(..0, deaf);
    let sleeper = vec!["/bin/sleep".to_owned(), "infinity".to_owned()];
    let sleeper = Image { entrypoint: sleeper, ..Image::default() };
    let images = [("spotscale", spotscale), ("stubborn", stubborn), ("sleeper", sleeper)];
    images.map(|(name, image)| (name.to_owned(), image)).into()
}
