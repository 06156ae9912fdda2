//! Endpoints from a Kubernetes cluster: the ready pods of the Services that stand for this front's services.
//!
//! `EndpointSlices` are watched, one watch per namespace, and Nodes; `listing` makes endpoints of them. The rights it
//! takes are `list` and `watch`: on `endpointslices.discovery.k8s.io` in each namespace that has a Service of ours, and
//! on `nodes`. While the API server cannot be reached the last list stays in use; what dies meanwhile is ejected by the
//! first request that fails on it, as everywhere.

mod config;
mod listing;
mod metrics;
mod notice;
mod publish;
mod watch;

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use k8s_openapi::api::{
    core::v1::{Node, NodeSpec},
    discovery::v1::EndpointSlice,
};
use kube::{Api, Client, ResourceExt as _, core::Expression, runtime::watcher};
use prometheus_client::registry::Registry;
use tokio::sync::watch as channel;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

pub use self::config::{Backend, Kubernetes, Port};
use self::{
    config::{Target, targets},
    listing::SERVICE_NAME_LABEL,
    metrics::Metrics,
    notice::Notices,
    publish::{Publisher, Stores},
    watch::{WATCH_SECONDS, Watches},
};
use super::{
    config::{Config, ConfigError},
    source::Feed,
};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// For a connection that has died in silence: longer than any watch is quiet.
const READ_TIMEOUT: Duration = Duration::from_secs(WATCH_SECONDS as u64 + 15);

/// A cluster that cannot be watched from here.
#[derive(Debug, thiserror::Error)]
pub enum ClusterError {
    /// Neither a service account nor a kubeconfig says where the API server is.
    #[error("--kubernetes: {0}")]
    Unknown(#[from] kube::config::InferConfigError),
    /// The client cannot be made of what they say.
    #[error("--kubernetes: {0}")]
    Client(#[from] kube::Error),
    /// The flags name no Service to follow.
    #[error(transparent)]
    Config(#[from] ConfigError),
}

/// A cluster, and what is wanted of it.
pub(super) struct Cluster {
    client: Client,
    targets: Vec<Target>,
    with_nodes: bool,
    notices: Notices,
}

impl Cluster {
    /// Finds the API server; does not call it.
    pub(super) async fn find(config: &Config) -> Result<Self, ClusterError> {
        let mut found = kube::Config::infer().await?;
        found.connect_timeout = Some(CONNECT_TIMEOUT);
        found.read_timeout = Some(READ_TIMEOUT);
        // Every call is repeated here; repeats beneath would only hide how stale the list is.
        found.default_retry = false;
        let client = Client::try_from(found)?;
        Ok(Self {
            targets: targets(config, client.default_namespace())?,
            with_nodes: config.kubernetes.kubernetes_nodes,
            notices: Notices { further: config.kubernetes.kubernetes_notice_taints.clone() },
            client,
        })
    }

    /// Watches it until `end`.
    pub(super) fn watch(
        self,
        registry: &mut Registry,
        tasks: &TaskTracker,
        end: &CancellationToken,
    ) -> Feed {
        let metrics = Metrics::register(registry);
        let (news, changes) = channel::channel(());
        let mut watches = Watches { metrics: &metrics, tasks, end, news, started: Vec::new() };
        let slices = by_namespace(&self.targets).into_iter().map(|(namespace, names)| {
            let api: Api<EndpointSlice> = Api::namespaced(self.client.clone(), namespace);
            let selector = Expression::In(SERVICE_NAME_LABEL.to_owned(), names).into();
            let wanted = watcher::Config::default().labels_from(&selector);
            watches.start(api, wanted, ("endpointslices", namespace), prune_slice)
        });
        let slices = slices.collect();
        let of_slices = watches.contacts();
        let nodes = self.with_nodes.then(|| {
            let api: Api<Node> = Api::all(self.client.clone());
            watches.start(api, watcher::Config::default(), ("nodes", ""), prune_node)
        });
        let (publisher, feed, left_out) =
            Publisher::new(self.targets, self.notices, Stores { slices, nodes }, of_slices);
        metrics::register_gauges(registry, watches.started, left_out);
        tasks.spawn(end.clone().run_until_cancelled_owned(publisher.run(changes)));
        feed
    }
}

fn by_namespace(targets: &[Target]) -> BTreeMap<&str, BTreeSet<String>> {
    let mut names: BTreeMap<&str, BTreeSet<String>> = BTreeMap::new();
    for target in targets {
        names.entry(&target.namespace).or_default().insert(target.name.clone());
    }
    names
}

fn prune_slice(slice: &mut EndpointSlice) {
    slice.managed_fields_mut().clear();
    slice.annotations_mut().clear();
}

/// Of a Node only its name and its taints are of interest, and its status is large and changes all the time.
fn prune_node(node: &mut Node) {
    let taints = node.spec.take().and_then(|spec| spec.taints);
    node.spec = Some(NodeSpec { taints, ..NodeSpec::default() });
    node.status = None;
    node.managed_fields_mut().clear();
    node.annotations_mut().clear();
    node.labels_mut().clear();
}
