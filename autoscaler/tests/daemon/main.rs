//! The daemon against a cluster in memory, on a paused clock.
#![allow(clippy::panic, clippy::unwrap_used, reason = "a test fails by panicking")]

mod lives_on;
mod run;
mod support;
