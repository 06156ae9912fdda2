//! The autoscaler on a real control plane: a real API server with Karpenter's definitions, real controllers, real
//! disruption budgets, and a kubelet whose pods are processes. Only Karpenter and the cloud are missing: who buys and
//! takes machines is the test.
//!
//! Needs the programs that `scripts/setup.py cluster` builds, the definitions that `scripts/setup.py crds` brings, and
//! root for the pods.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod cluster;
mod drain;
mod election;
mod ground;
mod interruption;
mod karpenter;
mod killed;
mod objects;
mod pair;
mod scenarios;
mod surge;
mod world;
