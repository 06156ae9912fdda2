//! The stand-in for the kubelet against a real control plane: Pods that real controllers made and the real scheduler
//! placed run as real processes.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod faults;
mod lifecycle;
mod sandbox;
mod world;
