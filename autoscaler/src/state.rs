//! What the daemon shows of itself: everything it saw, decided and did, to be dumped as JSON or drawn by a console.

use std::collections::VecDeque;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use spotscale_decide::{
    ledger::Totals,
    planner::{Action, Memory, Plan, Reason, Snapshot},
};

/// The daemon after one tick.
#[derive(Debug, Clone, Serialize)]
pub struct State {
    /// Do we act? If not, the plan is what we would do, and nothing is remembered of the money.
    pub role: Role,
    /// What the last plan was made from.
    pub snapshot: Snapshot,
    /// The last plan.
    pub plan: Plan,
    /// What is remembered for the next one.
    pub memory: Memory,
    /// The money so far.
    pub totals: Totals,
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
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
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
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
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
