//! What the daemon can do to a cluster, as data: a plan is a list of these, each with why and with what it takes for
//! granted.

use std::fmt;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::Reason;
use crate::{
    cluster::{CordonCause, Notice, Observation, Offering, PodPhase},
    fleet::Split,
    offers::{Ranking, Rate},
    units::{NodeName, PodName, PoolName, UsdPerHour, WorkloadName},
};

/// One change to the cluster. Applying it twice is the same as applying it once.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "do")]
pub enum Action {
    /// Place nothing new on the node, and send nothing new to its pods.
    Cordon {
        /// The node.
        node: NodeName,
        /// Why; it is kept with the node.
        cause: CordonCause,
    },
    /// The node is good again: pods may be placed on it.
    Uncordon {
        /// The node.
        node: NodeName,
    },
    /// Keep the provisioner from giving the node back by itself.
    Protect {
        /// The node.
        node: NodeName,
    },
    /// Ask for a replacement of the pod, which goes on: its controller stops counting it and starts another.
    Surge {
        /// The pod to be replaced.
        pod: PodName,
    },
    /// Tell the pod to end.
    Evict {
        /// The pod.
        pod: PodName,
        /// Whatever the pod still does then is lost. None where nothing forces it.
        by: Option<Timestamp>,
        /// The deadline leaves no time to wait for a disruption budget that forbids it: then it is told to end all the
        /// same.
        force: bool,
    },
    /// Buy a machine.
    Launch {
        /// The name to give it. Asking for the same name twice buys one machine.
        node: NodeName,
        /// What to buy.
        offering: Offering,
    },
    /// Give the machine back.
    Terminate {
        /// The node.
        node: NodeName,
    },
    /// Let the provisioner reckon with this price for an offering, or with the true one again.
    Overlay {
        /// The offering.
        offering: Offering,
        /// The price; none for the true one.
        price: Option<UsdPerHour>,
    },
    /// Let the provisioner try the pool sooner or later than others.
    Weigh {
        /// The pool.
        pool: PoolName,
        /// From 1 to 100; the highest is tried first.
        weight: u32,
    },
    /// Let the provisioner buy nothing more for the pool, or as much as its own limits allow again.
    Close {
        /// The pool.
        pool: PoolName,
        /// Nothing more?
        closed: bool,
    },
}

/// Something an action takes for granted. The executor looks again just before it acts, and drops the action when this
/// no longer holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "that")]
pub enum Assumption {
    /// The node is there.
    NodeAlive {
        /// The node.
        node: NodeName,
    },
    /// There is no such node yet.
    NodeAbsent {
        /// The node.
        node: NodeName,
    },
    /// No pod is placed on the node.
    NodeEmpty {
        /// The node.
        node: NodeName,
    },
    /// The pod is there and has not been told to end.
    PodAlive {
        /// The pod.
        pod: PodName,
    },
    /// At least so many pods of the workload serve.
    Serving {
        /// The workload.
        workload: WorkloadName,
        /// Ready pods.
        pods_min: u32,
    },
}

/// One step of a plan.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step {
    /// What to do.
    pub action: Action,
    /// What must still be so.
    pub assumes: Vec<Assumption>,
    /// Why.
    pub reasons: Vec<Reason>,
}

/// What to do now, in this order, and when to think again at the latest.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    /// The steps, in order.
    pub steps: Vec<Step>,
    /// The notices that are acted on for the first time.
    pub noticed: Vec<Notice>,
    /// The spot and on-demand capacity that is aimed at.
    pub split: Split,
    /// What machines are taken to answer, and how that is known.
    pub rates: Vec<Rate>,
    /// What could be bought, and what could not.
    pub ranking: Ranking,
    /// Why something that could have been done was not.
    pub refused: Vec<Reason>,
    /// The next moment at which time alone changes the plan.
    pub wait_until: Option<Timestamp>,
    /// When a deadline forces the next pod out, if it has not gone by then. Nothing else may take so long that this is late.
    #[serde(default)]
    pub forced_at: Option<Timestamp>,
}

// === impl Action ===

impl Action {
    /// The name for a metric label.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Cordon { .. } => "cordon",
            Self::Uncordon { .. } => "uncordon",
            Self::Protect { .. } => "protect",
            Self::Surge { .. } => "surge",
            Self::Evict { .. } => "evict",
            Self::Launch { .. } => "launch",
            Self::Terminate { .. } => "terminate",
            Self::Overlay { .. } => "overlay",
            Self::Weigh { .. } => "weigh",
            Self::Close { .. } => "close",
        }
    }

    /// Where it fails, is there no time to wait before it is asked for again? A pod may be placed on a node that is not
    /// cordoned, and a pod that is forced out has no time but its grace.
    pub const fn is_urgent(&self) -> bool {
        matches!(
            self,
            Self::Cordon { cause: CordonCause::Notice, .. } | Self::Evict { force: true, .. }
        )
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cordon { node, .. } => write!(f, "cordon {node}"),
            Self::Uncordon { node } => write!(f, "uncordon {node}"),
            Self::Protect { node } => write!(f, "let the provisioner leave {node} alone"),
            Self::Surge { pod } => write!(f, "ask for a replacement of {pod}"),
            Self::Evict { pod, by: None, .. } => write!(f, "evict {pod}"),
            Self::Evict { pod, by: Some(by), .. } => write!(f, "evict {pod} by {by}"),
            Self::Launch { node, offering } => write!(f, "launch {node}: {offering}"),
            Self::Terminate { node } => write!(f, "terminate {node}"),
            Self::Overlay { offering, price: Some(price) } => {
                write!(f, "let {offering} seem to cost ${:.4} an hour", price.as_usd())
            }
            Self::Overlay { offering, price: None } => {
                write!(f, "let {offering} seem to cost what it does")
            }
            Self::Weigh { pool, weight } => write!(f, "give pool {pool} weight {weight}"),
            Self::Close { pool, closed: true } => write!(f, "let pool {pool} buy nothing more"),
            Self::Close { pool, closed: false } => write!(f, "let pool {pool} buy again"),
        }
    }
}

// === impl Assumption ===

impl Assumption {
    /// Is it so?
    pub fn holds(&self, seen: &Observation) -> bool {
        match self {
            Self::NodeAlive { node } => seen.node(node).is_some(),
            Self::NodeAbsent { node } => seen.node(node).is_none(),
            Self::NodeEmpty { node } => seen.pods_on(node).next().is_none(),
            Self::PodAlive { pod } => seen
                .pods
                .iter()
                .any(|seen| &seen.name == pod && seen.phase != PodPhase::Terminating),
            Self::Serving { workload, pods_min } => seen.ready(workload) >= *pods_min,
        }
    }
}
