//! `spotscale up` as a whole: real processes, a tiny model, a real browser. And what measures machines for it and for the
//! autoscaler.
//!
//! Needs the parts that `make test` brings: the runtime library, a Python with `onnx`, Chromium and its driver, Prometheus.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod browser;
mod calibrate;
mod console;
mod dashboards;
mod local_mode;
mod replicas;
