//! The scaler under a real KEDA and a real HPA, on a real control plane: what a ScaledObject does over time.
//!
//! Demand is reported as a front reports it, so that a test says exactly how much there is; Pods stay pending, because
//! for a metric of type `AverageValue` the HPA does not ask whether they run. In `tests/install` requests flow.
//!
//! Needs what `python3 scripts/setup.py cluster` builds, and root for one local route.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]
#![allow(clippy::print_stdout, reason = "a measurement is told")]

mod activation;
mod harness;
mod outages;
mod prometheus;
mod scaling;
mod suites;
