//! How many replicas there should be now, and why. The SLO decides how many; GPU utilisation may veto a shrink; the price
//! only says how eagerly to shrink and what to keep warm.
//!
//! Growth is immediate and rests on the fronts' own queue; the number is absolute, so replicas that are still starting count
//! by themselves. Shrinking needs a whole window in which fewer were enough with a margin, and fresh signals. What is not
//! known is not guessed: without demand there is no number.

mod dead_band;
mod evidence;
mod memory;
mod need;
mod policy;
mod reason;
mod signals;
mod step;
mod validate;

use serde::{Deserialize, Serialize};

pub use memory::Memory;
pub use policy::{Fallback, GpuPolicy, Policy, PricePolicy, Without};
pub use reason::Reason;
pub use signals::{Signal, Signals};
pub use validate::PolicyError;

use crate::units::{Millis, Replicas};
use step::Step;

/// A decision with its grounds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Decision {
    /// The number; `None` when the demand is unknown, so that whoever asks must keep what there is.
    pub scale: Option<Scale>,
    /// Why: what sets the number first, then what held it back, then what is worth telling.
    pub reasons: Vec<Reason>,
}

/// How many, and whether at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Scale {
    /// Whether the service must run: true exactly when `desired` is above 0.
    pub active: bool,
    /// How many replicas.
    pub desired: Replicas,
}

/// Decides on one service. The memory that comes back goes into the next call; [`Memory::default`] starts anew.
pub fn decide(
    now: Millis,
    policy: &Policy,
    signals: &Signals,
    mut memory: Memory,
) -> (Decision, Memory) {
    let standing = policy.demand.judge(signals.demand.as_ref(), now);
    let demand = match signals.demand.as_ref() {
        Some(demand) if standing.is_usable() => &demand.value,
        _ => {
            memory.lose_sight();
            let reasons = vec![Reason::DemandUnknown { standing }];
            return (Decision { scale: None, reasons }, memory);
        }
    };
    memory.watch(now);
    let mut step = Step { now, policy, signals, demand, memory, reasons: Vec::new() };
    let desired = step.run(standing);
    let scale = Scale { active: desired > Replicas::ZERO, desired };
    (Decision { scale: Some(scale), reasons: step.reasons }, step.memory)
}
