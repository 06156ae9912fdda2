//! `spotscale autoscaler`: the cost-aware daemon of a Kubernetes cluster as a process. Of several instances one acts.

use std::{net::SocketAddr, path::PathBuf, str::FromStr, sync::Arc};

use anyhow::Context as _;
use clap::Args;
use jiff::Timestamp;
use prometheus_client::registry::Registry;
use serde::{Serialize, Serializer};
use spotscale_autoscaler::{
    Daemon, FileMarket, Market, Playback, Tell,
    kubernetes::{
        ConfigMapVault, Election, ElectionConfig, Events, KubeCluster, Kubernetes, connect,
    },
};
use spotscale_aws::{Ec2Fates, Ec2Market, Metrics, NoticeQueue};
use tokio::net::TcpListener;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::role;

/// The flags of the daemon, of its cluster and of its market.
#[derive(Debug, Clone, Args, Serialize)]
#[group(skip)]
pub(crate) struct Config {
    #[command(flatten)]
    daemon: spotscale_autoscaler::Config,
    #[command(flatten, next_help_heading = "Kubernetes")]
    kubernetes: Kubernetes,
    #[command(flatten, next_help_heading = "AWS")]
    aws: spotscale_aws::Config,
    #[command(flatten, next_help_heading = "Process")]
    process: Process,
}

/// The process among its instances.
#[derive(Debug, Clone, Args, Serialize)]
#[group(skip)]
struct Process {
    /// Where prices come from: `aws`, or `file:PATH`, a CSV series whose first moment is played now.
    #[arg(long, env = "SPOTSCALE_AUTOSCALER_MARKET", default_value = "aws")]
    market: MarketSource,

    /// Address of the admin port: /healthz, /readyz, /metrics, /debug/plan, /debug/ledger, /ledger.csv.
    #[arg(long, env = "SPOTSCALE_AUTOSCALER_ADMIN_LISTEN", default_value = "0.0.0.0:9404")]
    admin_listen: SocketAddr,

    /// Namespace of the Lease and of the `ConfigMap` that keeps the ledger.
    #[arg(long, env = "POD_NAMESPACE", default_value = "default")]
    namespace: String,

    /// Name of the Lease, and of the `ConfigMap`. Instances that share it act for each other.
    #[arg(long, env = "SPOTSCALE_AUTOSCALER_LEASE", default_value = "spotscale-autoscaler")]
    lease: String,

    /// What this instance is called in the Lease; a random ending is added.
    #[arg(long, env = "POD_NAME", default_value = "spotscale-autoscaler")]
    instance: String,
}

/// Where prices come from.
#[derive(Debug, Clone, PartialEq, Eq)]
enum MarketSource {
    Aws,
    File(PathBuf),
}

/// What of AWS is used, if any of it is.
#[derive(Default)]
struct Aws {
    market: Option<Ec2Market>,
    notices: Option<NoticeQueue>,
    fates: Option<Ec2Fates>,
}

pub(crate) async fn main(config: Config) -> anyhow::Result<()> {
    config.daemon.validate()?;
    config.aws.validate()?;
    let mut registry = Registry::default();
    let Aws { market, notices, fates } = config.aws(&mut registry).await?;
    let market = config.market(market)?;
    let client = connect().await?;
    let admin = TcpListener::bind(config.process.admin_listen).await;
    let admin = admin.with_context(|| format!("--admin-listen {}", config.process.admin_listen))?;
    role::announce("autoscaler", &serde_json::json!({ "admin": admin.local_addr()? }))?;
    let shutdown = role::shutdown_on_signals()?;
    tracing::info!(config = %serde_json::to_string(&config)?, "autoscaler starts");

    let (tasks, watching) = (TaskTracker::new(), CancellationToken::new());
    let settings = config.kubernetes.clone();
    let cluster = KubeCluster::start(client.clone(), settings, &tasks, &watching);
    cluster.register(&mut registry);
    let Process { namespace, lease, instance, .. } = &config.process;
    let identity = format!("{instance}-{:08x}", fastrand::u32(..));
    let mut daemon = Daemon::new(config.daemon.clone(), Arc::clone(&cluster) as _, market)?
        .with_registry(registry)
        .with_vault(Arc::new(ConfigMapVault::new(client.clone(), namespace, lease)));
    // A dry run writes nothing, a Lease included.
    let election = (!config.daemon.dry_run).then(|| {
        Arc::new(Election::start(client, ElectionConfig::new(namespace, lease, &identity)))
    });
    if let Some(election) = &election {
        let events = Events::start(&cluster, &identity, &tasks, &watching);
        let tell: Tell = Arc::new(move |decision| events.tell(decision));
        daemon = daemon.with_gate(Arc::clone(election) as _).with_witness(tell);
    }
    if let Some(notices) = notices {
        daemon = daemon.with_notices(Arc::new(notices));
    }
    if let Some(fates) = fates {
        daemon = daemon.with_fates(Arc::new(fates));
    }
    let pages = spotscale_admin::serve(admin, daemon.router(), watching.clone());
    let pages = tokio::spawn(pages);
    daemon.run(shutdown).await;
    if let Some(election) = election {
        election.release().await;
    }
    watching.cancel();
    tasks.close();
    tasks.wait().await;
    pages.await?.context("the admin port")
}

// === impl Config ===

impl Config {
    async fn aws(&self, registry: &mut Registry) -> anyhow::Result<Aws> {
        let prices = self.process.market == MarketSource::Aws;
        if !prices && self.aws.queue.interruption_queue.is_none() {
            return Ok(Aws::default());
        }
        let (sdk, metrics) = (self.aws.connect().await?, Metrics::default());
        metrics.register(registry);
        let notices = NoticeQueue::new(&self.aws.queue, &sdk, metrics.clone());
        let fates = Some(Ec2Fates::new(&sdk, metrics.clone()));
        let types = self.daemon.types();
        let market = prices.then(|| Ec2Market::new(&self.aws.market, &sdk, types, metrics));
        Ok(Aws { market: market.transpose()?, notices, fates })
    }

    fn market(&self, aws: Option<Ec2Market>) -> anyhow::Result<Arc<dyn Market>> {
        match (&self.process.market, aws) {
            (MarketSource::File(path), _) => {
                let playback = Playback { starts_at: Timestamp::now(), speed: 1 };
                Ok(Arc::new(FileMarket::open(path, playback).context("--market")?))
            }
            (MarketSource::Aws, aws) => Ok(Arc::new(aws.context("AWS is not connected")?)),
        }
    }
}

// === impl MarketSource ===

impl FromStr for MarketSource {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match (text, text.strip_prefix("file:")) {
            ("aws", _) => Ok(Self::Aws),
            (_, Some(path)) if !path.is_empty() => Ok(Self::File(path.into())),
            _ => Err(format!("{text:?} is not aws or file:PATH")),
        }
    }
}

impl Serialize for MarketSource {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Aws => serializer.serialize_str("aws"),
            Self::File(path) => serializer.collect_str(&format_args!("file:{}", path.display())),
        }
    }
}
