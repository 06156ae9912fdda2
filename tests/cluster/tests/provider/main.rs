//! The stand-in for Karpenter and its cloud against a real control plane: real pods get machines, run there as
//! processes, and lose them.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod endings;
mod launches;
mod world;
