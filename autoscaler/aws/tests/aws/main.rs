//! The crate against a real moto, Amazon's own mock of the instance metadata, and a scripted service for what these
//! cannot be made to say.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod besides;
mod market;
mod moto;
mod node;
mod on_demand;
mod prior;
mod queue_trouble;
mod scripted;
