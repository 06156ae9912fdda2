//! Which machines are held: how many, spot or on demand, and what is too long to wait for.

use std::time::Duration;

use clap::Args;
use serde::Serialize;
use spotscale_decide::fleet::FleetPolicy;

use super::{ConfigError, above_zero, duration, millis};

/// Which machines are held.
#[derive(Debug, Clone, Args, Serialize)]
#[group(skip)]
pub struct Fleet {
    /// Nodes that may be there at once, besides those that are being emptied. When there are as many, Karpenter's pools are
    /// closed; it may pass that by what it buys in one go.
    #[arg(long, env = "SPOTSCALE_AUTOSCALER_NODES_MAX", default_value_t = 100)]
    pub nodes_max: u32,

    /// Pods' worth of on-demand capacity that is held whatever spot does, as long as so many pods are wanted.
    #[arg(long, env = "SPOTSCALE_AUTOSCALER_ON_DEMAND_FLOOR", default_value_t = 0)]
    pub on_demand_floor: u32,

    /// How long spot capacity may be missing before on-demand capacity takes over.
    #[arg(long, env = "SPOTSCALE_AUTOSCALER_FALLBACK_AFTER", default_value = "2m", value_parser = duration)]
    pub fallback_after: Duration,

    /// How long spot capacity must be ready before on-demand capacity is given back; where Karpenter buys, how long
    /// on-demand nodes must have carried what spot could before one of them is swapped for spot.
    #[arg(long, env = "SPOTSCALE_AUTOSCALER_RETURN_AFTER", default_value = "5m", value_parser = duration)]
    pub return_after: Duration,

    /// How long the replacements must have been ready before the pods of a swapped node are told to end.
    #[arg(long, env = "SPOTSCALE_AUTOSCALER_RETURN_STEADY", default_value = "2m", value_parser = duration)]
    pub return_steady: Duration,

    /// One node is swapped for spot in so long.
    #[arg(long, env = "SPOTSCALE_AUTOSCALER_RETURN_EVERY", default_value = "10m", value_parser = duration)]
    pub return_every: Duration,

    /// A node that is not needed is given back after running nothing for so long, where Karpenter does not decide that.
    #[arg(long, env = "SPOTSCALE_AUTOSCALER_EMPTY_AFTER", default_value = "1m", value_parser = duration)]
    pub empty_after: Duration,

    /// A machine that is not ready after so long is given back.
    #[arg(long, env = "SPOTSCALE_AUTOSCALER_LAUNCH_TIMEOUT", default_value = "10m", value_parser = duration)]
    pub launch_timeout: Duration,
}

// === impl Fleet ===

impl Fleet {
    pub(super) fn validate(&self) -> Result<(), ConfigError> {
        above_zero("launch-timeout", self.launch_timeout)?;
        above_zero("nodes-max", Duration::from_secs(self.nodes_max.into()))
    }

    pub(super) fn policy(&self) -> FleetPolicy {
        FleetPolicy {
            on_demand_floor: self.on_demand_floor,
            fallback_after_ms: millis(self.fallback_after),
            return_after_ms: millis(self.return_after),
            return_steady_ms: millis(self.return_steady),
            return_window_ms: millis(self.return_every),
        }
    }
}
