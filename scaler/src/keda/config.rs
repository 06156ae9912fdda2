//! The scaler's flags, their checks, and the sockets they name.

use std::{io, net::SocketAddr};

use clap::{Args as _, FromArgMatches as _};
use serde::Serialize;
use spotscale_decide::units::Span;
use tokio::net::TcpListener;

use super::{
    signals::PrometheusConfig,
    tls::{TlsConfig, TlsError},
};

/// What the KEDA external scaler can be told.
#[derive(clap::Args, Debug, Clone, Serialize)]
pub struct Config {
    /// gRPC address: KEDA calls here, and every front reports its demand here
    #[arg(long = "listen", env = "SPOTSCALE_SCALER_LISTEN", default_value = "0.0.0.0:6000")]
    pub listen: SocketAddr,
    /// Plaintext grpc.health.v1 address, for Kubernetes' own gRPC probes (they cannot speak TLS)
    #[arg(long, env = "SPOTSCALE_SCALER_HEALTH_LISTEN", default_value = "0.0.0.0:6001")]
    pub health_listen: SocketAddr,
    /// HTTP address of /healthz, /readyz, /metrics and /debug/scaler
    #[arg(long, env = "SPOTSCALE_SCALER_ADMIN_LISTEN", default_value = "0.0.0.0:8091")]
    pub admin_listen: SocketAddr,
    /// The certificate that the gRPC port shows, and whom it lets in
    #[command(flatten)]
    pub tls: TlsConfig,
    /// Where GPU utilisation and prices are asked for
    #[command(flatten)]
    pub prometheus: PrometheusConfig,
    /// What one process remembers and serves at most
    #[command(flatten)]
    pub limits: Limits,
    /// How long running calls may take to end after SIGTERM
    #[arg(long, env = "SPOTSCALE_SCALER_DRAIN_TIMEOUT", default_value = "5s")]
    pub drain_timeout: Span,
}

/// Bounds on what one scaler process remembers and serves.
#[derive(clap::Args, Debug, Clone, Serialize)]
pub struct Limits {
    /// Triggers remembered at once; further ones are refused
    #[arg(long, env = "SPOTSCALE_OBJECTS_MAX", default_value_t = 10_000)]
    pub objects_max: usize,
    /// A trigger that KEDA has not asked about for so long is forgotten
    #[arg(long, env = "SPOTSCALE_OBJECT_EXPIRY", default_value = "30m")]
    pub object_expiry: Span,
    /// Services remembered from the reports of fronts
    #[arg(long, env = "SPOTSCALE_SERVICES_MAX", default_value_t = 10_000)]
    pub services_max: usize,
    /// Streams open at once, of KEDA and of fronts; further ones are refused
    #[arg(long, env = "SPOTSCALE_STREAMS_MAX", default_value_t = 20_000)]
    pub streams_max: usize,
    /// A stream ends cleanly after about this time, so that KEDA spreads over new replicas
    #[arg(long, env = "SPOTSCALE_STREAM_AGE_MAX", default_value = "30m")]
    pub stream_age_max: Span,
}

/// A setting, or two together, that cannot work.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// A number that must be positive is not.
    #[error("--{flag} must be more than zero")]
    Zero {
        /// The flag.
        flag: &'static str,
    },
    /// Only a part of what TLS needs was given.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// No client can be made of the URL.
    #[error("--prometheus-url: {0}")]
    PrometheusUrl(String),
    /// Queries that nobody can answer.
    #[error("--query is given, but no --prometheus-url to ask it of")]
    QueryWithoutPrometheus,
    /// Two queries share one name.
    #[error("--query names {name:?} twice")]
    QueryTwice {
        /// The name.
        name: String,
    },
}

/// An address that could not be listened on.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address} (--{flag}): {source}")]
pub struct BindError {
    /// The flag that named the address.
    pub flag: &'static str,
    /// The address.
    pub address: SocketAddr,
    /// What the system said.
    pub source: io::Error,
}

/// The sockets of a scaler, bound and not yet served.
#[derive(Debug)]
pub struct Listeners {
    /// KEDA and demand.
    pub grpc: TcpListener,
    /// Plaintext gRPC health.
    pub health: TcpListener,
    /// Admin HTTP.
    pub admin: TcpListener,
}

/// Where the sockets really are; differs from the flags where those said port 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Addresses {
    /// KEDA and demand.
    pub grpc: SocketAddr,
    /// Plaintext gRPC health.
    pub health: SocketAddr,
    /// Admin HTTP.
    pub admin: SocketAddr,
}

impl Config {
    /// Checks what single flags cannot know of each other.
    pub fn validate(&self) -> Result<(), ConfigError> {
        let positive = [
            ("objects-max", self.limits.objects_max > 0),
            ("services-max", self.limits.services_max > 0),
            ("streams-max", self.limits.streams_max > 0),
            ("object-expiry", !self.limits.object_expiry.0.is_zero()),
            ("stream-age-max", !self.limits.stream_age_max.0.is_zero()),
            ("prometheus-interval", !self.prometheus.interval.0.is_zero()),
            ("prometheus-timeout", !self.prometheus.timeout.0.is_zero()),
            ("tls-reload-interval", !self.tls.reload_interval.0.is_zero()),
        ];
        if let Some((flag, _)) = positive.into_iter().find(|(_, fine)| !fine) {
            return Err(ConfigError::Zero { flag });
        }
        self.tls.validate()?;
        self.prometheus.validate()
    }

    /// Binds every address before anything is served.
    pub async fn bind(&self) -> Result<Listeners, BindError> {
        let bind = |flag, address| async move {
            let listener = TcpListener::bind(address).await;
            listener.map_err(|source| BindError { flag, address, source })
        };
        Ok(Listeners {
            grpc: bind("listen", self.listen).await?,
            health: bind("health-listen", self.health_listen).await?,
            admin: bind("admin-listen", self.admin_listen).await?,
        })
    }
}

impl Default for Config {
    /// Every flag at its default; the environment is not read.
    fn default() -> Self {
        let command = Self::augment_args(clap::Command::new("scaler"))
            .mut_args(|arg| arg.env(clap::builder::Resettable::Reset));
        command
            .try_get_matches_from(["scaler"])
            .and_then(|matches| Self::from_arg_matches(&matches))
            .expect("every flag is optional or has a default that parses")
    }
}

impl Listeners {
    /// Where they listen.
    pub fn addresses(&self) -> io::Result<Addresses> {
        Ok(Addresses {
            grpc: self.grpc.local_addr()?,
            health: self.health.local_addr()?,
            admin: self.admin.local_addr()?,
        })
    }
}
