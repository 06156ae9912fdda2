//! The daemon against a cluster in memory, on a paused clock.
#![allow(clippy::panic, clippy::unwrap_used, reason = "a test fails by panicking")]

mod fates;
mod ledger;
mod lives_on;
mod notices;
mod priced;
mod replayed;
mod run;
mod support;
