//! A daemon at work, and what it works with: all of it in memory, on the paused clock of a test, and able to fail.

mod parts;
mod world;

use std::{sync::Arc, time::Duration};

use axum::{body::Body, http::Request};
use clap::Parser;
use http_body_util::BodyExt;
use jiff::Timestamp;
use spotscale_autoscaler::{
    Config, Daemon, Fates, FileMarket, Gate, Market, NoticeSource, Playback, SharedBooks, State,
    States, Totals, Vault,
};
use tokio::{task::JoinHandle, time::sleep};
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

pub(crate) use self::{
    parts::{
        Answer, AskedMarket, BrokenMarket, HungMarket, ScriptedFates, ShapedMarket, SharedVault,
        Side, Turnstile,
    },
    world::{BOOT_SECS, Mishap, ScriptedCluster},
};

pub(crate) const SERIES: &str = "\
timestamp,instance_type,zone,capacity_type,usd_per_hour
2024-01-01T00:00:00Z,g4dn.xlarge,a,spot,0.36
2024-01-01T00:01:40Z,g4dn.xlarge,a,spot,0.72
2024-01-01T00:00:00Z,g4dn.xlarge,b,spot,0.37
2024-01-01T00:00:00Z,g4dn.xlarge,a,on-demand,3.6
";

/// A daemon at work.
pub(crate) struct Running {
    pub(crate) states: States,
    pub(crate) books: SharedBooks,
    pub(crate) router: axum::Router,
    pub(crate) shutdown: CancellationToken,
    pub(crate) task: JoinHandle<()>,
}

#[derive(Parser)]
struct Cli {
    #[command(flatten)]
    config: Config,
}

pub(crate) fn series(starts_at: Timestamp) -> FileMarket {
    FileMarket::parse(SERIES, Playback { starts_at, speed: 1 }).unwrap()
}

/// What a daemon of these tests has besides its cluster.
#[derive(Default)]
pub(crate) struct With {
    pub(crate) market: Option<Arc<dyn Market>>,
    pub(crate) vault: Option<Arc<dyn Vault>>,
    pub(crate) gate: Option<Arc<dyn Gate>>,
    pub(crate) notices: Option<Arc<dyn NoticeSource>>,
    pub(crate) fates: Option<Arc<dyn Fates>>,
    pub(crate) flags: &'static [&'static str],
}

impl Running {
    pub(crate) fn start(cluster: &Arc<ScriptedCluster>) -> Self {
        Self::with(cluster, With::default())
    }

    pub(crate) fn with_market(cluster: &Arc<ScriptedCluster>, market: Arc<dyn Market>) -> Self {
        Self::with(cluster, With { market: Some(market), ..With::default() })
    }

    pub(crate) fn with(cluster: &Arc<ScriptedCluster>, with: With) -> Self {
        let mut flags = vec!["daemon", "--machine=g4dn.xlarge=400"];
        if !with.flags.iter().any(|flag| flag.starts_with("--price-refresh=")) {
            flags.push("--price-refresh=10s");
        }
        let config = Cli::parse_from(flags.iter().chain(with.flags)).config;
        // The series begins with the cluster, however often the daemon does.
        let market = with.market.unwrap_or_else(|| Arc::new(series(cluster.origin)));
        let mut daemon = Daemon::new(config, cluster.clone(), market).unwrap();
        if let Some(vault) = with.vault {
            daemon = daemon.with_vault(vault);
        }
        if let Some(gate) = with.gate {
            daemon = daemon.with_gate(gate);
        }
        if let Some(notices) = with.notices {
            daemon = daemon.with_notices(notices);
        }
        if let Some(fates) = with.fates {
            daemon = daemon.with_fates(fates);
        }
        let (states, books, router) = (daemon.states(), daemon.books(), daemon.router());
        let shutdown = CancellationToken::new();
        let task = tokio::spawn(daemon.run(shutdown.clone()));
        Self { states, books, router, shutdown, task }
    }

    /// It is killed: whatever it was about to do, it does not.
    pub(crate) async fn kill(self) {
        self.task.abort();
        let _ = self.task.await;
    }

    /// Lets seconds pass; the state after them.
    pub(crate) async fn after(&self, seconds: u64) -> Arc<State> {
        sleep(Duration::from_secs(seconds) + Duration::from_millis(5)).await;
        self.states.borrow().clone().expect("nothing was observed")
    }

    /// The money up to the last look.
    pub(crate) fn totals(&self) -> Totals {
        self.books.read().expect("nothing is told of the money").totals()
    }

    /// What the daemon tells at a path.
    pub(crate) async fn get(&self, path: &str) -> String {
        self.page(path).await.1
    }

    /// The same, with the status.
    pub(crate) async fn page(&self, path: &str) -> (u16, String) {
        let request = Request::get(path).body(Body::empty()).unwrap();
        let response = self.router.clone().oneshot(request).await.unwrap();
        let status = response.status().as_u16();
        let body = response.into_body().collect().await.unwrap().to_bytes();
        (status, String::from_utf8(body.to_vec()).unwrap())
    }
}
