//! Leaving notices on the node that they are about.

use std::fmt::Debug;

use async_trait::async_trait;
use k8s_openapi::api::core::v1::Node;
use kube::{Api, Client, Resource, ResourceExt as _, runtime::reflector::ObjectRef};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use spotscale_decide::{cluster::NoticeKind, units::NodeName};

use super::call::{self, Written};
use crate::{
    cluster::{ClusterError, News},
    kubernetes::{
        KubeCluster,
        kinds::{NodeClaim, Object},
        names::NOTICES,
        notices::{merge, read, withdraw_maintenance, write},
    },
    notices::NodeNotices,
};

/// The node that this process runs on. `get` and `patch` on it are all the rights that it takes.
pub struct OwnNode {
    client: Client,
    name: NodeName,
}

impl OwnNode {
    /// The node of that name.
    pub const fn new(client: Client, name: NodeName) -> Self {
        Self { client, name }
    }
}

#[async_trait]
impl NodeNotices for OwnNode {
    async fn tell(&self, kinds: &[NoticeKind]) -> Result<(), ClusterError> {
        let nodes: Api<Node> = Api::all(self.client.clone());
        let news: Vec<_> = kinds.iter().copied().map(News::Stands).collect();
        annotate(&nodes, self.name.as_str(), &news).await.map(drop)
    }
}

impl KubeCluster {
    /// Leaves news of a node on it, or on its NodeClaim as long as it has not joined.
    pub(super) async fn tell(&self, node: &NodeName, news: News) -> Result<Written, ClusterError> {
        if self.is_joined(node) {
            let nodes: Api<Node> = Api::all(self.client.clone());
            annotate(&nodes, node.as_str(), &[news]).await
        } else {
            let claims: Api<Object<NodeClaim>> = Api::all(self.client.clone());
            annotate(&claims, node.as_str(), &[news]).await
        }
    }

    /// Is there a Node of that name?
    pub(super) fn is_joined(&self, node: &NodeName) -> bool {
        self.stores.nodes.store.get(&ObjectRef::new(node.as_str())).is_some()
    }
}

async fn annotate<K>(api: &Api<K>, name: &str, news: &[News]) -> Result<Written, ClusterError>
where
    K: Resource + Clone + DeserializeOwned + Debug,
{
    let change = |object: &K| {
        let annotation = object.annotations().get(NOTICES).map(String::as_str);
        Ok(annotation_after(annotation, news))
    };
    call::change(api, name, change).await
}

/// The patch that leaves the news; none where it is there already.
fn annotation_after(annotation: Option<&str>, news: &[News]) -> Option<Value> {
    let standing = read(annotation);
    let kinds = news.iter().fold(standing.kinds.clone(), |kinds, news| match news {
        News::Stands(kind) => merge(&kinds, &[*kind]),
        News::MaintenanceOver => withdraw_maintenance(&kinds),
    });
    let value = if kinds.is_empty() { Value::Null } else { write(&kinds).into() };
    let is_so = !standing.is_malformed && kinds == standing.kinds;
    (!is_so).then(|| json!({ "metadata": { "annotations": { NOTICES: value } } }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn news_that_is_none_is_not_written() {
        let rebalance = r#"[{"kind":"rebalance"}]"#;
        let told = News::Stands(NoticeKind::Rebalance);
        let after = |annotation: Option<&str>, news: News| {
            let patch = annotation_after(annotation, &[news])?;
            Some(patch["metadata"]["annotations"][NOTICES].clone())
        };
        assert_eq!(after(None, told), Some(rebalance.into()));
        assert_eq!(after(Some(rebalance), told), None);
        assert_eq!(after(Some("garbage"), told), Some(rebalance.into()));
        let deadline = "1970-01-01T00:02:00Z".parse().unwrap();
        let maintenance = write(&[NoticeKind::Maintenance { deadline }]);
        assert_eq!(after(Some(&maintenance), News::MaintenanceOver), Some(Value::Null));
        assert_eq!(after(None, News::MaintenanceOver), None);
    }
}
