//! The bundled model server: image classification with ONNX Runtime.
//!
//! A request goes from a port (`accept`, `http`, `grpc`) through `service`, its picture through
//! `decoding`, into the `queue` of a `model`; the model's own thread (`worker`) takes batches from it
//! (`batching` says when) and runs them on an `engine`. Engines see tensors only; ports never see an
//! engine. `start` makes a model of a file, and `run` is the life of it all.

mod accept;
mod batching;
mod config;
mod decoding;
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
