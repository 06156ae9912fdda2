//! One test's part of the cluster: a namespace, machines of its own and what runs on them.

use std::{collections::BTreeMap, ops::Deref, sync::Arc, time::Duration};

use clap::Parser;
use k8s_openapi::api::{
    apps::v1::ReplicaSet,
    core::v1::{Node, Pod},
};
use kube::{
    Api, Client, ResourceExt as _,
    api::{DeleteParams, ListParams, Patch, PatchParams},
};
use serde_json::{Value, json};
use spotscale_autoscaler::{
    Cluster as _, Config, Daemon, FileMarket, Observation, Playback, States,
    kubernetes::{Events, KubeCluster, Kubernetes, RIGHTS, Right, client},
};
use spotscale_test_cluster::{
    TestCluster,
    apply::apply,
    found,
    karpenter::install_definitions,
    kubelet::{Image, Kubelet, Machine, Options},
    until,
};
use tokio::sync::OnceCell;
use tokio_util::{
    sync::{CancellationToken, DropGuard},
    task::TaskTracker,
};

pub(crate) const POOL: &str = "spotscale.dev/pool";
pub(crate) const WORKLOAD: &str = "spotscale.dev/workload";
/// Who the daemon is to the API server.
const USER: &str = "spotscale-test-autoscaler";
const PRICES: &str = "\
timestamp,instance_type,zone,capacity_type,usd_per_hour
2024-01-01T00:00:00Z,g4dn.xlarge,a,spot,0.20
2024-01-01T00:00:00Z,g4dn.xlarge,b,spot,0.21
2024-01-01T00:00:00Z,g4dn.xlarge,a,on-demand,0.526
";

pub(crate) struct World {
    _end: DropGuard,
    pub(crate) client: Client,
    pub(crate) namespace: String,
    pub(crate) kubelet: Kubelet,
    pub(crate) end: CancellationToken,
    tasks: TaskTracker,
    /// The last that is dropped.
    pub(crate) cluster: Cluster,
}

/// A cluster with Karpenter's definitions: that of all tests, or one for a test alone, which may stop it.
pub(crate) enum Cluster {
    Shared(&'static TestCluster),
    Own(Box<TestCluster>),
}

#[derive(Parser)]
struct Flags {
    #[command(flatten)]
    config: Config,
    #[command(flatten)]
    kubernetes: Kubernetes,
}

/// The cluster of all tests.
pub(crate) async fn shared() -> &'static TestCluster {
    static PREPARED: OnceCell<&TestCluster> = OnceCell::const_new();
    let prepared = || async {
        let cluster = TestCluster::shared();
        prepare(cluster).await;
        cluster
    };
    PREPARED.get_or_init(prepared).await
}

/// Adds Karpenter's definitions, and the daemon's rights.
async fn prepare(cluster: &TestCluster) {
    let client = cluster.client().await;
    install_definitions(&client).await.unwrap();
    grant(&client, "default", false).await;
}

/// A client with the rights of the daemon and no others.
pub(crate) async fn restricted(cluster: &TestCluster) -> Client {
    client(restricted_config(cluster).await).unwrap()
}

/// The same, for a client of another runtime.
pub(crate) async fn restricted_config(cluster: &TestCluster) -> kube::Config {
    let mut config = cluster.plane().config().await.unwrap();
    config.auth_info.impersonate = Some(USER.to_owned());
    config
}

/// Gives the daemon its rights: those in its own namespace, or those in the whole cluster.
async fn grant(client: &Client, namespace: &str, own: bool) {
    let rule = |right: &Right| json!({ "apiGroups": [right.group], "resources": [right.resource], "verbs": right.verbs });
    let rules: Vec<_> =
        RIGHTS.iter().filter(|right| right.own_namespace == own).map(rule).collect();
    let (kind, binding) =
        if own { ("Role", "RoleBinding") } else { ("ClusterRole", "ClusterRoleBinding") };
    let group = "rbac.authorization.k8s.io";
    let version = format!("{group}/v1");
    let name = json!({ "name": "spotscale-test-autoscaler" });
    let objects = json!([
        { "apiVersion": version, "kind": kind, "metadata": name, "rules": rules },
        {
            "apiVersion": version, "kind": binding, "metadata": name,
            "roleRef": { "apiGroup": group, "kind": kind, "name": name["name"] },
            "subjects": [{ "apiGroup": group, "kind": "User", "name": USER }],
        },
    ]);
    let objects: Vec<_> = serde_json::from_value(objects).unwrap();
    apply(client, namespace, &objects).await.unwrap();
}

impl World {
    /// With the machines `NAMESPACE-0` and so on, of one pool that nobody else has.
    pub(crate) async fn new(name: &str, machines: usize) -> Self {
        Self::with(Cluster::Shared(shared().await), name, machines).await
    }

    /// The same, for a test that stops the API server.
    pub(crate) async fn alone(name: &str, machines: usize) -> Self {
        let options =
            spotscale_test_cluster::Options { name: name.to_owned(), ..Default::default() };
        let cluster = TestCluster::start(&options).await.unwrap();
        prepare(&cluster).await;
        Self::with(Cluster::Own(Box::new(cluster)), name, machines).await
    }

    async fn with(cluster: Cluster, name: &str, machines: usize) -> Self {
        let (client, namespace) = (cluster.client().await, cluster.namespace(name).await);
        grant(&client, &namespace, true).await;
        let sleep = vec!["/bin/sleep".to_owned(), "infinity".to_owned()];
        let image = Image { entrypoint: sleep, env: BTreeMap::new() };
        let options = Options {
            machines: (0..machines).map(|n| machine(&namespace, n)).collect(),
            images: BTreeMap::from([("test/replica".to_owned(), image)]),
            ..Options::default()
        };
        let kubelet = Kubelet::start(cluster.plane(), options).await.unwrap();
        let end = CancellationToken::new();
        Self {
            _end: end.clone().drop_guard(),
            client,
            namespace,
            kubelet,
            end,
            tasks: TaskTracker::new(),
            cluster,
        }
    }

    pub(crate) fn machine(&self, n: usize) -> String {
        format!("{}-{n}", self.namespace)
    }

    /// The settings of a daemon, with these flags besides.
    fn flags(&self, further: &[&str]) -> Flags {
        let pool = format!("--node-selector={POOL}={}", self.namespace);
        let workloads = format!("--workload-selector={WORKLOAD}={}", self.namespace);
        let flags = ["daemon", "--machine=g4dn.xlarge=400/8", "--tick=100ms", &pool, &workloads];
        Flags::parse_from(flags.into_iter().chain(further.iter().copied()))
    }

    /// What a daemon sees, once everything was listed.
    pub(crate) async fn watch(&self) -> Arc<KubeCluster> {
        let (client, settings) = (restricted(&self.cluster).await, self.flags(&[]).kubernetes);
        let cluster = KubeCluster::start(client, settings, &self.tasks, &self.end);
        until("a first look", || async { Ok(cluster.observe().await.map(|_| true)?) })
            .await
            .unwrap();
        cluster
    }

    pub(crate) fn events(&self, cluster: &Arc<KubeCluster>) -> Events {
        Events::start(cluster, &self.namespace, &self.tasks, &self.end)
    }

    /// Lets a daemon act, until this world ends.
    pub(crate) async fn daemon(&self) -> Arc<KubeCluster> {
        self.daemon_with(&[]).await.0
    }

    /// The same with these flags, and what it says of itself.
    pub(crate) async fn daemon_with(&self, further: &[&str]) -> (Arc<KubeCluster>, States) {
        let cluster = self.watch().await;
        let playback = Playback { starts_at: jiff::Timestamp::now(), speed: 1 };
        let market = Arc::new(FileMarket::parse(PRICES, playback).unwrap());
        let config = self.flags(further).config;
        let daemon = Daemon::new(config, Arc::clone(&cluster) as _, market).unwrap();
        let states = daemon.states();
        self.tasks.spawn(daemon.run(self.end.clone()));
        (cluster, states)
    }

    /// Waits until an observation is as wanted.
    pub(crate) async fn seen(
        &self,
        cluster: &KubeCluster,
        what: &str,
        is_so: impl Fn(&Observation) -> bool,
    ) -> Observation {
        let look = || async { Ok(Some(cluster.observe().await?).filter(&is_so)) };
        found(what, look).await.unwrap()
    }

    pub(crate) async fn apply(&self, object: Value) {
        let objects: Vec<_> = serde_json::from_value(json!([object])).unwrap();
        apply(&self.client, &self.namespace, &objects).await.unwrap();
    }

    pub(crate) async fn until<F: Future<Output = anyhow::Result<bool>>>(
        &self,
        what: &str,
        condition: impl FnMut() -> F,
    ) {
        until(&format!("{}: {what}", self.namespace), condition).await.unwrap();
    }

    pub(crate) fn pods(&self) -> Api<Pod> {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    /// The pods of this test by name, without those that are ending.
    pub(crate) async fn living(&self) -> BTreeMap<String, Pod> {
        let pods = self.pods().list(&ListParams::default()).await.unwrap().items;
        let living = pods.into_iter().filter(|pod| pod.metadata.deletion_timestamp.is_none());
        living.map(|pod| (pod.name_any(), pod)).collect()
    }

    /// Waits for so many ready pods, and returns their names and nodes.
    pub(crate) async fn ready(&self, count: usize) -> BTreeMap<String, String> {
        let ready = || async {
            let living = self.living().await;
            let are_ready = living.len() == count && living.values().all(is_ready);
            Ok(are_ready.then_some(living))
        };
        let living = found(&format!("{}: ready pods", self.namespace), ready).await.unwrap();
        let node = |pod: &Pod| pod.spec.as_ref().unwrap().node_name.clone().unwrap_or_default();
        living.iter().map(|(name, pod)| (name.clone(), node(pod))).collect()
    }

    /// Starts the API server again, and waits until the controllers hear from it: they are slow to find out that their
    /// watches are dead, and wait ever longer after each failure.
    pub(crate) async fn restart_api_server(&self) {
        self.cluster.plane().restart_api_server().await.unwrap();
        let sets: Api<ReplicaSet> = Api::namespaced(self.client.clone(), &self.namespace);
        self.until("the controllers to hear", || async {
            let name = format!("probe-{}", fastrand::u32(..));
            let mut probe = self.deployment(&name, 1);
            probe["kind"] = "ReplicaSet".into();
            self.apply(probe).await;
            tokio::time::sleep(Duration::from_secs(2)).await;
            let status = sets.get(&name).await?.status;
            sets.delete(&name, &DeleteParams::background()).await?;
            Ok(status.is_some_and(|status| status.replicas == 1))
        })
        .await;
    }

    pub(crate) async fn node(&self, n: usize) -> Node {
        self.nodes().get(&self.machine(n)).await.unwrap()
    }

    pub(crate) fn nodes(&self) -> Api<Node> {
        Api::all(self.client.clone())
    }

    pub(crate) async fn patch_node(&self, n: usize, patch: Value) {
        let params = PatchParams::default();
        self.nodes().patch(&self.machine(n), &params, &Patch::Merge(patch)).await.unwrap();
    }
}

impl Deref for Cluster {
    type Target = TestCluster;

    fn deref(&self) -> &TestCluster {
        match self {
            Self::Shared(cluster) => cluster,
            Self::Own(cluster) => cluster,
        }
    }
}

fn machine(namespace: &str, n: usize) -> Machine {
    Machine::new(&format!("{namespace}-{n}"))
        .label(POOL, namespace)
        .label("karpenter.sh/nodepool", namespace)
        .label("karpenter.sh/capacity-type", "spot")
        .label("karpenter.sh/initialized", "true")
        .label("node.kubernetes.io/instance-type", "g4dn.xlarge")
        .label("topology.kubernetes.io/zone", "a")
}

pub(crate) fn is_ready(pod: &Pod) -> bool {
    let conditions = pod.status.iter().flat_map(|status| status.conditions.iter().flatten());
    conditions.clone().any(|condition| condition.type_ == "Ready" && condition.status == "True")
}
