//! What every test needs: a namespace, machines of its own, pods that land on them, and what can be asked of those.

use std::{collections::BTreeMap, path::Path, time::Duration};

use k8s_openapi::api::core::v1::Pod;
use kube::{Api, Client, api::ListParams};
use serde_json::{Value, json};
use spotscale_test_cluster::{
    TestCluster,
    apply::apply,
    found,
    kubelet::{Image, Kubelet, Machine, Options, Running, all_ready},
    until,
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    sync::{RwLock, RwLockReadGuard, RwLockWriteGuard},
};

const LABEL: &str = "test.spotscale.dev/of";

/// Held for writing by who stops the API server.
static API_SERVER: RwLock<()> = RwLock::const_new(());

/// One test's part of the cluster.
pub(crate) struct World {
    _api_server: Option<RwLockReadGuard<'static, ()>>,
    pub(crate) client: Client,
    pub(crate) namespace: String,
    pub(crate) kubelet: Kubelet,
}

impl World {
    /// With two machines, `NAMESPACE-0` and `NAMESPACE-1`.
    pub(crate) async fn new(name: &str) -> Self {
        let guard = API_SERVER.read().await;
        Self { _api_server: Some(guard), ..Self::start(name).await }
    }

    /// The same, with the API server to itself: no other test runs meanwhile.
    pub(crate) async fn alone(name: &str) -> (Self, RwLockWriteGuard<'static, ()>) {
        let guard = API_SERVER.write().await;
        (Self::start(name).await, guard)
    }

    async fn start(name: &str) -> Self {
        let cluster = TestCluster::shared();
        let (client, namespace) = (cluster.client().await, cluster.namespace(name).await);
        let machine = |n: usize| plain_machine(&namespace, &n.to_string());
        let server = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/kubelet/server.py");
        let entrypoint = vec!["/usr/bin/python3".to_owned(), server.display().to_string()];
        let image = Image { entrypoint, env: BTreeMap::new() }.env("BOUND", "$(POD_IP):1");
        let options = Options {
            machines: vec![machine(0), machine(1)],
            images: BTreeMap::from([("registry:5000/server".to_owned(), image)]),
            cold_start: Duration::ZERO,
        };
        let kubelet = Kubelet::start(cluster.plane(), options).await.unwrap();
        Self { _api_server: None, client, namespace, kubelet }
    }

    pub(crate) fn machine(&self, n: usize) -> String {
        format!("{}-{n}", self.namespace)
    }

    /// One more machine that this test's pods may land on.
    pub(crate) fn plain_machine(&self, name: &str) -> Machine {
        plain_machine(&self.namespace, name)
    }

    /// Applies one object.
    pub(crate) async fn apply(&self, object: Value) {
        let objects: Vec<_> = serde_json::from_value(json!([object])).unwrap();
        apply(&self.client, &self.namespace, &objects).await.unwrap();
    }

    /// A Deployment `web` of the server with a Service, and with the pod's spec as changed.
    pub(crate) async fn deploy(&self, replicas: u32, change: impl FnOnce(&mut Value)) {
        let mut spec = self.pod_spec();
        change(&mut spec);
        let labels = json!({ "app": "web" });
        self.apply(json!({
            "apiVersion": "apps/v1", "kind": "Deployment", "metadata": { "name": "web" },
            "spec": {
                "replicas": replicas, "selector": { "matchLabels": labels },
                "template": { "metadata": { "labels": labels }, "spec": spec },
            },
        }))
        .await;
        self.apply(json!({
            "apiVersion": "v1", "kind": "Service", "metadata": { "name": "web" },
            "spec": { "selector": labels, "ports": [{ "port": 8080 }] },
        }))
        .await;
    }

    /// The spec of a pod of the server, on this test's machines.
    pub(crate) fn pod_spec(&self) -> Value {
        json!({
            "nodeSelector": { LABEL: self.namespace },
            "containers": [{
                "name": "server", "image": "registry:5000/server:1.2",
                "args": ["0.0.0.0:8080"],
                "ports": [{ "name": "http", "containerPort": 8080 }],
                "readinessProbe": { "httpGet": { "path": "/", "port": "http" }, "periodSeconds": 1 },
            }],
        })
    }

    pub(crate) fn pods(&self) -> Api<Pod> {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    /// Waits until so many processes are ready, and returns them.
    pub(crate) async fn ready(&self, count: usize) -> Vec<Running> {
        let ready = || async { Ok(all_ready(self.kubelet.pods(), count)) };
        self.in_time(found("ready pods", ready).await)
    }

    /// Waits until the addresses that the Service may be called at are these.
    pub(crate) async fn endpoints_are(&self, expected: &[&Running]) {
        let slices = Api::<k8s_openapi::api::discovery::v1::EndpointSlice>::namespaced(
            self.client.clone(),
            &self.namespace,
        );
        let mut expected: Vec<String> = expected.iter().map(|pod| pod.ip.to_string()).collect();
        expected.sort();
        self.until("the endpoints", || async {
            let list = slices.list(&ListParams::default()).await?;
            let endpoints = list.items.into_iter().flat_map(|slice| slice.endpoints);
            let ready = endpoints.filter(|endpoint| {
                endpoint.conditions.as_ref().is_some_and(|all| all.ready == Some(true))
            });
            let mut addresses: Vec<String> =
                ready.flat_map(|endpoint| endpoint.addresses).collect();
            addresses.sort();
            Ok(addresses == expected)
        })
        .await;
    }

    pub(crate) async fn until<F: Future<Output = anyhow::Result<bool>>>(
        &self,
        what: &str,
        condition: impl FnMut() -> F,
    ) {
        self.in_time(until(what, condition).await);
    }

    fn in_time<T>(&self, outcome: anyhow::Result<T>) -> T {
        outcome.unwrap_or_else(|error| panic!("{error:#}; {:#?}", self.kubelet.pods()))
    }
}

fn plain_machine(namespace: &str, name: &str) -> Machine {
    Machine::new(&format!("{namespace}-{name}")).label(LABEL, namespace)
}

/// Asks a pod's server; the body of a 200.
pub(crate) async fn get(pod: &Running, path: &str) -> anyhow::Result<String> {
    let mut stream = TcpStream::connect((pod.ip, 8080)).await?;
    stream.write_all(format!("GET {path} HTTP/1.0\r\n\r\n").as_bytes()).await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_default();
    anyhow::ensure!(head.starts_with("HTTP/1.0 200"), "{path}: {answer}");
    Ok(body.to_owned())
}
