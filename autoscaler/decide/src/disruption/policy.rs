//! What is done about the provider's notices, and how hard.

use serde::{Deserialize, Serialize};

use super::{Cause, Extent};
use crate::{cluster::NoticeKind, units::Millis};

/// How nodes are emptied.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DisruptionPolicy {
    /// What is done when the provider takes a node.
    pub on_interruption: OnInterruption,
    /// What is done when the provider says that it will restart or retire a node.
    pub on_maintenance: Reaction,
    /// What is done when the provider advises to leave a node.
    pub on_rebalance: Reaction,
    /// A node, and machines of its kind that were bought since, are left on such advice once in so long.
    pub rebalance_every_ms: Millis,
    /// A forced eviction comes so long before the last moment: for the tick, the network and the kubelet.
    pub evict_margin_ms: Millis,
    /// Nodes that are emptied at once when nothing forces it.
    pub voluntary_max: usize,
}

/// What is done about a node that will be taken.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OnInterruption {
    /// Nothing new is placed there.
    Cordon,
    /// Its pods are replaced and told to end as well.
    #[default]
    Drain,
}

/// What is done about a node that is well, and of which the provider says that it may not stay so.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reaction {
    /// Nothing is done to the node.
    Ignore,
    /// Nothing new is placed there.
    Cordon,
    /// Its pods are replaced and told to end as well.
    #[default]
    Drain,
}

// === impl DisruptionPolicy ===

impl Default for DisruptionPolicy {
    fn default() -> Self {
        Self {
            on_interruption: OnInterruption::default(),
            on_maintenance: Reaction::default(),
            on_rebalance: Reaction::default(),
            rebalance_every_ms: Millis::from_secs(3600),
            evict_margin_ms: Millis::from_secs(5),
            voluntary_max: 1,
        }
    }
}

impl DisruptionPolicy {
    /// Is anything done about such a notice?
    pub(super) fn heeds(&self, kind: NoticeKind) -> bool {
        match kind {
            NoticeKind::Interruption { .. } => true,
            NoticeKind::Maintenance { .. } => self.on_maintenance != Reaction::Ignore,
            NoticeKind::Rebalance => self.on_rebalance != Reaction::Ignore,
        }
    }

    /// How far a node is emptied for this cause.
    pub(super) fn extent(&self, cause: Cause) -> Extent {
        let cordon_only = match cause {
            Cause::Interruption { .. } => self.on_interruption == OnInterruption::Cordon,
            Cause::Maintenance { .. } => self.on_maintenance == Reaction::Cordon,
            Cause::Rebalance => self.on_rebalance == Reaction::Cordon,
            Cause::Surplus => false,
        };
        if cordon_only { Extent::Cordon } else { Extent::Full }
    }
}
