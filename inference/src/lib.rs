//! The bundled model server: image classification with ONNX Runtime.
//!
//! A request goes from a port (`http`, `grpc`) through `service` into the `queue` of a `model`; the
//! model's own thread (`worker`) takes batches from it (`batching` says when) and runs them on an
//! `engine`. Engines see tensors only; ports never see an engine. `start` makes a model of a file,
//! and `run` is the life of it all.

mod batching;
mod config;
mod engine;
mod error;
mod grpc;
mod http;
mod listeners;
mod metrics;
mod model;
mod queue;
mod run;
mod scores;
mod service;
mod start;
mod tensors;
#[cfg(test)]
mod testing;
mod worker;

pub use config::{Config, ConfigError, ModelSpec};
pub use engine::{ContractError, Device, EngineError, LibraryError, LoadError};
pub use listeners::{Addresses, BindError, Listeners};
pub use run::{Error, run};
pub use spotscale_vision::{image, seeded};
pub use start::StartError;
