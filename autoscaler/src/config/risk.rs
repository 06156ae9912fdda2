//! What is reckoned with for losing a machine.

use std::time::Duration;

use clap::Args;
use serde::Serialize;
use spotscale_decide::offers::OfferPolicy;

use super::{ConfigError, above_zero, duration, millis};

/// What is reckoned with for losing a machine. An offering gets a bad mark of 1 for each interruption, for each machine that
/// never became ready, and, where we buy and not Karpenter, which has a memory of its own for that, for each time that it
/// could not be had.
#[derive(Debug, Clone, Args, Serialize)]
#[group(skip)]
pub struct Risk {
    /// Interruptions per hour expected of a spot node of which nothing bad is known.
    #[arg(long, env = "SPOTSCALE_AUTOSCALER_INTERRUPTIONS_PER_HOUR", default_value_t = 0.0002)]
    pub interruptions_per_hour: f64,

    /// What one interruption wastes: time in which both the old and the new machine are paid.
    #[arg(long, env = "SPOTSCALE_AUTOSCALER_INTERRUPTION_OVERLAP", default_value = "5m", value_parser = duration)]
    pub interruption_overlap: Duration,

    /// In this time half of what is held against an offering that was lost is forgotten.
    #[arg(long, env = "SPOTSCALE_AUTOSCALER_MARK_HALF_LIFE", default_value = "30m", value_parser = duration)]
    pub mark_half_life: Duration,

    /// A spot offering with more bad marks than this is left alone.
    #[arg(long, env = "SPOTSCALE_AUTOSCALER_MARKS_MAX", default_value_t = 0.5)]
    pub marks_max: f64,

    /// What a rebalance recommendation counts as a bad mark.
    #[arg(long, env = "SPOTSCALE_AUTOSCALER_REBALANCE_MARK", default_value_t = 0.75)]
    pub rebalance_mark: f64,
}

// === impl Risk ===

impl Risk {
    pub(super) fn validate(&self) -> Result<(), ConfigError> {
        above_zero("mark-half-life", self.mark_half_life)?;
        from_zero("interruptions-per-hour", self.interruptions_per_hour)?;
        from_zero("rebalance-mark", self.rebalance_mark)?;
        from_zero("marks-max", self.marks_max)?;
        if self.marks_max == 0.0 { Err(ConfigError::Zero("marks-max")) } else { Ok(()) }
    }

    pub(super) fn policy(&self) -> OfferPolicy {
        OfferPolicy {
            interruptions_per_hour: self.interruptions_per_hour,
            overlap_ms: millis(self.interruption_overlap),
            mark_half_life_ms: millis(self.mark_half_life),
            marks_max: self.marks_max,
            rebalance_mark: self.rebalance_mark,
            ..OfferPolicy::default()
        }
    }
}

fn from_zero(flag: &'static str, number: f64) -> Result<(), ConfigError> {
    if number.is_finite() && number >= 0.0 { Ok(()) } else { Err(ConfigError::Number(flag)) }
}
