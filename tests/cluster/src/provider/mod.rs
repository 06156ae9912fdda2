//! A stand-in for Karpenter and for the cloud behind it, for tests whose pods are real processes: pods that the
//! scheduler finds no room for get a machine, from the real objects NodePool, NodeOverlay and NodeClaim, and a
//! [`Kubelet`] runs what is bound to it.
//!
//! As with Karpenter: the weightiest NodePool that allows any machine has it, within its requirements and limits, and
//! the cheapest offering by the prices as NodeOverlays change them. A machine boots before its Node is there. Its
//! NodeClaim tells `providerID`, `nodeName` and the conditions Launched, Registered, Initialized and Ready; deleted,
//! it stays until the pods of its machine were evicted, budgets honoured, and the machine has ended. A machine without
//! work ends, if so wished.
//!
//! As with EC2: an interrupted machine is gone at its deadline with everything that runs on it, all at once. Where
//! machines have a metadata service, it tells of that at once; what is to come by a queue, the test sends
//! ([`crate::cloud::events`]).
//!
//! Not as there:
//!
//! - The Node has no finalizer: deleted, it takes its machine with it, undrained.
//! - Nothing is consolidated but empty machines, and nothing drifts or expires.
//! - An offering that is sold out is passed over, with neither a failed NodeClaim nor a memory of it.
//! - Affinity between pods, topology spread and what DaemonSets need are not thought of when a machine is chosen.
//! - Objects of a taken machine are gone within a second. Its pods' objects are left to the garbage collector of
//!   Kubernetes, which waits for 40 s.

mod choice;
mod claim;
mod cycle;
mod fit;
mod fleet;
mod notices;
mod objects;
mod offers;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use anyhow::Context as _;
use jiff::{SignedDuration, Timestamp};
use kube::Client;
use serde_json::{Value, json};
use tokio::{runtime::Runtime, time::Instant};
use tokio_util::sync::CancellationToken;

pub use self::fleet::{EndedBy, Instance, State};
use self::{cycle::World, notices::Services, objects::Objects};
use crate::{
    catalog::{CapacityType, Catalog, Offering},
    cloud::{Interruption, Notices},
    control_plane::ControlPlane,
    kubelet::{self, Image, Kubelet},
};

/// For the machines' objects to be deleted at the end, at most.
const LEAVE: Duration = Duration::from_secs(5);

/// What a provider is started with.
#[derive(Debug, Clone)]
pub struct Options {
    /// The namespace of one test: whose pods are work, and after which the node class of its NodePools is called.
    pub namespace: String,
    /// From a machine's launch to its Node.
    pub boot: Duration,
    /// A machine without work ends after this time; never by default.
    pub consolidate_after: Option<Duration>,
    /// Each machine has a metadata service, whose URL its pods have in `AWS_EC2_METADATA_SERVICE_ENDPOINT`.
    pub metadata: bool,
    /// As of [`kubelet::Options`].
    pub images: BTreeMap<String, Image>,
    /// As of [`kubelet::Options`].
    pub cold_start: Duration,
    /// What the cloud has.
    pub catalog: Catalog,
}

impl Options {
    /// With machines that are there in a second, and without a metadata service.
    pub fn new(namespace: &str, catalog: Catalog) -> Self {
        Self {
            namespace: namespace.to_owned(),
            boot: Duration::from_secs(1),
            consolidate_after: None,
            metadata: false,
            images: BTreeMap::new(),
            cold_start: Duration::ZERO,
            catalog,
        }
    }
}

/// A running provider, with the kubelets of its machines. Dropped, it ends all of them and deletes their objects.
pub struct Provider {
    world: Arc<World>,
    stop: CancellationToken,
    stopped: std::sync::mpsc::Receiver<()>,
    /// Its own, so that no test holds it up.
    runtime: Option<Runtime>,
    namespace: String,
}

impl Provider {
    /// Starts without a machine, on a control plane that has Karpenter's definitions.
    pub async fn start(plane: &ControlPlane, options: Options) -> anyhow::Result<Self> {
        let Options { namespace, boot, consolidate_after, metadata, images, cold_start, catalog } =
            options;
        let settings = kubelet::Options { machines: Vec::new(), images, cold_start };
        let kubelet = Arc::new(Kubelet::start(plane, settings).await?);
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("provider")
            .enable_all()
            .build()?;
        let mut config = plane.config().await?;
        // Else an eviction that a budget does not allow is tried again for minutes before it is told.
        config.default_retry = false;
        let client = runtime.spawn(async move { Client::try_from(config) }).await??;
        let world = Arc::new(World {
            objects: Objects::new(client, &namespace),
            kubelet,
            boot,
            consolidate_after,
            catalog,
            services: metadata.then(Services::default),
            state: std::sync::Mutex::default(),
        });
        let stop = CancellationToken::new();
        let (done, stopped) = std::sync::mpsc::channel();
        let running = Arc::clone(&world).run(stop.clone());
        runtime.spawn(async move {
            running.await;
            let _ = done.send(());
        });
        Ok(Self { world, stop, stopped, runtime: Some(runtime), namespace })
    }

    /// The kubelets: processes, cuts, kills.
    pub fn kubelet(&self) -> &Kubelet {
        &self.world.kubelet
    }

    /// Every machine that was launched, those that have ended included, oldest first.
    pub fn instances(&self) -> Vec<Instance> {
        let mut instances = self.world.instances();
        instances.sort_by_key(|instance| instance.launched);
        instances
    }

    /// The machine of a Node.
    pub fn instance(&self, node: &str) -> Option<Instance> {
        self.world.instances().into_iter().find(|instance| instance.node == node)
    }

    /// Whether an offering can be had. All can at first; a machine that is there stays.
    pub fn set_capacity(&self, offering: &Offering, is_there: bool) {
        let mut state = self.world.state();
        if is_there {
            state.sold_out.remove(offering);
        } else {
            state.sold_out.insert(offering.clone());
        }
    }

    /// The cloud will take this machine away so long from now; EC2 gives two minutes. Returns when that is. Its
    /// metadata service tells it, in whole seconds.
    pub async fn interrupt(&self, node: &str, lead: Duration) -> anyhow::Result<Timestamp> {
        let shown = Timestamp::now();
        let (time, end) = (shown + SignedDuration::try_from(lead)?, Instant::now() + lead);
        let interruption = Interruption { action: "terminate", time, shown };
        self.tell(node, |notices| notices.interruption = Some(interruption)).await?;
        let (world, node) = (Arc::clone(&self.world), node.to_owned());
        self.runtime.as_ref().context("it has ended")?.spawn(async move {
            tokio::time::sleep_until(end).await;
            world.reclaim(&node).await;
        });
        Ok(time)
    }

    /// The metadata service of this machine tells that it is at risk; nothing else happens.
    pub async fn recommend_rebalance(&self, node: &str) -> anyhow::Result<()> {
        self.tell(node, |notices| notices.rebalance = Some(Timestamp::now())).await
    }

    async fn tell(
        &self,
        node: &str,
        change: impl FnOnce(&mut Notices) + Send,
    ) -> anyhow::Result<()> {
        self.instance(node).with_context(|| format!("no machine has the Node {node}"))?;
        match &self.world.services {
            Some(services) => services.tell(node, change).await,
            None => Ok(()),
        }
    }

    /// A NodePool of this provider's, to be applied: of any type and zone, rented in this way. Its Nodes have the
    /// label `karpenter.k8s.aws/ec2nodeclass`, whose value is the namespace.
    pub fn pool(&self, name: &str, weight: u32, capacity_type: CapacityType) -> Value {
        let rented = capacity_type.to_string();
        let requirement =
            json!({ "key": "karpenter.sh/capacity-type", "operator": "In", "values": [rented] });
        json!({
            "apiVersion": "karpenter.sh/v1", "kind": "NodePool", "metadata": { "name": name },
            "spec": { "weight": weight, "template": { "spec": {
                "nodeClassRef": {
                    "group": "karpenter.k8s.aws", "kind": "EC2NodeClass", "name": self.namespace,
                },
                "requirements": [requirement],
            } } },
        })
    }
}

impl Drop for Provider {
    fn drop(&mut self) {
        self.stop.cancel();
        let _ = self.stopped.recv_timeout(LEAVE);
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}
