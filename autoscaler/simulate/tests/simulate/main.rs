//! Simulations through the public door: that they can be repeated, and what they must show.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on stops there")]

mod cold_start;
mod outage;
mod repeat;
mod replay;
mod support;
