//! What the daemon shows of itself: everything it saw, decided and did, to be dumped as JSON or drawn by a console.

use std::collections::VecDeque;

use jiff::Timestamp;
use serde::Serialize;
use spotscale_decide::{
    ledger::Totals,
    planner::{Action, Memory, Plan, Reason, Snapshot},
};

/// The daemon after one tick.
#[derive(Debug, Clone, Serialize)]
pub struct State {
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
    /// The cluster did not do it.
    Failed {
        /// What the cluster said.
        error: String,
    },
}

impl Outcome {
    /// The name for a metric label.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::AlreadySo => "already-so",
            Self::Forced { .. } => "forced",
            Self::Dropped => "dropped",
            Self::Failed { .. } => "failed",
        }
    }
}
