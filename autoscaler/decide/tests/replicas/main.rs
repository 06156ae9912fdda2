//! Decisions on replicas: stories in seconds of made-up time, and properties that hold for any input.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on stops there")]

mod outages;
mod properties;
mod stories;
mod traffic;
mod world;
