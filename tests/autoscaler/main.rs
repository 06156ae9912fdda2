//! The autoscaler on a real control plane.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod ground;
mod interruption;
