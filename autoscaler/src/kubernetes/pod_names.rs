//! What a pod and what belongs to it are called. Worked out once, when a watch tells of it: at every look at 50,000 pods it
//! would be the most part of the work.

use std::sync::LazyLock;

use k8s_openapi::{
    Resource as _, api::apps::v1::ReplicaSet, apimachinery::pkg::apis::meta::v1::ObjectMeta,
};
use spotscale_decide::units::{NodeName, PodName, WorkloadName};

use super::{names, shared::Shared};

/// What a template hash ends in when its pod was released.
pub(super) const SURGED_SUFFIX: &str = "-surged";

static NODES: LazyLock<Shared<NodeName>> = LazyLock::new(Shared::default);
static DEPLOYMENTS: LazyLock<Shared<WorkloadName>> = LazyLock::new(Shared::default);

#[derive(Debug, Clone, Default)]
pub(super) struct PodNames {
    pub(super) pod: Option<PodName>,
    /// Where it was placed, if it was.
    pub(super) node: Option<NodeName>,
    /// Its Deployment, whether or not there is one of that name.
    pub(super) deployment: Option<WorkloadName>,
}

impl PodNames {
    /// By the hash of its template, and the node that its spec names.
    pub(super) fn of(meta: &ObjectMeta, hash: Option<&str>, node: Option<&str>) -> Self {
        let namespace = meta.namespace.as_deref();
        let named = |name: &str| Some(format!("{}/{name}", namespace?));
        Self {
            pod: meta.name.as_deref().and_then(named).and_then(|name| name.try_into().ok()),
            node: node.and_then(|node| node.parse().ok()).map(|node| NODES.one_of(node)),
            deployment: deployment_of(meta, hash)
                .and_then(named)
                .and_then(|name| name.try_into().ok())
                .map(|name| DEPLOYMENTS.one_of(name)),
        }
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
fn deployment_of<'a>(meta: &'a ObjectMeta, hash: Option<&str>) -> Option<&'a str> {
    let hash = hash?;
    let hash = hash.strip_suffix(SURGED_SUFFIX).unwrap_or(hash);
    replica_set_of(meta)?.strip_suffix(hash)?.strip_suffix('-')
}

/// Its kind and its name.
pub(super) fn controller(meta: &ObjectMeta) -> Option<(&str, &str)> {
    let mut owners = meta.owner_references.iter().flatten();
    let owner = owners.find(|owner| owner.controller == Some(true))?;
    Some((&owner.kind, &owner.name))
}
