//! The front on real sockets: its own ports, replicas that behave and replicas that do not, clients that leave.
#![allow(clippy::panic, clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "../authority/mod.rs"]
mod authority;
mod bounds;
mod clients;
mod demand;
mod fleet;
mod hold;
mod http2;
mod idle;
mod lifecycle;
mod replicas;
mod retry;
mod scaler_tls;
mod stream;
mod support;
