//! The cluster as the daemon sees it: something to look at and something to act on.

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use spotscale_decide::{
    cluster::{NoticeKind, Observation, Offering},
    planner::Action,
    units::NodeName,
};

/// A cluster: Kubernetes with its nodes, or the child processes of local mode.
#[async_trait]
pub trait Cluster: Send + Sync + 'static {
    /// What is there now. Cheap: it is called at every tick. How many pods fit on a node is set by the daemon, where it
    /// knows its type.
    async fn observe(&self) -> Result<Observation, ClusterError>;

    /// Does one action, or begins it: a later observation shows the effect. Doing it twice is doing it once.
    async fn apply(&self, action: &Action) -> Result<Applied, ClusterError>;

    /// Keeps news of a node with the node, so that observations show the notices that stand. Saying it twice is saying it
    /// once. Only clusters whose provider speaks to us past them need it.
    async fn notify(&self, node: &NodeName, news: News) -> Result<Applied, ClusterError> {
        let _ = news;
        Err(ClusterError::Refused(format!("{node} takes no notices")))
    }
}

/// What the provider says about a node, apart from the cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum News {
    /// This stands from now on. Of one kind the earliest deadline counts.
    Stands(NoticeKind),
    /// Planned maintenance is over, or was called off.
    MaintenanceOver,
}

/// What became of an action.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Applied {
    /// It was done, or begun.
    Done,
    /// It was so already, or its object is gone: nothing was done.
    AlreadySo,
    /// It was done although something forbade it, because the deadline left no time.
    Forced {
        /// What forbade it, such as a disruption budget, in its own words.
        against: String,
    },
}

/// Why an action was not done, or nothing could be observed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ClusterError {
    /// The provider has none of it left.
    #[error("there is no capacity for {0}")]
    NoCapacity(Offering),
    /// The cluster forbids it now, for instance by a disruption budget.
    #[error("the cluster refused: {0}")]
    Refused(String),
    /// We have no right to it: somebody must grant it.
    #[error("the cluster forbids it: {0}")]
    Forbidden(String),
    /// The cluster did not answer.
    #[error("the cluster cannot be reached: {0}")]
    Unavailable(String),
}

impl ClusterError {
    /// The name for a metric label.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::NoCapacity(_) => "no-capacity",
            Self::Refused(_) => "refused",
            Self::Forbidden(_) => "forbidden",
            Self::Unavailable(_) => "unavailable",
        }
    }
}
