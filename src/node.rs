//! `spotscale node`: watches the EC2 metadata of the machine that it runs on, and leaves its notices on its own Node.

use std::{net::SocketAddr, sync::Arc};

use anyhow::Context as _;
use clap::Args;
use prometheus_client::registry::Registry;
use serde::Serialize;
use spotscale_admin::Admin;
use spotscale_autoscaler::{
    NodeNotices, Unwritten,
    kubernetes::{OwnNode, connect},
};
use spotscale_aws::{Imds, ImdsConfig, Metrics, watch};
use spotscale_decide::units::NodeName;
use tokio::net::TcpListener;

use crate::role;

/// The flags of the watcher on a node.
#[derive(Debug, Clone, Args, Serialize)]
#[group(skip)]
pub(crate) struct Config {
    #[command(flatten)]
    imds: ImdsConfig,

    /// Another address of the instance metadata than EC2's own.
    #[arg(long, env = "AWS_EC2_METADATA_SERVICE_ENDPOINT")]
    imds_endpoint: Option<String>,

    /// The Node that this is.
    #[arg(long, env = "NODE_NAME")]
    node: NodeName,

    /// Write nothing on the Node: tell of what is heard in the log and the metrics alone.
    #[arg(long, env = "SPOTSCALE_NODE_DRY_RUN")]
    dry_run: bool,

    /// Address of the admin port: /healthz, /readyz, /metrics.
    #[arg(long, env = "SPOTSCALE_NODE_ADMIN_LISTEN", default_value = "0.0.0.0:9405")]
    admin_listen: SocketAddr,
}

pub(crate) async fn main(config: Config) -> anyhow::Result<()> {
    config.imds.validate()?;
    let imds = config.imds_endpoint.as_deref().map_or_else(|| Ok(Imds::new()), Imds::at)?;
    let told: Box<dyn NodeNotices> = if config.dry_run {
        Box::new(Unwritten)
    } else {
        Box::new(OwnNode::new(connect().await?, config.node.clone()))
    };
    let listener = TcpListener::bind(config.admin_listen).await;
    let listener = listener.with_context(|| format!("--admin-listen {}", config.admin_listen))?;
    role::announce("node", &serde_json::json!({ "admin": listener.local_addr()? }))?;
    let shutdown = role::shutdown_on_signals()?;
    tracing::info!(config = %serde_json::to_string(&config)?, "node watcher starts");

    let (metrics, mut registry) = (Metrics::default(), Registry::default());
    metrics.register(&mut registry);
    let (_keep, ready) = tokio::sync::watch::channel(Ok(()));
    let admin = Admin { ready, registry: Arc::new(registry) };
    let pages = tokio::spawn(spotscale_admin::serve(listener, admin.router(), shutdown.clone()));
    watch(&config.imds, &imds, &*told, &metrics, shutdown).await;
    pages.await?.context("the admin port")
}
