//! The cluster as the daemon sees it: something to look at and something to act on.

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use spotscale_decide::{
    cluster::{Observation, Offering},
    planner::Action,
};

/// A cluster: Kubernetes with its nodes, or the child processes of local mode.
#[async_trait]
pub trait Cluster: Send + Sync + 'static {
    /// What is there now. Cheap: it is called at every tick.
    async fn observe(&self) -> Result<Observation, ClusterError>;

    /// Does one action, or begins it: a later observation shows the effect. Doing it twice is doing it once.
    async fn apply(&self, action: &Action) -> Result<Applied, ClusterError>;
}

/// What became of an action.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Applied {
    /// It was done, or begun.
    Done,
    /// It was so already, or its object is gone: nothing was done.
    AlreadySo,
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
            Self::Unavailable(_) => "unavailable",
        }
    }
}
