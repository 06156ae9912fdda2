//! A scaler process, the demand on it, and the ScaledObject that KEDA reads it through.

mod demand;
mod scaler;
mod trigger;
mod workload;

pub(crate) use demand::Demand;
pub(crate) use scaler::Scaler;
pub(crate) use trigger::Trigger;
pub(crate) use workload::Workload;

use std::time::Duration;

/// For a busy machine. No test passes by waiting for it.
pub(crate) const PATIENCE: Duration = Duration::from_mins(2);
