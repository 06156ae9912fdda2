//! The scaler over real gRPC channels, on ports that the system chose. Tests named `checklist_NN` hold a line of the
//! contract that KEDA's external scalers must keep; the rest is ours.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod admin;
#[path = "../authority/mod.rs"]
mod authority;
mod contract;
mod harness;
mod metadata;
mod prometheus;
mod push;
mod shutdown;
mod snapshot;
mod stand_in;
mod tls;
