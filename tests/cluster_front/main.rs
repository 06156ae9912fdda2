//! The front on a real API server: the real program, under a service account with no more rights than it needs, follows
//! real Pods through the `EndpointSlices` that Kubernetes makes of them. Only the kubelet is missing: a Pod's program is
//! a listener of this test on the Pod's own address.
//!
//! Needs the programs that `scripts/setup.py cluster` builds, and a route for the Pods' addresses.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod endpoints;
mod front;
mod load;
mod nodes;
mod outage;
mod pod;
mod rights;
mod world;
