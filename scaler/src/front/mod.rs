//! The request-holding front: an HTTP proxy that owns a request while it lives.
//!
//! A request is forwarded when an endpoint has a free slot, held (in order, within bounds) while none has, and refused
//! with `Retry-After` when it cannot be served in time. What is held is told to the scalers at once, so that replicas
//! appear for it. A request is sent again only where that is provably safe; a 200 is never doubled or cut short.
//!
//! `serve` accepts, `proxy` orders the steps of one request, `service` keeps slots and line under one lock, and
//! `spotscale_decide::admission` makes the choices. `source` says where endpoints come from: flags, a watched file, or
//! the Services of a cluster (`kubernetes`). `demand` tells the scalers, which `scalers` connects to.

mod activity;
mod cold_start;
mod config;
mod demand;
mod endpoint;
mod exchange;
mod fleet;
mod headers;
mod health;
mod kubernetes;
mod lease;
mod listeners;
mod metrics;
mod probe;
mod proxy;
mod queue;
mod relay;
mod replay;
mod reply;
mod retry;
mod route;
mod run;
mod scalers;
mod serve;
mod service;
mod source;
mod state;
mod upstream;

pub use config::{Bounds, Config, ConfigError, Endpoints, Hold, Retry};
pub use endpoint::{Endpoint, EndpointError, Listed, Protocol};
pub use kubernetes::{Backend, ClusterError, Kubernetes, Port};
pub use listeners::{Addresses, BindError, Listeners};
pub use route::{Route, Rule};
pub use run::{Error, run, run_with_endpoints};
pub use scalers::{ScalerAddress, ScalerTls, TlsError};
pub use source::{FileError, Source, SourceError};
pub use spotscale_decide::admission::Tier;
