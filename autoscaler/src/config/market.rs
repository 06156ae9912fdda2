//! How prices are asked for, how long they count, and how readily Karpenter is steered by them.

use std::time::Duration;

use clap::Args;
use serde::Serialize;
use spotscale_decide::{freshness::Freshness, steering::SteeringPolicy, units::Ratio};

use super::{ConfigError, above_zero, duration, millis};

/// How long prices count.
#[derive(Debug, Clone, Args, Serialize)]
#[group(skip)]
pub struct Prices {
    /// Time between two looks at the prices. Spot prices change a few times a day.
    #[arg(long = "price-refresh", env = "SPOTSCALE_AUTOSCALER_PRICE_REFRESH", default_value = "5m", value_parser = duration)]
    pub refresh: Duration,

    /// Prices that are older than this are good enough to buy by, and no longer a reason to change anything.
    #[arg(long = "price-stale-after", env = "SPOTSCALE_AUTOSCALER_PRICE_STALE_AFTER", default_value = "1h", value_parser = duration)]
    pub stale_after: Duration,

    /// Prices that are older than this are told to have expired.
    #[arg(long = "price-expired-after", env = "SPOTSCALE_AUTOSCALER_PRICE_EXPIRED_AFTER", default_value = "24h", value_parser = duration)]
    pub expired_after: Duration,
}

/// How readily Karpenter is steered.
#[derive(Debug, Clone, Args, Serialize)]
#[group(skip)]
pub struct Steering {
    /// A price that differs by less than this share from the one that Karpenter was told is not told.
    #[arg(long, env = "SPOTSCALE_AUTOSCALER_STEERING_DEAD_BAND", default_value = "0.02")]
    pub steering_dead_band: Ratio,

    /// A NodePool's weight, or whether it is closed, is changed once in so long.
    #[arg(long, env = "SPOTSCALE_AUTOSCALER_STEERING_POOL_EVERY", default_value = "1m", value_parser = duration)]
    pub steering_pool_every: Duration,
}

// === impl Prices ===

impl Prices {
    pub(super) fn validate(&self) -> Result<(), ConfigError> {
        above_zero("price-refresh", self.refresh)?;
        let stale = ("price-stale-after", self.stale_after);
        ConfigError::order(("price-refresh", self.refresh), stale)?;
        ConfigError::order(stale, ("price-expired-after", self.expired_after))
    }

    pub(super) fn policy(&self) -> Freshness {
        let (warn, expired) = (millis(self.stale_after), millis(self.expired_after));
        Freshness { warn, expired }
    }
}

// === impl Steering ===

impl Steering {
    pub(super) fn policy(&self) -> SteeringPolicy {
        SteeringPolicy {
            dead_band: self.steering_dead_band,
            pool_every_ms: millis(self.steering_pool_every),
        }
    }
}
