//! A Kubernetes cluster whose nodes Karpenter buys, behind the interface [`Cluster`].
//!
//! What is seen comes from watches, and is refused when it is too old; what is done goes through what the field trusts:
//! the eviction API, NodeClaims, NodePools, NodeOverlays. Everything that must outlive this process is kept on the
//! objects that it is about:
//!
//! | on | | says |
//! |---|---|---|
//! | Node | annotation `spotscale.dev/notices` | what the provider said of it, whoever heard it |
//! | Node | taint `spotscale.dev/interruption=notice\|surplus` | we cordoned it, and why |
//! | Node | label `node.kubernetes.io/exclude-from-external-load-balancers=spotscale-autoscaler` | it goes with our cordon |
//! | Node | annotation `spotscale.dev/cordoned-before` | somebody had cordoned it before us, and his cordon stays |
//! | Node | annotation `spotscale.dev/protected` | we keep Karpenter from giving it back |
//! | Pod | annotation `spotscale.dev/surged` | it was released from this ReplicaSet and has a replacement |
//! | NodePool | annotation `spotscale.dev/limits` | its own limits, while it is closed |
//!
//! [`RIGHTS`] lists what it may do.

mod act;
mod config;
mod election;
mod events;
mod kinds;
mod mapping;
mod metadata;
mod metrics;
mod names;
mod notices;
mod past;
mod pod_facts;
mod rights;
mod shared;
mod vault;
mod view;
mod watch;

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use jiff::Timestamp;
use kube::Client;
use prometheus_client::registry::Registry;
use spotscale_decide::{
    cluster::{Observation, Pool},
    planner::Action,
    units::NodeName,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

pub use self::{
    act::OwnNode,
    config::{Kubernetes, Labels},
    election::{Election, ElectionConfig},
    events::Events,
    names::{CORDONED_BEFORE, LIMITS, MANAGER, NOTICES, PROTECTED, SURGED},
    rights::{RIGHTS, Right},
    vault::ConfigMapVault,
};
use self::{
    kinds::{Deployment, Node, NodeClaim, NodeOverlay, NodePool, Pod},
    metrics::Metrics,
    past::Past,
    view::{Problem, View},
    watch::{WATCH_SECONDS, Watched, Watches},
};
use crate::cluster::{Applied, Cluster, ClusterError, News};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// For a connection that has died in silence: longer than any watch is quiet.
const READ_TIMEOUT: Duration = Duration::from_secs(WATCH_SECONDS as u64 + 15);

/// A Kubernetes cluster.
pub struct KubeCluster {
    client: Client,
    settings: Kubernetes,
    stores: Stores,
    metrics: Metrics,
    past: Mutex<Past>,
    /// What was complained of already.
    told: Mutex<BTreeSet<Problem>>,
}

struct Stores {
    nodes: Watched<Node>,
    claims: Watched<NodeClaim>,
    pods: Watched<Pod>,
    deployments: Watched<Deployment>,
    pools: Watched<NodePool>,
    overlays: Watched<NodeOverlay>,
}

/// Where the API server is: the service account of this pod, or KUBECONFIG. Does not call it.
pub async fn connect() -> Result<Client, ClusterError> {
    let unavailable = |error: String| ClusterError::Unavailable(error);
    let config = kube::Config::infer().await.map_err(|error| unavailable(error.to_string()))?;
    client(config).map_err(|error| unavailable(error.to_string()))
}

/// A client that waits for nothing too long, and repeats nothing by itself: an eviction that a disruption budget refuses
/// looks like an overload to a client that means well.
pub fn client(mut config: kube::Config) -> Result<Client, kube::Error> {
    config.connect_timeout = Some(CONNECT_TIMEOUT);
    config.read_timeout = Some(READ_TIMEOUT);
    config.default_retry = false;
    Client::try_from(config)
}

impl KubeCluster {
    /// Begins to watch, until `end`.
    pub fn start(
        client: Client,
        settings: Kubernetes,
        tasks: &TaskTracker,
        end: &CancellationToken,
    ) -> Arc<Self> {
        let metrics = Metrics::default();
        let watches = Watches { client: &client, metrics: &metrics, tasks, end };
        let stores = Stores {
            nodes: watches.start(Some(settings.node_selector.selector())),
            claims: watches.start(None),
            pods: watches.start(None),
            deployments: watches.start(Some(settings.workload_selector.selector())),
            pools: watches.start(None),
            overlays: watches.start(None),
        };
        let (past, told) = (Mutex::default(), Mutex::default());
        Arc::new(Self { client, settings, stores, metrics, past, told })
    }

    /// Adds what is counted here.
    pub fn register(&self, registry: &mut Registry) {
        self.metrics.register(registry);
    }

    /// Why nothing is decided from what is stored, if so.
    fn objection(&self) -> Option<String> {
        let max = self.settings.view_stale_max;
        let Stores { nodes, claims, pods, deployments, pools, overlays } = &self.stores;
        [
            nodes.objection(max),
            claims.objection(max),
            pods.objection(max),
            deployments.objection(max),
            pools.objection(max),
            overlays.objection(max),
        ]
        .into_iter()
        .flatten()
        .next()
    }

    fn view(&self) -> View<'_> {
        let Stores { nodes, claims, pods, deployments, pools, overlays } = &self.stores;
        View {
            nodes: nodes.all(),
            claims: claims.all(),
            pods: pods.all(),
            deployments: deployments.all(),
            pools: pools.all(),
            overlays: overlays.is_known().then(|| overlays.all()),
            ours: self.settings.node_selector.selector(),
        }
    }

    /// The pools whose nodes are ours, by name.
    fn pools(&self) -> Vec<Pool> {
        self.view().pools()
    }

    fn past(&self) -> MutexGuard<'_, Past> {
        self.past.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Each problem is complained of once, and again when it comes back.
    fn complain(&self, problems: BTreeSet<Problem>) {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        for problem in problems.difference(&told) {
            tracing::warn!("{problem}");
            if matches!(problem, Problem::Notices { .. }) {
                self.metrics.malformed_notices();
            }
        }
        *told = problems;
    }
}

#[async_trait]
impl Cluster for KubeCluster {
    async fn observe(&self) -> Result<Observation, ClusterError> {
        if let Some(objection) = self.objection() {
            return Err(ClusterError::Unavailable(objection));
        }
        let mut seen = self.view().observe(Timestamp::now());
        self.past().complete(&mut seen.observation);
        self.complain(seen.problems);
        Ok(seen.observation)
    }

    async fn apply(&self, action: &Action) -> Result<Applied, ClusterError> {
        let applied = act::apply(self, action).await?;
        if let Action::Terminate { node } = action {
            self.past().give_back(node, Timestamp::now());
        }
        Ok(applied)
    }

    async fn notify(&self, node: &NodeName, news: News) -> Result<Applied, ClusterError> {
        act::notify(self, node, news).await
    }
}
