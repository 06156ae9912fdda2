//! A real Kubernetes control plane, and a real KEDA, as plain processes on loopback: no containers, nothing shared with
//! a cluster of yours. [`TestCluster`] starts them on free ports with certificates of their own; [`kubelet`] plays the
//! node, so that a Pod is a real process.
//!
//! Everything belongs to one process group that dies with the process that started it, however that one ends.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::missing_panics_doc,
    reason = "a test fails by panicking"
)]

pub mod apply;
pub mod catalog;
pub mod cloud;
pub mod cluster;
pub mod control_plane;
pub mod exclusive;
mod flags;
pub mod group;
pub mod karpenter;
pub mod keda;
pub mod kubelet;
pub mod kwok;
pub mod parts;
pub mod pki;
pub mod programs;
pub mod prometheus;
pub mod provider;
pub mod role;
pub mod tiny;

pub use cluster::TestCluster;
pub use control_plane::{Options, found, until};
