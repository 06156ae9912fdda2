//! The objects that are watched, as far as they are read: what is not named here is not even parsed, so that a cluster
//! of 50,000 pods fits into memory.

use std::{borrow::Cow, collections::BTreeMap, fmt::Debug};

use k8s_openapi::{
    ClusterResourceScope,
    apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time},
};
use kube::Resource;
use serde::{Deserialize, de::DeserializeOwned};
use spotscale_decide::disruption::INTERRUPTION_TAINT;

use super::{metadata::Metadata, names, pod_facts::PodFacts};

/// A part of an object.
pub(super) trait Part:
    Clone + Debug + Default + DeserializeOwned + Send + Sync + 'static
{
}

impl<T: Clone + Debug + Default + DeserializeOwned + Send + Sync + 'static> Part for T {}

/// A kind of object.
pub(super) trait Kind: Clone + Debug + Send + Sync + 'static {
    const GROUP: &'static str;
    const VERSION: &'static str;
    const NAME: &'static str;
    const PLURAL: &'static str;
    type Spec: Part;
    type Status: Part;

    /// Drops what nobody reads, beyond what is dropped of every object.
    fn prune(_object: &mut Object<Self>) {}
}

/// An object of a kind.
#[derive(Debug, Clone, Deserialize)]
#[serde(bound = "")]
pub(super) struct Object<K: Kind> {
    #[serde(with = "Metadata")]
    pub(super) metadata: ObjectMeta,
    #[serde(default)]
    pub(super) spec: K::Spec,
    #[serde(default)]
    pub(super) status: K::Status,
}

macro_rules! kind {
    ($name:ident: $group:literal / $version:literal, $plural:literal, $spec:ty, $status:ty) => {
        kind!($name: $group / $version, $plural, $spec, $status, |_| {});
    };
    ($name:ident: $group:literal / $version:literal, $plural:literal, $spec:ty, $status:ty, $prune:expr) => {
        #[derive(Debug, Clone)]
        pub(super) enum $name {}

        impl Kind for $name {
            const GROUP: &'static str = $group;
            const VERSION: &'static str = $version;
            const NAME: &'static str = stringify!($name);
            const PLURAL: &'static str = $plural;
            type Spec = $spec;
            type Status = $status;

            fn prune(object: &mut Object<Self>) {
                let prune: fn(&mut Object<Self>) = $prune;
                prune(object);
            }
        }
    };
}

kind!(Node: "" / "v1", "nodes", NodeSpec, NodeStatus, |node| {
    keep_labels_of_node(&mut node.metadata);
    keep(&mut node.status.conditions, |condition| condition.r#type == "Ready");
});
kind!(Pod: "" / "v1", "pods", PodSpec, PodStatus, |pod| {
    let facts = PodFacts::of(pod);
    // What the store finds it by.
    let ObjectMeta { name, namespace, uid, resource_version, .. } = std::mem::take(&mut pod.metadata);
    pod.metadata = ObjectMeta { name, namespace, uid, resource_version, ..ObjectMeta::default() };
    pod.spec = PodSpec { facts, ..PodSpec::default() };
    pod.status = PodStatus::default();
});
kind!(Deployment: "apps" / "v1", "deployments", DeploymentSpec, Nothing);
kind!(NodeClaim: "karpenter.sh" / "v1", "nodeclaims", Nothing, ClaimStatus, |claim| {
    keep_labels_of_node(&mut claim.metadata);
    keep(&mut claim.status.conditions, |condition| condition.r#type == "Launched");
});
kind!(NodePool: "karpenter.sh" / "v1", "nodepools", PoolSpec, Nothing);
kind!(NodeOverlay: "karpenter.sh" / "v1alpha1", "nodeoverlays", OverlaySpec, OverlayStatus);

/// Nothing of a part is read.
#[derive(Debug, Clone, Default, Deserialize)]
pub(super) struct Nothing {}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct NodeSpec {
    #[serde(rename = "providerID")]
    pub(super) provider_id: Option<String>,
    pub(super) taints: Vec<Taint>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct NodeStatus {
    pub(super) conditions: Vec<Condition>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct Taint {
    pub(super) key: String,
    pub(super) value: Option<String>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Condition {
    pub(super) r#type: String,
    pub(super) status: String,
    pub(super) last_transition_time: Option<Time>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct PodSpec {
    pub(super) node_name: Option<String>,
    pub(super) termination_grace_period_seconds: Option<u64>,
    pub(super) priority: i32,
    pub(super) tolerations: Vec<Toleration>,
    /// What follows from all that was read, which is then dropped.
    #[serde(skip)]
    pub(super) facts: Option<PodFacts>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct Toleration {
    pub(super) key: Option<String>,
    pub(super) effect: Option<String>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct PodStatus {
    pub(super) phase: String,
    pub(super) conditions: Vec<Condition>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct DeploymentSpec {
    pub(super) replicas: Option<u32>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct ClaimStatus {
    pub(super) node_name: Option<String>,
    #[serde(rename = "providerID")]
    pub(super) provider_id: Option<String>,
    pub(super) conditions: Vec<Condition>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct PoolSpec {
    pub(super) weight: Option<u32>,
    pub(super) replicas: Option<u64>,
    /// Amounts, which are strings or whole numbers.
    pub(super) limits: Option<BTreeMap<String, serde_json::Value>>,
    pub(super) template: PoolTemplate,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct PoolTemplate {
    pub(super) metadata: PoolTemplateMeta,
    pub(super) spec: PoolTemplateSpec,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct PoolTemplateMeta {
    pub(super) labels: BTreeMap<String, String>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct PoolTemplateSpec {
    pub(super) requirements: Vec<Requirement>,
}

/// One rule about the value of a label.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct Requirement {
    pub(super) key: String,
    pub(super) operator: String,
    pub(super) values: Vec<String>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct OverlaySpec {
    pub(super) requirements: Vec<Requirement>,
    pub(super) price: Option<String>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct OverlayStatus {
    pub(super) conditions: Vec<Condition>,
}

/// What every object is pruned of, and then what its kind is. A list that is empty, or has room for more, takes room too.
pub(super) fn prune<K: Kind>(object: &mut Object<K>) {
    let is_read = |key: &str| {
        key.starts_with("spotscale.dev/") || [names::MIRROR, names::DO_NOT_DISRUPT].contains(&key)
    };
    keep_entries(&mut object.metadata.annotations, is_read);
    K::prune(object);
}

fn keep_labels_of_node(meta: &mut ObjectMeta) {
    let read =
        [names::POOL, names::CAPACITY_TYPE, names::INITIALIZED, names::INSTANCE_TYPE, names::ZONE];
    keep_entries(&mut meta.labels, |key| read.contains(&key));
}

fn keep_entries(map: &mut Option<BTreeMap<String, String>>, is_read: impl Fn(&str) -> bool) {
    let all = map.take().into_iter().flatten();
    let read: BTreeMap<_, _> = all.filter(|(key, _)| is_read(key)).collect();
    *map = (!read.is_empty()).then_some(read);
}

fn keep<T>(list: &mut Vec<T>, is_read: impl Fn(&T) -> bool) {
    list.retain(is_read);
    list.shrink_to_fit();
}

impl Toleration {
    /// Does it let a pod stay on a node that we cordoned, and not just for a while?
    pub(super) fn covers_ours(&self) -> bool {
        let key = self.key.as_deref();
        let effect = self.effect.as_deref();
        matches!(key, None | Some("" | INTERRUPTION_TAINT))
            && matches!(effect, None | Some("" | "NoSchedule"))
    }
}

/// Is the condition true?
pub(super) fn holds(conditions: &[Condition], of: &str) -> bool {
    conditions.iter().any(|condition| condition.r#type == of && condition.status == "True")
}

impl<K: Kind> Resource for Object<K> {
    type DynamicType = ();
    type Scope = ClusterResourceScope;

    fn kind((): &()) -> Cow<'_, str> {
        K::NAME.into()
    }

    fn group((): &()) -> Cow<'_, str> {
        K::GROUP.into()
    }

    fn version((): &()) -> Cow<'_, str> {
        K::VERSION.into()
    }

    fn plural((): &()) -> Cow<'_, str> {
        K::PLURAL.into()
    }

    fn meta(&self) -> &ObjectMeta {
        &self.metadata
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        &mut self.metadata
    }
}
