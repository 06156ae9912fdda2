//! The nouns of a cluster, as an observation states them: nodes, pods and notices at one moment. What is not here no
//! decision reads.

mod index;

use std::{collections::BTreeSet, fmt, str::FromStr};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

pub use self::index::Index;
use crate::units::{
    InstanceId, InstanceType, Millis, NodeName, PodName, PoolName, Replicas, UnitError, UsdPerHour,
    WorkloadName, ZoneId,
};

/// How a machine is bought.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CapacityType {
    /// Cheap, and the provider may take it back.
    Spot,
    /// Dear, and ours until we give it back.
    OnDemand,
}

/// One thing that can be bought: a machine type in a zone, spot or on demand.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Offering {
    /// The machine type.
    pub instance_type: InstanceType,
    /// The zone.
    pub zone: ZoneId,
    /// Spot or on demand.
    pub capacity_type: CapacityType,
}

/// Everything the daemon knows of the cluster at one moment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Observation {
    /// When it was so. The only clock that decisions know.
    pub at: Timestamp,
    /// What keeps pods for us. A pod of none of these is in the way on a node that is emptied, and nothing else.
    pub workloads: Vec<Workload>,
    /// Every node of ours; one that ended stays for at least one more observation, with its end.
    pub nodes: Vec<Node>,
    /// Every pod of a workload that is not gone, and every other pod on our nodes that can be evicted.
    pub pods: Vec<Pod>,
    /// Every notice that stands, repeated in each observation for as long as it does.
    pub notices: Vec<Notice>,
    /// What buys machines for pods that wait, where something does; else machines are launched by us.
    pub provisioner: Option<Provisioner>,
}

/// Something that keeps a number of equal pods.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Workload {
    /// Its name.
    pub name: WorkloadName,
    /// Replicas that it is asked to keep. A pod that is `surged` does not count towards it.
    pub replicas_wanted: Replicas,
}

/// Karpenter as it can be steered: what it would buy, not when.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Provisioner {
    /// The prices that we told it to reckon with (`NodeOverlay`); none where it cannot be told.
    pub overlays: Option<Vec<Overlay>>,
    /// Its pools that hold nodes of ours.
    pub pools: Vec<Pool>,
}

/// A price that the provisioner reckons with in place of the true one.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Overlay {
    /// What seems to cost it.
    pub offering: Offering,
    /// The price.
    pub price: UsdPerHour,
}

/// A pool of the provisioner.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pool {
    /// Its name.
    pub name: PoolName,
    /// The capacity types that it may buy.
    pub capacity_types: BTreeSet<CapacityType>,
    /// The machine types that it may buy; any where it does not say.
    pub instance_types: Option<BTreeSet<InstanceType>>,
    /// The zones that it may buy in; any where it does not say.
    pub zones: Option<BTreeSet<ZoneId>>,
    /// The pool with the highest weight is tried first, 1 to 100; none where it cannot have one.
    pub weight: Option<u32>,
    /// Its limits were set by us so that it buys nothing.
    pub closed: bool,
}

/// A machine, from the request to launch it until its end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Node {
    /// Its name.
    pub name: NodeName,
    /// The machine under it as the provider's bills name it, where that is known.
    pub instance: Option<InstanceId>,
    /// What was bought.
    pub offering: Offering,
    /// How far it is.
    pub phase: NodePhase,
    /// We cordoned it, and why: nothing new is placed on it, and the front prefers other pods to its own. What a person
    /// has cordoned is not ours to empty.
    pub cordoned: Option<CordonCause>,
    /// The provisioner was told to leave it, with [`crate::planner::Action::Protect`].
    pub protected: bool,
    /// The pool that it was bought for.
    pub pool: Option<PoolName>,
    /// When the provider began to bill it.
    pub launched_at: Timestamp,
    /// Pods of the workload that fit on it.
    pub pods_max: u32,
}

/// Why we cordoned a node. It is kept with the node, and so outlives us.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CordonCause {
    /// A notice: when it is withdrawn, the node is good again.
    Notice,
    /// There is too much of its kind: it is emptied and given back, whatever happens.
    Surplus,
}

/// How far a node is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "is")]
pub enum NodePhase {
    /// Launched, and not yet able to run a pod.
    Provisioning,
    /// Able to run pods.
    Ready,
    /// It was able to run pods and is not heard of: it may come back.
    Unready {
        /// Since when.
        since: Timestamp,
    },
    /// The cluster was told to end it, by us or by somebody else: it is on its way out, and billed until it is gone.
    Leaving,
    /// Gone, and no longer billed.
    Ended {
        /// When billing ended.
        at: Timestamp,
        /// Who ended it: this decides about the first-hour refund.
        by: EndedBy,
    },
}

/// Who ended a node's life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum EndedBy {
    /// We (or the cluster, or a person) gave it back.
    Us,
    /// The provider took it.
    Provider,
    /// Nobody has said: it is not there any more. Whoever knows is asked, and until then nothing is refunded.
    Unknown,
}

/// A pod, mostly a replica of a workload.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pod {
    /// Its name.
    pub name: PodName,
    /// What keeps it, if that is one of our workloads.
    pub workload: Option<WorkloadName>,
    /// Where it was placed, if it was.
    pub node: Option<NodeName>,
    /// How far it is.
    pub phase: PodPhase,
    /// A replacement was asked for with [`crate::planner::Action::Surge`]: its controller no longer counts it.
    pub surged: bool,
    /// What it may take from SIGTERM to its end.
    pub grace_ms: Millis,
    /// Others on its node may need it to end well, and so it ends after them.
    pub critical: bool,
}

/// How far a pod is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PodPhase {
    /// Not placed.
    Pending,
    /// Placed, and not yet ready.
    Starting,
    /// Serving.
    Ready,
    /// Told to end.
    Terminating,
}

/// The provider's word about a node.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Notice {
    /// The node that it is about.
    pub node: NodeName,
    /// What will happen.
    #[serde(flatten)]
    pub kind: NoticeKind,
}

/// What a notice says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "kind")]
pub enum NoticeKind {
    /// The node will be taken.
    Interruption {
        /// When; on EC2 two minutes after the notice.
        deadline: Timestamp,
    },
    /// The node is more likely to be taken than others. There is no deadline, and it may never happen.
    Rebalance,
    /// The machine will be restarted or retired, and this may be called off.
    Maintenance {
        /// When.
        deadline: Timestamp,
    },
}

// === impl CapacityType ===

impl fmt::Display for CapacityType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Spot => "spot",
            Self::OnDemand => "on-demand",
        })
    }
}

impl FromStr for CapacityType {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        match text {
            "spot" => Ok(Self::Spot),
            "on-demand" => Ok(Self::OnDemand),
            other => Err(UnitError::new(other, "spot or on-demand")),
        }
    }
}

// === impl Offering ===

impl fmt::Display for Offering {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} in {}", self.capacity_type, self.instance_type, self.zone)
    }
}

// === impl Observation ===

impl Observation {
    /// The node of that name, unless it has ended.
    pub fn node(&self, name: &NodeName) -> Option<&Node> {
        self.nodes.iter().find(|node| &node.name == name && node.is_alive())
    }

    /// The workload of that name.
    pub fn workload(&self, name: &WorkloadName) -> Option<&Workload> {
        self.workloads.iter().find(|workload| &workload.name == name)
    }

    /// Replicas that all workloads together are asked to keep.
    pub fn replicas_wanted(&self) -> Replicas {
        Replicas(self.workloads.iter().map(|workload| workload.replicas_wanted.0).sum())
    }

    /// Pods of a workload that serve.
    pub fn ready(&self, workload: &WorkloadName) -> u32 {
        let serves =
            |pod: &&Pod| pod.phase == PodPhase::Ready && pod.workload.as_ref() == Some(workload);
        u32::try_from(self.pods.iter().filter(serves).count()).unwrap_or(u32::MAX)
    }

    /// The pods placed on a node, those that are ending included.
    pub fn pods_on<'a>(&'a self, node: &'a NodeName) -> impl Iterator<Item = &'a Pod> {
        self.pods.iter().filter(move |pod| pod.node.as_ref() == Some(node))
    }
}

// === impl Pool ===

impl Pool {
    /// May it buy this, by its own rules?
    pub fn admits(&self, offering: &Offering) -> bool {
        let Offering { instance_type, zone, capacity_type } = offering;
        self.capacity_types.contains(capacity_type)
            && self.instance_types.as_ref().is_none_or(|types| types.contains(instance_type))
            && self.zones.as_ref().is_none_or(|zones| zones.contains(zone))
    }
}

// === impl Node ===

impl Node {
    /// Launched and not ended.
    pub fn is_alive(&self) -> bool {
        !matches!(self.phase, NodePhase::Ended { .. })
    }

    /// Able to run pods.
    pub fn is_ready(&self) -> bool {
        self.phase == NodePhase::Ready
    }

    /// On its way out already, whoever sent it.
    pub fn is_leaving(&self) -> bool {
        self.phase == NodePhase::Leaving
    }
}

// === impl NoticeKind ===

impl NoticeKind {
    /// The name for a metric label.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Interruption { .. } => "interruption",
            Self::Rebalance => "rebalance",
            Self::Maintenance { .. } => "maintenance",
        }
    }
}
