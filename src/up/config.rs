//! The flags of local mode, their checks, and the ports that it binds before anything is served.

use std::{net::SocketAddr, path::PathBuf};

use clap::Args;
use serde::Serialize;
use spotscale_decide::units::Span;
use tokio::net::TcpListener;

use super::view::Addresses;

/// Every role on this machine: no cluster, no cloud account.
#[derive(Debug, Clone, Args, Serialize)]
pub(crate) struct Config {
    /// Address of the service: the front, which clients call
    #[arg(long, env = "SPOTSCALE_UP_LISTEN", default_value = "127.0.0.1:8080")]
    pub(crate) listen: SocketAddr,

    /// Address of the KEDA external scaler (gRPC)
    #[arg(long, env = "SPOTSCALE_UP_SCALER_LISTEN", default_value = "127.0.0.1:6000")]
    pub(crate) scaler_listen: SocketAddr,

    /// Address of the console page; also /metrics and /healthz
    #[arg(long, env = "SPOTSCALE_UP_CONSOLE_LISTEN", default_value = "127.0.0.1:8090")]
    pub(crate) console_listen: SocketAddr,

    /// ONNX image classifier to serve
    #[arg(long, env = "SPOTSCALE_MODEL")]
    pub(crate) model: PathBuf,

    /// Most replicas; when not given, what this machine has memory for, 5 to 20
    #[arg(long, env = "SPOTSCALE_UP_MAX_REPLICAS")]
    pub(crate) max_replicas: Option<u32>,

    /// What 95 % of the requests are to stay under, in milliseconds
    #[arg(long, env = "SPOTSCALE_UP_SLO_MS", default_value_t = 500)]
    pub(crate) slo_ms: u64,

    /// Price series of the virtual nodes, played from now on: CSV with the columns timestamp, instance type, zone,
    /// capacity type and US dollars per hour. A short illustrative one is bundled
    #[arg(long, env = "SPOTSCALE_UP_PRICES")]
    pub(crate) prices: Option<PathBuf>,

    /// Scenario to play and then end: a TOML file, or `day` for the bundled one
    #[arg(long, env = "SPOTSCALE_UP_SCENARIO")]
    pub(crate) scenario: Option<String>,

    /// Pictures (PNG, JPEG) that a scenario sends
    #[arg(long, env = "SPOTSCALE_PICTURES")]
    pub(crate) pictures: Option<PathBuf>,

    /// Folder for the report of a scenario
    #[arg(long, env = "SPOTSCALE_UP_REPORT", default_value = "spotscale-report")]
    pub(crate) report: PathBuf,

    /// Folder for the logs of the replicas, one file each
    #[arg(long, env = "SPOTSCALE_UP_LOGS", default_value_os_t = default_logs())]
    pub(crate) logs: PathBuf,

    /// How fast the local cluster moves
    #[command(flatten)]
    pub(crate) pace: Pace,
}

/// How fast the local cluster moves. A cluster in a cloud is slower in all of these.
#[derive(Debug, Clone, Args, Serialize)]
#[group(skip)]
pub(crate) struct Pace {
    /// Time from the launch of a virtual node to its being ready
    #[arg(long, env = "SPOTSCALE_UP_PROVISIONING", default_value = "2s")]
    pub(crate) provisioning: Span,

    /// What a replica may take to end after SIGTERM
    #[arg(long, env = "SPOTSCALE_UP_GRACE", default_value = "4s")]
    pub(crate) grace: Span,

    /// KEDA's `pollingInterval`
    #[arg(long, env = "SPOTSCALE_UP_POLLING_INTERVAL", default_value = "2s")]
    pub(crate) polling_interval: Span,

    /// KEDA's `cooldownPeriod`: from the last activity to zero replicas
    #[arg(long, env = "SPOTSCALE_UP_COOLDOWN", default_value = "5s")]
    pub(crate) cooldown: Span,

    /// Time between two syncs of the HPA
    #[arg(long, env = "SPOTSCALE_UP_HPA_SYNC", default_value = "2s")]
    pub(crate) hpa_sync: Span,

    /// Stabilisation window of the HPA and of the scaler before they shrink
    #[arg(long, env = "SPOTSCALE_UP_STABILISATION", default_value = "10s")]
    pub(crate) stabilisation: Span,

    /// How long nothing must have arrived before the scaler calls the service idle
    #[arg(long, env = "SPOTSCALE_UP_IDLE_AFTER", default_value = "10s")]
    pub(crate) idle_after: Span,
}

/// Flags that cannot work.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConfigError {
    /// Local mode is for this machine only.
    #[error("--{flag} {address}: wanted a loopback address, local mode is for this machine only")]
    NotLoopback {
        /// The flag.
        flag: &'static str,
        /// What was given.
        address: SocketAddr,
    },
    /// A number that must be positive is not.
    #[error("--{flag} must be more than zero")]
    Zero {
        /// The flag.
        flag: &'static str,
    },
    /// A file or folder that is not there.
    #[error("--{flag} {path}: {why}", path = .path.display())]
    Path {
        /// The flag.
        flag: &'static str,
        /// What was given.
        path: PathBuf,
        /// What the system says.
        why: std::io::Error,
    },
    /// A scenario needs something to send.
    #[error("--scenario needs --pictures, a folder of pictures to send (make demo brings one)")]
    NoPictures,
}

/// A port that cannot be had.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address} (--{flag}): {why}")]
pub(crate) struct BindError {
    flag: &'static str,
    address: SocketAddr,
    why: std::io::Error,
}

/// The bound ports.
pub(crate) struct Listeners {
    pub(crate) front: TcpListener,
    pub(crate) scaler: TcpListener,
    pub(crate) console: TcpListener,
    /// Admin ports of the roles, on ports of the system's choice: only `observe` calls them.
    pub(crate) front_admin: TcpListener,
    pub(crate) scaler_admin: TcpListener,
    pub(crate) scaler_health: TcpListener,
    pub(crate) autoscaler_admin: TcpListener,
}

impl Config {
    /// Checks what one flag alone cannot tell, and that what is named is there.
    pub(crate) fn validate(&self) -> Result<(), ConfigError> {
        let listens = [
            ("listen", self.listen),
            ("scaler-listen", self.scaler_listen),
            ("console-listen", self.console_listen),
        ];
        if let Some((flag, address)) = listens.into_iter().find(|(_, a)| !a.ip().is_loopback()) {
            return Err(ConfigError::NotLoopback { flag, address });
        }
        let positive = [
            ("max-replicas", self.max_replicas != Some(0)),
            ("slo-ms", self.slo_ms > 0),
            ("polling-interval", !self.pace.polling_interval.0.is_zero()),
            ("hpa-sync", !self.pace.hpa_sync.0.is_zero()),
            ("grace", !self.pace.grace.0.is_zero()),
        ];
        if let Some((flag, _)) = positive.into_iter().find(|(_, fine)| !fine) {
            return Err(ConfigError::Zero { flag });
        }
        if self.scenario.is_some() && self.pictures.is_none() {
            return Err(ConfigError::NoPictures);
        }
        let paths = [
            ("model", Some(&self.model)),
            ("prices", self.prices.as_ref()),
            ("pictures", self.pictures.as_ref()),
        ];
        paths.into_iter().try_for_each(|(flag, path)| readable(flag, path))
    }

    /// Binds every port.
    pub(crate) async fn bind(&self) -> Result<Listeners, BindError> {
        let own_choice = SocketAddr::from(([127, 0, 0, 1], 0));
        Ok(Listeners {
            front: bind("listen", self.listen).await?,
            scaler: bind("scaler-listen", self.scaler_listen).await?,
            console: bind("console-listen", self.console_listen).await?,
            front_admin: bind("listen", own_choice).await?,
            scaler_admin: bind("scaler-listen", own_choice).await?,
            scaler_health: bind("scaler-listen", own_choice).await?,
            autoscaler_admin: bind("console-listen", own_choice).await?,
        })
    }
}

impl Listeners {
    /// Where clients find what.
    pub(crate) fn addresses(&self) -> std::io::Result<Addresses> {
        Ok(Addresses {
            front: self.front.local_addr()?,
            scaler: self.scaler.local_addr()?,
            console: self.console.local_addr()?,
        })
    }
}

async fn bind(flag: &'static str, address: SocketAddr) -> Result<TcpListener, BindError> {
    TcpListener::bind(address).await.map_err(|why| BindError { flag, address, why })
}

fn readable(flag: &'static str, path: Option<&PathBuf>) -> Result<(), ConfigError> {
    let Some(path) = path else { return Ok(()) };
    std::fs::metadata(path).map(|_| ()).map_err(|why| ConfigError::Path {
        flag,
        path: path.clone(),
        why,
    })
}

fn default_logs() -> PathBuf {
    std::env::temp_dir().join(format!("spotscale-up-{}", std::process::id()))
}
