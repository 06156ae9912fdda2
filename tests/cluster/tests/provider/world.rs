//! What every test needs: a namespace, a provider with a small market, and a Deployment that lands on its machines.

use std::{collections::BTreeMap, path::Path, time::Duration};

use k8s_openapi::api::core::v1::{Node, Pod};
use kube::{
    Api, Client,
    api::{DynamicObject, ListParams},
    core::{ApiResource, GroupVersionKind},
};
use serde_json::{Value, json};
use spotscale_test_cluster::{
    TestCluster,
    apply::apply,
    catalog::{CapacityType, Catalog, Offering},
    found,
    karpenter::install_definitions,
    kubelet::{Image, Running, all_ready},
    provider::{Instance, Options, Provider},
    until,
};
use tokio::sync::OnceCell;

/// The type of every machine here; it has room for two of the test's pods.
pub(crate) const TYPE: &str = "g4dn.xlarge";

/// One test's part of the cluster.
pub(crate) struct World {
    pub(crate) client: Client,
    pub(crate) namespace: String,
    pub(crate) provider: Provider,
}

pub(crate) fn spot(zone: &str) -> Offering {
    Offering::new(TYPE, zone, CapacityType::Spot)
}

pub(crate) fn on_demand(zone: &str) -> Offering {
    Offering::new(TYPE, zone, CapacityType::OnDemand)
}

impl World {
    /// Spot is cheapest in us-east-1a, then in us-east-1b; on demand is dearer. There is no NodePool yet.
    pub(crate) async fn new(name: &str, change: impl FnOnce(&mut Options)) -> Self {
        static DEFINED: OnceCell<()> = OnceCell::const_new();
        let cluster = TestCluster::shared();
        let (client, namespace) = (cluster.client().await, cluster.namespace(name).await);
        DEFINED.get_or_try_init(|| install_definitions(&client)).await.unwrap();
        let catalog = Catalog::default()
            .instance_type(TYPE, &[("cpu", "4"), ("memory", "16Gi"), ("nvidia.com/gpu", "2")])
            .offer(spot("us-east-1a"), 0.16)
            .offer(spot("us-east-1b"), 0.20)
            .offer(on_demand("us-east-1a"), 0.53);
        let mut options = Options::new(&namespace, catalog);
        let server = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/kubelet/server.py");
        let entrypoint = vec!["/usr/bin/python3".to_owned(), server.display().to_string()];
        let image = Image { entrypoint, env: BTreeMap::new() }.env("BOUND", "$(POD_IP):1");
        options.images.insert("server".to_owned(), image);
        change(&mut options);
        let provider = Provider::start(cluster.plane(), options).await.unwrap();
        Self { client, namespace, provider }
    }

    pub(crate) async fn apply(&self, object: Value) {
        let objects: Vec<_> = serde_json::from_value(json!([object])).unwrap();
        apply(&self.client, &self.namespace, &objects).await.unwrap();
    }

    /// Applies a NodePool; its name.
    pub(crate) async fn pool(&self, name: &str, weight: u32, capacity: CapacityType) -> String {
        let name = format!("{}-{name}", self.namespace);
        self.apply(self.provider.pool(&name, weight, capacity)).await;
        name
    }

    /// A Deployment `web` whose pods need half a machine each.
    pub(crate) async fn deploy(&self, replicas: u32) {
        let labels = json!({ "app": "web" });
        self.apply(json!({
            "apiVersion": "apps/v1", "kind": "Deployment", "metadata": { "name": "web" },
            "spec": {
                "replicas": replicas, "selector": { "matchLabels": labels },
                "template": { "metadata": { "labels": labels }, "spec": {
                    "nodeSelector": { "karpenter.k8s.aws/ec2nodeclass": self.namespace },
                    "terminationGracePeriodSeconds": 1,
                    "containers": [{
                        "name": "server", "image": "server", "args": ["0.0.0.0:8080"],
                        "ports": [{ "name": "http", "containerPort": 8080 }],
                        "resources": { "limits": { "nvidia.com/gpu": "1" } },
                        "readinessProbe": { "httpGet": { "path": "/", "port": "http" }, "periodSeconds": 1 },
                    }],
                } },
            },
        }))
        .await;
    }

    /// Waits until so many processes are ready, and returns them.
    pub(crate) async fn ready(&self, count: usize) -> Vec<Running> {
        let ready = || async { Ok(all_ready(self.provider.kubelet().pods(), count)) };
        self.in_time(found("ready pods", ready).await).await
    }

    /// The machines that are there.
    pub(crate) fn machines(&self) -> Vec<Instance> {
        self.provider.instances().into_iter().filter(Instance::is_there).collect()
    }

    pub(crate) fn pods(&self) -> Api<Pod> {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    pub(crate) fn nodes(&self) -> Api<Node> {
        Api::all(self.client.clone())
    }

    pub(crate) fn claims(&self) -> Api<DynamicObject> {
        let kind = GroupVersionKind::gvk("karpenter.sh", "v1", "NodeClaim");
        Api::all_with(self.client.clone(), &ApiResource::from_gvk(&kind))
    }

    /// Waits until the objects of a machine are gone.
    pub(crate) async fn until_removed(&self, machine: &Instance) {
        self.until("the end of its objects", || async {
            let node = self.nodes().get_opt(&machine.node).await?;
            Ok(node.is_none() && self.claims().get_opt(&machine.claim).await?.is_none())
        })
        .await;
    }

    pub(crate) async fn until<F: Future<Output = anyhow::Result<bool>>>(
        &self,
        what: &str,
        condition: impl FnMut() -> F,
    ) {
        self.in_time(until(what, condition).await).await;
    }

    async fn in_time<T>(&self, outcome: anyhow::Result<T>) -> T {
        let error = match outcome {
            Ok(value) => return value,
            Err(error) => error,
        };
        let pods = self.pods().list(&ListParams::default()).await.unwrap();
        let states: Vec<_> = pods.iter().map(|pod| (&pod.metadata.name, &pod.status)).collect();
        panic!("{error:#}; {:#?}; {states:#?}", self.provider.instances());
    }
}

/// Long enough for the provider to have looked several times.
pub(crate) const WHILE: Duration = Duration::from_secs(2);
