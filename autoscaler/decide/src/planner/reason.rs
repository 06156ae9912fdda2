//! Why a step is in a plan, or is not.

use std::fmt;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{
    cluster::{CapacityType, Offering},
    units::{MicroUsd, Millis, NodeName, PodName},
};

/// Why a step is in a plan, or why one is missing.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "because")]
pub enum Reason {
    /// The provider takes the node at this moment.
    Interruption {
        /// The node.
        node: NodeName,
        /// When.
        deadline: Timestamp,
    },
    /// The provider advises to leave the node.
    Rebalance {
        /// The node.
        node: NodeName,
    },
    /// The provider restarts or retires the machine.
    Maintenance {
        /// The node.
        node: NodeName,
        /// When.
        deadline: Timestamp,
    },
    /// What the provider had said of the node no longer stands.
    NoticeWithdrawn {
        /// The node.
        node: NodeName,
    },
    /// There is too much of its kind: it was chosen to be given back, and so it is emptied.
    GivenUp {
        /// The node.
        node: NodeName,
    },
    /// The notice is about a node that we do not have: nothing is done.
    UnknownNode {
        /// The node.
        node: NodeName,
    },
    /// The moment at which the provider wanted the node is past: what is left is told to end at once.
    PastDeadline {
        /// The node.
        node: NodeName,
        /// The moment.
        deadline: Timestamp,
    },
    /// The pod goes on serving until another does its work.
    ReplacementFirst {
        /// The pod.
        pod: PodName,
    },
    /// Enough other pods serve.
    Replaced {
        /// Ready pods that stay.
        ready: u32,
        /// Pods that are wanted.
        wanted: u32,
    },
    /// The pod serves nobody.
    NotServing {
        /// The pod.
        pod: PodName,
    },
    /// No replacement is ready, and the pod must have ended by the deadline: fewer pods serve than are wanted.
    DeadlineForces {
        /// The deadline.
        deadline: Timestamp,
        /// Pods that still serve after this.
        left: u32,
        /// Pods that are wanted.
        wanted: u32,
    },
    /// Pods wait for a replacement.
    AwaitingReplacement {
        /// The node.
        node: NodeName,
        /// Pods there that still serve.
        pods: u32,
    },
    /// Another node is being emptied first.
    DrainBudget {
        /// The node that waits.
        node: NodeName,
    },
    /// Pods are wanted and there is no room for them.
    NoRoom {
        /// Pods without room.
        pods: u32,
    },
    /// Too little spot capacity has been ready for too long: on-demand capacity takes over.
    SpotGap {
        /// Pods' worth of spot capacity that is missing.
        pods: u32,
        /// Since when.
        since: Timestamp,
    },
    /// No spot offering can be bought now.
    NoSpotOffer,
    /// Nothing at all can be bought now.
    NoOffer,
    /// There is more capacity of this kind than is wanted, and its pods have room elsewhere.
    Surplus {
        /// The kind.
        capacity_type: CapacityType,
        /// Pods' worth of it that is too much.
        pods: u32,
    },
    /// There are as many nodes as are allowed.
    NodeLimit {
        /// The limit.
        nodes_max: u32,
    },
    /// The cheapest machine for the work.
    BestOffer {
        /// The offering.
        offering: Offering,
        /// What a million requests are expected to cost on it.
        per_million_requests: MicroUsd,
    },
    /// The node has run nothing for long enough.
    Empty {
        /// The node.
        node: NodeName,
        /// Since when.
        since: Timestamp,
    },
    /// The node was emptied and is no longer wanted.
    Drained {
        /// The node.
        node: NodeName,
    },
    /// The provider takes the node in its first hour: it is left to, because then that hour is free.
    RefundAhead {
        /// The node.
        node: NodeName,
        /// When the provider takes it.
        deadline: Timestamp,
    },
    /// The machine did not become ready in time.
    NeverReady {
        /// The node.
        node: NodeName,
        /// How long it has been awaited.
        waited_ms: Millis,
    },
}

impl Reason {
    /// The name for a metric label.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Interruption { .. } => "interruption",
            Self::Rebalance { .. } => "rebalance",
            Self::Maintenance { .. } => "maintenance",
            Self::NoticeWithdrawn { .. } => "notice-withdrawn",
            Self::GivenUp { .. } => "given-up",
            Self::UnknownNode { .. } => "unknown-node",
            Self::PastDeadline { .. } => "past-deadline",
            Self::ReplacementFirst { .. } => "replacement-first",
            Self::Replaced { .. } => "replaced",
            Self::NotServing { .. } => "not-serving",
            Self::DeadlineForces { .. } => "deadline-forces",
            Self::AwaitingReplacement { .. } => "awaiting-replacement",
            Self::DrainBudget { .. } => "drain-budget",
            Self::NoRoom { .. } => "no-room",
            Self::SpotGap { .. } => "spot-gap",
            Self::NoSpotOffer => "no-spot-offer",
            Self::NoOffer => "no-offer",
            Self::Surplus { .. } => "surplus",
            Self::NodeLimit { .. } => "node-limit",
            Self::BestOffer { .. } => "best-offer",
            Self::Empty { .. } => "empty",
            Self::Drained { .. } => "drained",
            Self::RefundAhead { .. } => "refund-ahead",
            Self::NeverReady { .. } => "never-ready",
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Interruption { node, deadline } => {
                write!(f, "the provider takes {node} at {deadline}")
            }
            Self::Rebalance { node } => write!(f, "the provider advises to leave {node}"),
            Self::Maintenance { node, deadline } => {
                write!(f, "the provider restarts or retires {node} at {deadline}")
            }
            Self::NoticeWithdrawn { node } => write!(f, "the provider keeps {node} after all"),
            Self::GivenUp { node } => write!(f, "{node} is too much, and so it is emptied"),
            Self::UnknownNode { node } => {
                write!(f, "the notice is about {node}, which is not ours")
            }
            Self::PastDeadline { node, deadline } => {
                write!(f, "the deadline of {node}, {deadline}, is past")
            }
            Self::ReplacementFirst { pod } => write!(f, "{pod} serves until another does its work"),
            Self::Replaced { ready, wanted } => {
                write!(f, "{ready} other pods serve and {wanted} are wanted")
            }
            Self::NotServing { pod } => write!(f, "{pod} serves nobody"),
            Self::DeadlineForces { deadline, left, wanted } => write!(
                f,
                "no replacement is ready and the deadline is {deadline}: {left} pods of {wanted} go on"
            ),
            Self::AwaitingReplacement { node, pods } => {
                write!(f, "{pods} pods on {node} serve until their replacements are ready")
            }
            Self::DrainBudget { node } => write!(f, "{node} waits: another node is being emptied"),
            Self::NoRoom { pods } => write!(f, "there is no room for {pods} pods"),
            Self::SpotGap { pods, since } => {
                write!(f, "spot capacity for {pods} pods has been missing since {since}")
            }
            Self::NoSpotOffer => f.write_str("no spot offering can be bought now"),
            Self::NoOffer => f.write_str("nothing can be bought now"),
            Self::Surplus { capacity_type, pods } => {
                write!(f, "there is {capacity_type} capacity for {pods} pods too many")
            }
            Self::NodeLimit { nodes_max } => {
                write!(f, "there may be no more than {nodes_max} nodes")
            }
            Self::BestOffer { offering, per_million_requests } => write!(
                f,
                "{offering} is the cheapest: ${:.4} per million requests",
                per_million_requests.as_usd()
            ),
            Self::Empty { node, since } => write!(f, "{node} has been empty since {since}"),
            Self::Drained { node } => write!(f, "{node} was emptied and is not wanted"),
            Self::RefundAhead { node, deadline } => write!(
                f,
                "{node} is left for the provider to take at {deadline}: its first hour is then free"
            ),
            Self::NeverReady { node, waited_ms } => {
                write!(f, "{node} was not ready within {waited_ms}")
            }
        }
    }
}
