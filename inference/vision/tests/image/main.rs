//! Pictures and the seeded model against what others make of them: Pillow, numpy, ONNX Runtime.
//!
//! Needs the parts that `make test` brings: a Python with those packages, and the pictures.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod hostile;
mod reference;
mod seeded;
mod support;
