//! The objects of the API server that a provider of machines reads and writes.

use std::collections::BTreeSet;

use k8s_openapi::api::core::v1::{Node, Pod};
use kube::{
    Api, Client, ResourceExt as _,
    api::{DeleteParams, DynamicObject, EvictParams, ListParams, Patch, PatchParams, PostParams},
    core::{ApiResource, GroupVersionKind},
};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::{
    choice::{Pool, PoolSpec},
    offers::Overlay,
};

/// Keeps new pods off a machine that ends.
const DISRUPTED: &str = "karpenter.sh/disrupted";

/// The API server, as a provider speaks to it.
#[derive(Clone)]
pub(super) struct Objects {
    client: Client,
    /// Its pods alone, and the NodePools of the node class of that name.
    namespace: String,
}

/// What there is at one moment.
#[derive(Debug)]
pub(super) struct Seen {
    pub(super) pools: Vec<Pool>,
    pub(super) overlays: Vec<Overlay>,
    pub(super) claims: Vec<DynamicObject>,
    pub(super) nodes: BTreeSet<String>,
    /// Those of them that are cordoned.
    pub(super) cordoned: BTreeSet<String>,
    pub(super) pods: Vec<Pod>,
}

impl Seen {
    pub(super) fn claim(&self, name: &str) -> Option<&DynamicObject> {
        self.claims.iter().find(|claim| claim.name_any() == name)
    }

    /// Whether a machine is to go: nobody claims it any more.
    pub(super) fn is_unwanted(&self, claim: &str) -> bool {
        self.claim(claim).is_none_or(|claim| claim.metadata.deletion_timestamp.is_some())
    }
}

impl Objects {
    pub(super) fn new(client: Client, namespace: &str) -> Self {
        Self { client, namespace: namespace.to_owned() }
    }

    pub(super) async fn read(&self) -> anyhow::Result<Seen> {
        let all = ListParams::default();
        let (pools, overlays) = (self.api("v1", "NodePool"), self.api("v1alpha1", "NodeOverlay"));
        let nodes = Api::<Node>::all(self.client.clone());
        let pods = Api::<Pod>::namespaced(self.client.clone(), &self.namespace);
        let claims = self.claims();
        let cordoned = ListParams::default().fields("spec.unschedulable=true");
        let (pools, overlays, claims, nodes, cordoned, pods) = tokio::try_join!(
            pools.list(&all),
            overlays.list(&all),
            claims.list(&all),
            nodes.list_metadata(&all),
            nodes.list_metadata(&cordoned),
            pods.list(&all),
        )?;
        let ours = |object: &DynamicObject| {
            let name = object.data.pointer("/spec/template/spec/nodeClassRef/name");
            name.and_then(Value::as_str) == Some(&*self.namespace)
                && object.metadata.deletion_timestamp.is_none()
        };
        Ok(Seen {
            pools: pools.iter().filter(|pool| ours(pool)).map(pool).collect::<Result<_, _>>()?,
            overlays: overlays.iter().map(spec::<Overlay>).collect::<Result<_, _>>()?,
            claims: claims.items,
            nodes: nodes.iter().map(kube::ResourceExt::name_any).collect(),
            cordoned: cordoned.iter().map(kube::ResourceExt::name_any).collect(),
            pods: pods.items,
        })
    }

    pub(super) async fn create_claim(&self, claim: &DynamicObject) -> anyhow::Result<()> {
        self.claims().create(&PostParams::default(), claim).await?;
        Ok(())
    }

    /// Has a NodeClaim tell its machine's state.
    pub(super) async fn tell(&self, claim: &str, status: Value) -> anyhow::Result<()> {
        let params = PatchParams::default();
        absent_is_fine(
            self.claims().patch_status(claim, &params, &Patch::Merge(status)).await.map(|_| ()),
        )
    }

    /// Keeps new pods off a Node.
    pub(super) async fn disrupt(&self, node: &str) -> anyhow::Result<()> {
        let nodes = Api::<Node>::all(self.client.clone());
        let mut taints = nodes.get(node).await?.spec.unwrap_or_default().taints.unwrap_or_default();
        if taints.iter().all(|taint| taint.key != DISRUPTED) {
            let taint = json!({ "key": DISRUPTED, "effect": "NoSchedule" });
            taints.push(serde_json::from_value(taint)?);
            let patch = json!({ "spec": { "taints": taints } });
            nodes.patch(node, &PatchParams::default(), &Patch::Merge(patch)).await?;
        }
        Ok(())
    }

    /// Asks for a pod's eviction. That its budget does not allow it now, or that it is gone, is no error.
    pub(super) async fn evict(&self, pod: &Pod) -> anyhow::Result<()> {
        let pods =
            Api::<Pod>::namespaced(self.client.clone(), &pod.namespace().unwrap_or_default());
        match pods.evict(&pod.name_any(), &EvictParams::default()).await {
            Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409 | 429) => Ok(()),
            other => Ok(other.map(|_| ())?),
        }
    }

    /// Asks for the end of a machine.
    pub(super) async fn delete_claim(&self, claim: &str) -> anyhow::Result<()> {
        absent_is_fine(self.claims().delete(claim, &DeleteParams::default()).await.map(|_| ()))
    }

    /// Deletes a machine's Node, and lets its NodeClaim go.
    pub(super) async fn remove(&self, node: &str, claim: &str) -> anyhow::Result<()> {
        let nodes = Api::<Node>::all(self.client.clone());
        absent_is_fine(nodes.delete(node, &DeleteParams::default()).await.map(|_| ()))?;
        self.delete_claim(claim).await?;
        let free = Patch::Merge(json!({ "metadata": { "finalizers": null } }));
        let freed = self.claims().patch(claim, &PatchParams::default(), &free).await;
        absent_is_fine(freed.map(|_| ()))
    }

    fn claims(&self) -> Api<DynamicObject> {
        self.api("v1", "NodeClaim")
    }

    fn api(&self, version: &str, kind: &str) -> Api<DynamicObject> {
        let kind = GroupVersionKind::gvk("karpenter.sh", version, kind);
        Api::all_with(self.client.clone(), &ApiResource::from_gvk(&kind))
    }
}

/// A pod that keeps its machine from being empty: no DaemonSet's, no static one, none that is over.
pub(super) fn is_work(pod: &Pod) -> bool {
    let owner = pod.metadata.owner_references.iter().flatten().find(|o| o.controller == Some(true));
    !owner.is_some_and(|owner| matches!(owner.kind.as_str(), "DaemonSet" | "Node")) && !is_over(pod)
}

/// Its containers have ended for good.
pub(super) fn is_over(pod: &Pod) -> bool {
    let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
    matches!(phase, Some("Succeeded" | "Failed"))
}

/// The Node that a pod is bound to.
pub(super) fn node_of(pod: &Pod) -> Option<&str> {
    pod.spec.as_ref()?.node_name.as_deref()
}

/// The scheduler has found no room for this pod.
pub(super) fn is_unschedulable(pod: &Pod) -> bool {
    let conditions = pod.status.iter().flat_map(|status| status.conditions.iter().flatten());
    pod.metadata.deletion_timestamp.is_none()
        && node_of(pod).is_none()
        && conditions.into_iter().any(|one| {
            one.type_ == "PodScheduled" && one.reason.as_deref() == Some("Unschedulable")
        })
}

fn pool(object: &DynamicObject) -> anyhow::Result<Pool> {
    let spec = spec::<PoolSpec>(object)?;
    Ok(Pool { name: object.name_any(), uid: object.uid().unwrap_or_default(), spec })
}

fn spec<T: DeserializeOwned>(object: &DynamicObject) -> anyhow::Result<T> {
    Ok(serde_json::from_value(object.data["spec"].clone())?)
}

fn absent_is_fine(result: kube::Result<()>) -> anyhow::Result<()> {
    match result {
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
        other => Ok(other?),
    }
}
