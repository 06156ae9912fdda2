//! A real server with a real ONNX Runtime, from outside. One program, because linking one takes
//! long.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod classify;
mod life;
mod protocol_v2;
mod support;
