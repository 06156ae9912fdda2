//! KEDA's own client against real `spotscale scaler` processes, without a cluster.
//!
//! Needs the programs that `make test` builds: `conformance` is a driver around the code by which KEDA's operator calls
//! external scalers. Tests named `x05`, `x16` and so on are scenarios that external scalers are seldom tested for.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]
#![allow(clippy::float_cmp, reason = "whole numbers pass through unchanged")]

mod calls;
mod keda;
mod prometheus;
mod push;
mod reading;
#[path = "../support/scaler.rs"]
mod scaler;
mod series;
mod tls;
