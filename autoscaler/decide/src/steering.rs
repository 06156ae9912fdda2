//! What a provisioner such as Karpenter is told, where machines are bought by it and not by us: it buys for every pod
//! that waits, and these knobs say what. In order of preference:
//!
//! 1. The price that it reckons with for each offering (`NodeOverlay`): what a pod's work is expected to cost there,
//!    interruptions counted in. This chooses type and zone.
//! 2. The weights of its pools. Within a pool it buys spot before on-demand whatever they cost, and it tries pools by
//!    weight before it looks at any price, so the capacity type is steered by weight. Where prices cannot be told, the
//!    weights follow the best offer that each pool admits.
//! 3. Closing a pool, where it has no weight.
//!
//! What a pool requires is never touched: a change of that makes the provisioner replace the nodes that it has. A change
//! that is small is not told, and a pool is left alone for a while after each change.

mod buys;
mod overlays;
mod pools;

use serde::{Deserialize, Serialize};

pub use self::{
    overlays::overlays,
    pools::{Course, pools},
};
use crate::{
    cluster::Provisioner,
    planner::Action,
    units::{Millis, Ratio},
};

/// How readily the knobs are turned.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SteeringPolicy {
    /// A price that differs by less than this share from the one that was told is not told.
    pub dead_band: Ratio,
    /// A pool's weight, or whether it is closed, is changed once in so long.
    pub pool_every_ms: Millis,
}

impl Default for SteeringPolicy {
    fn default() -> Self {
        Self { dead_band: Ratio::from_percent(2), pool_every_ms: Millis::from_secs(60) }
    }
}

impl Provisioner {
    /// Is the knob seen to be where the action puts it?
    pub(crate) fn shows(&self, action: &Action) -> bool {
        let mut pools = self.pools.iter();
        match action {
            Action::Overlay { offering, price } => {
                let mut known = self.overlays.iter().flatten();
                known.find(|known| &known.offering == offering).map(|known| known.price) == *price
            }
            Action::Weigh { pool, weight } => {
                pools.any(|known| &known.name == pool && known.weight == Some(*weight))
            }
            Action::Close { pool, closed } => {
                pools.any(|known| &known.name == pool && known.closed == *closed)
            }
            _ => false,
        }
    }
}
