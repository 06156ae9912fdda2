//! A machine: its Node object, its heartbeat, and whether it is there at all.

use std::{collections::BTreeMap, net::IpAddr, time::Duration};

use jiff::Timestamp;
use k8s_openapi::{
    api::{
        coordination::v1::{Lease, LeaseSpec},
        core::v1::{Node, NodeAddress, NodeCondition, NodeSpec, NodeStatus, NodeSystemInfo, Taint},
    },
    apimachinery::pkg::{
        api::resource::Quantity,
        apis::meta::v1::{MicroTime, ObjectMeta, Time},
    },
};
use kube::{
    Api, Client,
    api::{Patch, PatchParams},
};
use serde_json::json;
use tokio::{sync::watch, time::Instant};

/// Much more often than the real one's 10 s, so that a test may shorten the grace period.
const HEARTBEAT: Duration = Duration::from_secs(1);
/// A Node's status, which everybody watches, is told again only so often, like the real one's, and after a silence: a
/// controller may have given the Node up meanwhile.
const STATUS: Duration = Duration::from_secs(10);
const SILENCE: Duration = Duration::from_secs(2);
/// Told as the version of every node.
const VERSION: &str = "v1.36.2";
const MANAGER: &str = "spotscale-test-kubelet";

/// A machine to have.
#[derive(Debug, Clone)]
pub struct Machine {
    /// Of the Node object.
    pub name: String,
    /// Beside those that every Node has.
    pub labels: BTreeMap<String, String>,
    /// From the start.
    pub taints: Vec<Taint>,
    /// Capacity, all of it allocatable: `cpu`, `memory`, `nvidia.com/gpu`.
    pub resources: BTreeMap<String, Quantity>,
    /// How the cloud calls it.
    pub provider_id: String,
    /// Variables that every container here has before its spec says anything: what a real machine would give by other
    /// means, such as a metadata service of its own.
    pub env: BTreeMap<String, String>,
}

impl Machine {
    /// A large one without labels, taints and GPUs.
    pub fn new(name: &str) -> Self {
        let machine = Self {
            name: name.to_owned(),
            labels: BTreeMap::new(),
            taints: Vec::new(),
            resources: BTreeMap::new(),
            provider_id: format!("test:///{name}"),
            env: BTreeMap::new(),
        };
        machine.resource("cpu", "64").resource("memory", "256Gi").resource("pods", "110")
    }

    /// With this label, for example `topology.kubernetes.io/zone`.
    pub fn label(mut self, key: &str, value: &str) -> Self {
        self.labels.insert(key.to_owned(), value.to_owned());
        self
    }

    /// With this much of a resource, for example `nvidia.com/gpu`.
    pub fn resource(mut self, name: &str, quantity: &str) -> Self {
        self.resources.insert(name.to_owned(), Quantity(quantity.to_owned()));
        self
    }

    /// Called so by its cloud, for example `aws:///us-east-1a/i-0123456789abcdef0`.
    pub fn provider_id(mut self, id: &str) -> Self {
        id.clone_into(&mut self.provider_id);
        self
    }

    /// With a taint.
    pub fn taint(mut self, key: &str, value: &str, effect: &str) -> Self {
        let (key, value, effect) = (key.to_owned(), Some(value.to_owned()), effect.to_owned());
        self.taints.push(Taint { key, value, effect, time_added: None });
        self
    }

    /// Its Node object, without a status.
    pub(crate) fn node(&self) -> Node {
        let name = &self.name;
        let mut labels = self.labels.clone();
        for (key, value) in [
            ("kubernetes.io/hostname", name.as_str()),
            ("kubernetes.io/os", "linux"),
            ("kubernetes.io/arch", "amd64"),
        ] {
            labels.entry(key.to_owned()).or_insert_with(|| value.to_owned());
        }
        let taints = self.taints.clone();
        Node {
            metadata: ObjectMeta {
                name: Some(name.clone()),
                labels: Some(labels),
                ..ObjectMeta::default()
            },
            spec: Some(NodeSpec {
                provider_id: Some(self.provider_id.clone()),
                taints: Some(taints).filter(|taints| !taints.is_empty()),
                ..NodeSpec::default()
            }),
            status: None,
        }
    }
}

/// What the world sees of a machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Link {
    /// It reports and hears.
    Up,
    /// It runs on, but nothing comes or goes.
    Cut,
    /// It is no more.
    Gone,
}

/// A machine that is there.
#[derive(Debug)]
pub(super) struct Host {
    pub(super) machine: Machine,
    pub(super) ip: IpAddr,
    pub(super) link: watch::Sender<Link>,
}

impl Host {
    pub(super) fn new(machine: Machine, ip: IpAddr) -> Self {
        Self { machine, ip, link: watch::Sender::new(Link::Up) }
    }

    /// Resolves when something may be reported; false if that is never again.
    pub(super) async fn is_up(&self) -> bool {
        let mut link = self.link.subscribe();
        let now = link.wait_for(|link| *link != Link::Cut).await;
        now.is_ok_and(|now| *now == Link::Up)
    }

    /// Creates the Node, or takes the one over that is there.
    pub(super) async fn register(&self, client: &Client) -> kube::Result<()> {
        let nodes = Api::<Node>::all(client.clone());
        let params = PatchParams::apply(MANAGER).force();
        nodes.patch(&self.machine.name, &params, &Patch::Apply(self.machine.node())).await?;
        let leases = Api::<Lease>::namespaced(client.clone(), "kube-node-lease");
        leases.patch(&self.machine.name, &params, &Patch::Apply(self.lease())).await?;
        self.report(client).await
    }

    /// Keeps the Node alive as long as the machine is. What fails is tried again at the next beat.
    pub(super) async fn heartbeat(&self, client: &Client) {
        let (mut renewed, mut reported) = (Instant::now(), Instant::now());
        while self.is_up().await {
            let reports = renewed.elapsed() > SILENCE || reported.elapsed() > STATUS;
            match tokio::time::timeout(HEARTBEAT * 3, self.beat(client, reports)).await {
                Ok(Ok(())) => {
                    renewed = Instant::now();
                    reported = if reports { renewed } else { reported };
                }
                Ok(Err(error)) => tracing::warn!(node = self.machine.name, %error, "no heartbeat"),
                Err(_) => tracing::warn!(node = self.machine.name, "no heartbeat in time"),
            }
            tokio::time::sleep(HEARTBEAT).await;
        }
    }

    async fn beat(&self, client: &Client, reports: bool) -> kube::Result<()> {
        let leases = Api::<Lease>::namespaced(client.clone(), "kube-node-lease");
        let renewal = json!({ "spec": { "renewTime": MicroTime(Timestamp::now()) } });
        let params = PatchParams::default();
        leases.patch_metadata(&self.machine.name, &params, &Patch::Merge(renewal)).await?;
        if reports { self.report(client).await } else { Ok(()) }
    }

    async fn report(&self, client: &Client) -> kube::Result<()> {
        let params = PatchParams::apply(MANAGER).force();
        let nodes = Api::<Node>::all(client.clone());
        let status = Node { spec: None, status: Some(self.status()), ..self.machine.node() };
        nodes.patch_status(&self.machine.name, &params, &Patch::Apply(status)).await?;
        Ok(())
    }

    fn status(&self) -> NodeStatus {
        let ready = NodeCondition {
            type_: "Ready".to_owned(),
            status: "True".to_owned(),
            reason: Some("KubeletReady".to_owned()),
            last_heartbeat_time: Some(Time(Timestamp::now())),
            ..NodeCondition::default()
        };
        let address =
            |type_: &str, address: String| NodeAddress { type_: type_.to_owned(), address };
        NodeStatus {
            conditions: Some(vec![ready]),
            addresses: Some(vec![
                address("InternalIP", self.ip.to_string()),
                address("Hostname", self.machine.name.clone()),
            ]),
            capacity: Some(self.machine.resources.clone()),
            allocatable: Some(self.machine.resources.clone()),
            node_info: Some(NodeSystemInfo {
                architecture: "amd64".to_owned(),
                operating_system: "linux".to_owned(),
                kubelet_version: VERSION.to_owned(),
                ..NodeSystemInfo::default()
            }),
            ..NodeStatus::default()
        }
    }

    fn lease(&self) -> Lease {
        let name = &self.machine.name;
        Lease {
            metadata: ObjectMeta { name: Some(name.clone()), ..ObjectMeta::default() },
            spec: Some(LeaseSpec {
                holder_identity: Some(name.clone()),
                lease_duration_seconds: Some(40),
                renew_time: Some(MicroTime(Timestamp::now())),
                ..LeaseSpec::default()
            }),
        }
    }
}
