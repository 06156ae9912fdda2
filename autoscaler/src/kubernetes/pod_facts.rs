//! What a look at the cluster reads of a pod. Worked out once, when a watch tells of it: at every look at 50,000 pods it
//! would be the most part of the work. What it was worked out of is not kept.

use std::sync::LazyLock;

use jiff::Timestamp;
use k8s_openapi::{
    Resource as _, api::apps::v1::ReplicaSet, apimachinery::pkg::apis::meta::v1::ObjectMeta,
};
use kube::ResourceExt as _;
use spotscale_decide::{
    cluster::{self, PodPhase},
    units::{Millis, NodeName, WorkloadName},
};

use super::{
    kinds::{self, Object, Pod, Toleration},
    names,
    shared::Shared,
};

/// What a template hash ends in when its pod was released.
pub(super) const SURGED_SUFFIX: &str = "-surged";
/// What Kubernetes takes where a pod does not say.
pub(super) const GRACE_DEFAULT: u64 = 30;
/// The least priority of Kubernetes' own critical classes; a user's own are below it.
const CRITICAL_FROM: i32 = 2_000_000_000;

static NODES: LazyLock<Shared<NodeName>> = LazyLock::new(Shared::default);
static DEPLOYMENTS: LazyLock<Shared<WorkloadName>> = LazyLock::new(Shared::default);

/// A pod that can matter.
#[derive(Debug, Clone)]
pub(super) struct PodFacts {
    /// Its workload is its Deployment, whether or not there is one of that name.
    pub(super) pod: cluster::Pod,
    /// Where it was told to end: when its grace is over.
    pub(super) ends_at: Option<Timestamp>,
    /// There is somebody who would end it.
    pub(super) is_kept: bool,
    /// It stays on a node that we cordoned, and not just for a while.
    pub(super) clings: bool,
}

impl PodFacts {
    /// None of one that is over, or that stays with its node.
    pub(super) fn of(pod: &Object<Pod>) -> Option<Self> {
        let is_over = matches!(pod.status.phase.as_str(), "Succeeded" | "Failed");
        if is_over || stays_with_its_node(pod) {
            return None;
        }
        let namespace = pod.metadata.namespace.as_deref();
        let named = |name: &str| Some(format!("{}/{name}", namespace?));
        let node = pod.spec.node_name.as_deref().and_then(|node| node.parse().ok());
        let grace = pod.spec.termination_grace_period_seconds.unwrap_or(GRACE_DEFAULT);
        let seen = cluster::Pod {
            name: named(pod.metadata.name.as_deref()?)?.try_into().ok()?,
            workload: deployment_of(&pod.metadata)
                .and_then(named)
                .and_then(|name| name.try_into().ok())
                .map(|name| DEPLOYMENTS.one_of(name)),
            phase: phase(pod, node.is_some()),
            node: node.map(|node| NODES.one_of(node)),
            surged: pod.annotations().contains_key(names::SURGED),
            grace_ms: Millis::from_secs(grace),
            critical: pod.spec.priority >= CRITICAL_FROM,
        };
        Some(Self {
            pod: seen,
            // The deletion's time is that of the end of the grace.
            ends_at: pod.metadata.deletion_timestamp.as_ref().map(|time| time.0),
            is_kept: controller(&pod.metadata).is_some(),
            clings: pod.spec.tolerations.iter().any(Toleration::covers_ours),
        })
    }
}

/// A DaemonSet's pod would come back at once; a file's cannot be evicted.
fn stays_with_its_node(pod: &Object<Pod>) -> bool {
    let kind = controller(&pod.metadata).map(|(kind, _)| kind);
    matches!(kind, Some("DaemonSet" | "Node")) || pod.annotations().contains_key(names::MIRROR)
}

fn phase(pod: &Object<Pod>, is_placed: bool) -> PodPhase {
    if pod.metadata.deletion_timestamp.is_some() {
        PodPhase::Terminating
    } else if !is_placed {
        PodPhase::Pending
    } else if kinds::holds(&pod.status.conditions, "Ready") {
        PodPhase::Ready
    } else {
        PodPhase::Starting
    }
}

/// The ReplicaSet that keeps a pod, or kept it before it was released.
fn replica_set_of(meta: &ObjectMeta) -> Option<&str> {
    let released = || meta.annotations.as_ref()?.get(names::SURGED).map(String::as_str);
    let kept = || {
        let (kind, name) = controller(meta)?;
        (kind == ReplicaSet::KIND).then_some(name)
    };
    released().or_else(kept)
}

/// The Deployment of a pod: its ReplicaSet's name less the template's hash.
fn deployment_of(meta: &ObjectMeta) -> Option<&str> {
    let hash = meta.labels.as_ref()?.get(names::TEMPLATE_HASH)?;
    let hash = hash.strip_suffix(SURGED_SUFFIX).unwrap_or(hash);
    replica_set_of(meta)?.strip_suffix(hash)?.strip_suffix('-')
}

/// Its kind and its name.
fn controller(meta: &ObjectMeta) -> Option<(&str, &str)> {
    let mut owners = meta.owner_references.iter().flatten();
    let owner = owners.find(|owner| owner.controller == Some(true))?;
    Some((&owner.kind, &owner.name))
}
