//! The front's flags and environment, and their checks. Not what is done with them.

use std::{net::SocketAddr, num::NonZeroU32, path::PathBuf, time::Duration};

use clap::Args;
use serde::Serialize;
use spotscale_decide::units::Span;

use super::{
    endpoint::{CONCURRENCY_MAX, Listed},
    kubernetes::Kubernetes,
    listeners::{BindError, Listeners},
    route::{Route, is_service_name},
    scalers::{ScalerAddress, ScalerTls, TlsError},
    source::{self, FileError},
};

/// The service that a front has when it was given none.
pub(super) const SERVICE_DEFAULT: &str = "default";

/// The request-holding front.
#[derive(Debug, Clone, Args, Serialize)]
pub struct Config {
    /// Address of the port that clients call.
    #[arg(long, env = "SPOTSCALE_FRONT_LISTEN", default_value = "0.0.0.0:8080")]
    pub listen: SocketAddr,

    /// Address of the admin port: /healthz, /readyz, /metrics, /debug/front.
    #[arg(long, env = "SPOTSCALE_FRONT_ADMIN_LISTEN", default_value = "0.0.0.0:8092")]
    pub admin_listen: SocketAddr,

    /// Path on the clients' port that answers GET as the admin port's /readyz does, for load balancers that can only
    /// probe that port; any other path there is a request, and wakes its service. The path is then no service's. None
    /// when not given.
    #[arg(long, env = "SPOTSCALE_FRONT_HEALTH_PATH")]
    pub health_path: Option<String>,

    /// Name of the service, as the scaler knows it: `namespace/name` on Kubernetes.
    #[arg(long, env = "SPOTSCALE_FRONT_SERVICE", default_value = SERVICE_DEFAULT)]
    pub service: String,

    /// A further service and what belongs to it: NAME=/PATH-PREFIX or NAME=HOST. Each has its own hold queue. May
    /// be repeated; the first that fits is taken, and what fits none belongs to --service.
    #[arg(long = "route", env = "SPOTSCALE_FRONT_ROUTES", value_delimiter = ',')]
    pub routes: Vec<Route>,

    /// An endpoint: http://HOST:PORT (or h2c://HOST:PORT), optionally followed by tier=gpu|cpu, concurrency=N,
    /// service=NAME and the word leaving, for one that is used only while no other of its tier has a free slot. May be
    /// repeated.
    #[arg(long = "upstream", env = "SPOTSCALE_FRONT_UPSTREAMS", value_delimiter = ',')]
    pub upstreams: Vec<Listed>,

    /// A file with one endpoint a line, spelled as in --upstream. It is watched: what is added is used, what is
    /// removed gets nothing new.
    #[arg(long, env = "SPOTSCALE_FRONT_UPSTREAMS_FILE")]
    pub upstreams_file: Option<PathBuf>,

    /// Endpoints from a cluster.
    #[command(flatten)]
    pub kubernetes: Kubernetes,

    /// A scaler to report demand to: http://HOST:PORT, or https:// with --scaler-ca. May be repeated; a name with
    /// several addresses means all of them.
    #[arg(long = "scaler", env = "SPOTSCALE_FRONT_SCALERS", value_delimiter = ',')]
    pub scalers: Vec<ScalerAddress>,

    /// TLS to the scalers.
    #[command(flatten)]
    pub scaler_tls: ScalerTls,

    /// Holding requests.
    #[command(flatten)]
    pub hold: Hold,

    /// Talking to endpoints.
    #[command(flatten)]
    pub endpoints: Endpoints,

    /// Sending a request again.
    #[command(flatten)]
    pub retry: Retry,

    /// Bounds on clients.
    #[command(flatten)]
    pub bounds: Bounds,
}

/// How requests are held.
#[derive(Debug, Clone, Args, Serialize)]
#[group(skip)]
pub struct Hold {
    /// Requests that one service holds at a time, at most.
    #[arg(long, env = "SPOTSCALE_FRONT_HOLD_REQUESTS", default_value_t = 1000)]
    pub hold_requests: u64,

    /// Bytes of bodies that one service holds at a time, at most.
    #[arg(long, env = "SPOTSCALE_FRONT_HOLD_BYTES", default_value_t = 256 << 20)]
    pub hold_bytes: u64,

    /// Time from a request's arrival to the head of its response, at most; more than a cold start takes. A request may
    /// ask for less by the header `x-request-timeout-ms`.
    #[arg(long, env = "SPOTSCALE_FRONT_TIMEOUT", default_value = "240s")]
    pub timeout: Span,

    /// The cold start that `Retry-After` assumes until one was measured.
    #[arg(long, env = "SPOTSCALE_FRONT_COLD_START", default_value = "30s")]
    pub cold_start: Span,

    /// Time to finish running and held requests when told to stop.
    #[arg(long, env = "SPOTSCALE_FRONT_DRAIN_TIMEOUT", default_value = "30s")]
    pub drain_timeout: Span,
}

/// How endpoints are called.
#[derive(Debug, Clone, Args, Serialize)]
#[group(skip)]
pub struct Endpoints {
    /// Requests that one endpoint is sent at a time, unless it says otherwise.
    #[arg(long, env = "SPOTSCALE_FRONT_CONCURRENCY", default_value = "8")]
    pub concurrency: NonZeroU32,

    /// Path that answers 2xx when an endpoint is ready. It is probed before an endpoint is used and after it has
    /// failed.
    #[arg(long, env = "SPOTSCALE_FRONT_READY_PATH", default_value = "/readyz")]
    pub ready_path: String,

    /// Time for a connection to an endpoint, at most.
    #[arg(long, env = "SPOTSCALE_FRONT_CONNECT_TIMEOUT", default_value = "1s")]
    pub connect_timeout: Span,

    /// Longest pause between two probes of an endpoint that does not serve.
    #[arg(long, env = "SPOTSCALE_FRONT_PROBE_INTERVAL", default_value = "250ms")]
    pub probe_interval: Span,

    /// Idle connections are closed after this; keep it below the endpoints' own keep-alive.
    #[arg(long, env = "SPOTSCALE_FRONT_UPSTREAM_IDLE", default_value = "4s")]
    pub upstream_idle: Span,

    /// A response that brings no byte for this long is given up, and its client connection cut.
    #[arg(long, env = "SPOTSCALE_FRONT_STREAM_IDLE", default_value = "60s")]
    pub stream_idle: Span,
}

/// When a request may be sent again.
#[derive(Debug, Clone, Args, Serialize)]
#[group(skip)]
pub struct Retry {
    /// Requests to paths with this prefix may be processed twice without harm, whatever their method. GET, HEAD, PUT,
    /// DELETE and OPTIONS always may. May be repeated.
    #[arg(
        long = "idempotent-path",
        env = "SPOTSCALE_FRONT_IDEMPOTENT_PATHS",
        value_delimiter = ','
    )]
    pub idempotent_paths: Vec<String>,

    /// Retries allowed per request that arrives.
    #[arg(long, env = "SPOTSCALE_FRONT_RETRY_RATIO", default_value_t = 0.2)]
    pub retry_ratio: f64,

    /// Retries allowed per second besides, so that quiet services can retry too. Ten seconds' worth are saved up.
    #[arg(long, env = "SPOTSCALE_FRONT_RETRY_PER_SECOND_MIN", default_value_t = 10)]
    pub retry_per_second_min: u32,

    /// Bytes of a request body that are kept so that it can be sent again.
    #[arg(long, env = "SPOTSCALE_FRONT_REPLAY_BYTES", default_value_t = 8 << 20)]
    pub replay_bytes: u64,
}

/// What a client may use.
#[derive(Debug, Clone, Args, Serialize)]
#[group(skip)]
pub struct Bounds {
    /// Bytes of a request body, at most.
    #[arg(long, env = "SPOTSCALE_FRONT_BODY_BYTES", default_value_t = 64 << 20)]
    pub body_bytes: u64,

    /// Bytes of a request's head, at most (8192 or more).
    #[arg(long, env = "SPOTSCALE_FRONT_HEAD_BYTES", default_value_t = 64 << 10)]
    pub head_bytes: usize,

    /// Client connections at a time, at most.
    #[arg(long, env = "SPOTSCALE_FRONT_CONNECTIONS", default_value_t = 10_000)]
    pub connections: usize,

    /// Time for a client to send the head of a request, at most, from its first byte on.
    #[arg(long, env = "SPOTSCALE_FRONT_HEAD_TIMEOUT", default_value = "30s")]
    pub head_timeout: Span,

    /// Client connections without a request are closed after this; keep it above the idle time of the load balancer
    /// in front, which may send a request at that very moment. (Google's keeps connections for 600s.)
    #[arg(long, env = "SPOTSCALE_FRONT_CLIENT_IDLE", default_value = "620s")]
    pub client_idle: Span,
}

/// Flags that are each fine and together are not.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// A value is outside of what works.
    #[error("{flag}: {why}")]
    Invalid {
        /// The flag as it is spelled.
        flag: &'static str,
        /// What would work.
        why: String,
    },
    /// The file of endpoints cannot be used.
    #[error("--upstreams-file: {0}")]
    UpstreamsFile(#[from] FileError),
    /// The files for TLS to the scalers cannot be used.
    #[error(transparent)]
    ScalerTls(#[from] TlsError),
}

impl Config {
    /// Checks what one flag alone cannot tell.
    pub fn validate(&self) -> Result<(), ConfigError> {
        let check = |is_right: bool, flag, why: &str| {
            if is_right { Ok(()) } else { Err(ConfigError::Invalid { flag, why: why.to_owned() }) }
        };
        let Self { hold, endpoints, retry, bounds, .. } = self;
        let starts_with_slash = |path: &String| path.starts_with('/');
        check(is_service_name(&self.service), "--service", "wanted a name such as team/resnet")?;
        let health_path = self.health_path.as_ref();
        check(health_path.is_none_or(starts_with_slash), "--health-path", "wanted a path from /")?;
        check(hold.hold_requests > 0, "--hold-requests", "wanted 1 or more")?;
        for (flag, span) in [
            ("--timeout", hold.timeout),
            ("--connect-timeout", endpoints.connect_timeout),
            ("--stream-idle", endpoints.stream_idle),
            ("--head-timeout", bounds.head_timeout),
            ("--client-idle", bounds.client_idle),
        ] {
            check(!span.0.is_zero(), flag, "wanted more than zero")?;
        }
        let fits = endpoints.concurrency.get() <= CONCURRENCY_MAX;
        check(fits, "--concurrency", "wanted 1 to 10000")?;
        check(starts_with_slash(&endpoints.ready_path), "--ready-path", "wanted a path from /")?;
        let is_probe_sane = endpoints.probe_interval.0 >= Duration::from_millis(10);
        check(is_probe_sane, "--probe-interval", "wanted 10ms or more")?;
        let all_paths = retry.idempotent_paths.iter().all(starts_with_slash);
        check(all_paths, "--idempotent-path", "wanted prefixes from /")?;
        check((0.0..=1.0).contains(&retry.retry_ratio), "--retry-ratio", "wanted 0 to 1")?;
        check(bounds.head_bytes >= 8192, "--head-bytes", "wanted 8192 or more")?;
        check(bounds.connections > 0, "--connections", "wanted 1 or more")?;
        let replay_fits = retry.replay_bytes <= hold.hold_bytes;
        check(replay_fits, "--replay-bytes", "wanted no more than --hold-bytes")?;
        self.scaler_tls.validate(&self.scalers)?;
        self.kubernetes.validate(self)?;
        source::initial(self)?;
        Ok(())
    }

    /// The names of its services, its own first.
    pub(super) fn service_names(&self) -> Vec<&str> {
        let mut names = vec![self.service.as_str()];
        for route in &self.routes {
            if !names.contains(&route.service.as_str()) {
                names.push(&route.service);
            }
        }
        names
    }

    /// Binds both ports.
    pub async fn bind(&self) -> Result<Listeners, BindError> {
        Listeners::bind(self.listen, self.admin_listen).await
    }
}
