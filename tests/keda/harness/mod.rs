//! A scaler process, the demand on it, and the ScaledObject that KEDA reads it through.

mod demand;
mod pods;
mod prometheus;
mod reading;
#[path = "../../support/scaler.rs"]
mod scaler;
mod trigger;
mod workload;

pub(crate) use demand::Demand;
pub(crate) use prometheus::{Prometheus, Says};
pub(crate) use reading::tells;
pub(crate) use scaler::{Front, PATIENCE, Scaler};
pub(crate) use trigger::Trigger;
pub(crate) use workload::Workload;
