//! The KEDA external scaler: fronts push their demand in, Prometheus is asked in the background, and every call of KEDA
//! is answered from memory with the number of replicas that there should be.
//!
//! `config` flags and sockets; `server` the ports and the order of shutdown; `service`, `push` and `demand` the gRPC
//! calls; `trigger` what a ScaledObject asks for; `board`, `object` and `snapshot` what is known and answered; `signals`
//! Prometheus; `tls` certificates; `status`, `gauges` and `metrics` what it tells about itself.
//!
//! How many replicas is not decided here but in [`spotscale_decide::replicas`].

mod board;
mod clock;
mod config;
mod demand;
mod gauges;
mod metrics;
mod object;
mod push;
mod server;
mod service;
mod signals;
mod snapshot;
mod status;
mod streams;
mod tls;
mod trigger;

use std::sync::{Mutex, MutexGuard, PoisonError};

pub use config::{Addresses, BindError, Config, ConfigError, Limits, Listeners};
pub use server::{Error, run};
pub use service::{METRIC_NAME, SNAPSHOT_HEADER};
pub use signals::{NamedQuery, NamedQueryError, PrometheusConfig};
pub use tls::{TlsConfig, TlsError};

/// Locks, also after a panic elsewhere: nothing here leaves its data half changed.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
