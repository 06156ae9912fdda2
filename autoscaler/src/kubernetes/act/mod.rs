//! Doing what was decided. Every write is made from the object as it is now and is refused by the API server if somebody
//! was faster; then it is made anew. Who finds his wish fulfilled writes nothing.

mod call;
mod cordon;
mod notice;
mod pod;
mod pool;

use std::sync::Arc;

use kube::{
    Api, ResourceExt as _,
    api::{DeleteParams, Preconditions},
};
use spotscale_decide::{planner::Action, units::NodeName};

use self::call::Written;
pub(super) use self::call::failed;
pub use self::notice::OwnNode;
use super::{
    KubeCluster,
    kinds::{NodeClaim, Object},
};
use crate::cluster::{Applied, ClusterError, News};

/// Does one action.
pub(super) async fn apply(cluster: &KubeCluster, action: &Action) -> Result<Applied, ClusterError> {
    match action {
        Action::Cordon { node, cause } => cordon::cordon(&cluster.client, node, *cause).await,
        Action::Protect { node } => cordon::protect(&cluster.client, node).await,
        Action::Uncordon { node } => cordon::uncordon(&cluster.client, node).await,
        Action::Surge { pod } => pod::surge(cluster, pod).await,
        Action::Evict { pod, by, force } => pod::evict(cluster, pod, *by, *force).await,
        Action::Launch { node, .. } => Err(ClusterError::Refused(format!(
            "{node}: machines are bought by Karpenter, for pods that wait"
        ))),
        Action::Terminate { node } => terminate(cluster, node).await,
        Action::Overlay { offering, price } => pool::overlay(cluster, offering, *price).await,
        Action::Weigh { pool, weight } => pool::weigh(cluster, pool, *weight).await,
        Action::Close { pool, closed } => pool::close(cluster, pool, *closed).await,
    }
}

/// Keeps news of a node with it.
pub(super) async fn notify(
    cluster: &KubeCluster,
    node: &NodeName,
    news: News,
) -> Result<Applied, ClusterError> {
    Ok(cluster.tell(node, news).await?.into())
}

/// Gives the machine back: Karpenter ends it when its NodeClaim is deleted.
async fn terminate(cluster: &KubeCluster, node: &NodeName) -> Result<Applied, ClusterError> {
    let Some(claim) = claim_of(cluster, node) else {
        let refusal = format!("{node} has no NodeClaim: it is not Karpenter's to give back");
        let is_there = cluster.is_joined(node);
        return if is_there { Err(ClusterError::Refused(refusal)) } else { Ok(Applied::AlreadySo) };
    };
    if claim.metadata.deletion_timestamp.is_some() {
        return Ok(Applied::AlreadySo);
    }
    let claims: Api<Object<NodeClaim>> = Api::all(cluster.client.clone());
    let this_one = Preconditions { uid: claim.uid(), resource_version: None };
    let params = DeleteParams { preconditions: Some(this_one), ..DeleteParams::default() };
    match claims.delete(&claim.name_any(), &params).await {
        Ok(_) => Ok(Applied::Done),
        // Gone, or gone and made anew under that name.
        Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => Ok(Applied::AlreadySo),
        Err(error) => Err(failed(&error)),
    }
}

/// By the name of the node that it became, or else by its own.
fn claim_of(cluster: &KubeCluster, node: &NodeName) -> Option<Arc<Object<NodeClaim>>> {
    let claims = cluster.stores.claims.all();
    let name = node.as_str();
    let became = claims.iter().find(|claim| claim.status.node_name.as_deref() == Some(name));
    became.or_else(|| claims.iter().find(|claim| claim.name_any() == name)).cloned()
}

impl From<Written> for Applied {
    fn from(written: Written) -> Self {
        match written {
            Written::Now => Self::Done,
            Written::Before => Self::AlreadySo,
        }
    }
}
