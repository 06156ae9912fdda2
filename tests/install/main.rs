//! The chart, what is rendered from it, and the examples: by Helm and kubectl, against a real API server with a real
//! KEDA, and against the program whose flags they set.
//!
//! Needs the parts that `make test` brings: the programs of the test cluster, the definitions of other projects.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod acting;
mod admission;
mod autoscaler;
mod aws;
mod cluster;
mod cold_start;
mod examples;
mod images;
mod install;
mod loss;
mod manifest;
mod network;
mod object;
mod pods;
mod program;
mod render;
mod rendered;
mod rights;
mod rules;
mod running;
mod traffic;
mod values;
mod wiring;
