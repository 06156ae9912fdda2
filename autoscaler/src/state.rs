//! What the daemon shows of itself: everything it saw, decided and did, to be dumped as JSON or drawn by a console.

use std::{collections::VecDeque, fmt, sync::Arc};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use spotscale_decide::planner::{Action, Memory, Plan, Policy, Reason, Snapshot};
use tokio::sync::watch;

/// The state after each tick; nothing before the first. Of a large cluster it is large: it is shared, and never copied.
pub type States = watch::Receiver<Option<Arc<State>>>;

/// The daemon after one tick.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct State {
    /// Do we act? If not, the plan is what we would do, and nothing is remembered of the money.
    pub role: Role,
    /// By what policy the last plan was made, which with the next two is all that it was made from.
    pub policy: Policy,
    /// What was seen.
    pub snapshot: Snapshot,
    /// What was remembered before the plan.
    pub memory_before: Memory,
    /// The last plan.
    pub plan: Plan,
    /// What is remembered for the next one.
    pub memory: Memory,
    /// The last decisions, oldest first; bounded.
    pub decisions: VecDeque<Decision>,
}

/// What a daemon may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// It acts.
    Leader,
    /// Another acts; this one is ready to take over.
    Standby,
    /// Nothing is done: it only tells what would be.
    DryRun,
}

/// An action that was taken or dropped.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Decision {
    /// When.
    pub at: Timestamp,
    /// What.
    pub action: Action,
    /// Why.
    pub reasons: Vec<Reason>,
    /// What became of it.
    #[serde(flatten)]
    pub outcome: Outcome,
}

/// What became of a decision.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "outcome")]
pub enum Outcome {
    /// Done, or begun.
    Done,
    /// It was so already.
    AlreadySo,
    /// Done although something forbade it, because the deadline left no time.
    Forced {
        /// What forbade it.
        against: String,
    },
    /// What it took for granted no longer held.
    Dropped,
    /// Nothing was done, as nothing is in a dry run.
    DryRun,
    /// Nothing was done, because another daemon leads by now.
    NotLeading,
    /// The cluster did not do it.
    Failed {
        /// What the cluster said.
        error: String,
    },
}

impl fmt::Display for Decision {
    /// What, why, and what became of it unless it was simply done.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&Reason::tell(&self.action, &self.reasons))?;
        match &self.outcome {
            Outcome::Done => Ok(()),
            outcome => write!(f, " ({outcome})"),
        }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Done => f.write_str("done"),
            Self::AlreadySo => f.write_str("it was so already"),
            Self::Forced { against } => write!(f, "against: {against}"),
            Self::Dropped => f.write_str("dropped: it was no longer so that it could be done"),
            Self::DryRun => f.write_str("not done: a dry run"),
            Self::NotLeading => f.write_str("not done: another leads"),
            Self::Failed { error } => write!(f, "failed: {error}"),
        }
    }
}

impl Outcome {
    /// Was the cluster asked to do it?
    pub const fn was_tried(&self) -> bool {
        match self {
            Self::Done | Self::AlreadySo | Self::Forced { .. } | Self::Failed { .. } => true,
            Self::Dropped | Self::DryRun | Self::NotLeading => false,
        }
    }

    /// The name for a metric label.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::AlreadySo => "already-so",
            Self::Forced { .. } => "forced",
            Self::Dropped => "dropped",
            Self::DryRun => "dry-run",
            Self::NotLeading => "not-leading",
            Self::Failed { .. } => "failed",
        }
    }
}
