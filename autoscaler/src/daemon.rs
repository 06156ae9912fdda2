//! The daemon: what it works with, put together, and its run from the first look to the last save.

mod at_work;
mod bookkeeping;
mod judgement;

use std::{collections::BTreeMap, sync::Arc};

use axum::Router;
use prometheus_client::registry::Registry;
use tokio::{
    sync::watch,
    time::{sleep, timeout},
};
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};

use self::at_work::AtWork;
use crate::{
    accounts::SharedBooks,
    admin::{self, Shown},
    cluster::Cluster,
    config::{Config, ConfigError},
    fates::Fates,
    gate::{Alone, Gate},
    market::Market,
    metrics::Metrics,
    notices::NoticeSource,
    queue::Queue,
    state::{Decision, State, States},
    vault::Vault,
};

/// Who is told of decisions.
pub type Tell = Arc<dyn Fn(&Decision) + Send + Sync>;

/// The daemon, and what it works with.
pub struct Daemon {
    config: Config,
    cluster: Arc<dyn Cluster>,
    market: Arc<dyn Market>,
    gate: Arc<dyn Gate>,
    vault: Option<Arc<dyn Vault>>,
    notices: Option<Arc<dyn NoticeSource>>,
    fates: Option<Arc<dyn Fates>>,
    told: Option<Tell>,
    accounts: SharedBooks,
    states: watch::Sender<Option<Arc<State>>>,
    metrics: Metrics,
    registry: Arc<Registry>,
}

impl Daemon {
    /// A daemon that has its cluster to itself and keeps nothing over a restart.
    pub fn new(
        config: Config,
        cluster: Arc<dyn Cluster>,
        market: Arc<dyn Market>,
    ) -> Result<Self, ConfigError> {
        config.validate()?;
        let baseline = config.baseline(&config.machines(&BTreeMap::new()));
        let accounts = SharedBooks::new(baseline.ok_or(ConfigError::NoMachine)?);
        let (metrics, mut registry) = (Metrics::default(), Registry::default());
        metrics.register(&mut registry);
        Ok(Self {
            config,
            cluster,
            market,
            gate: Arc::new(Alone),
            vault: None,
            notices: None,
            fates: None,
            told: None,
            accounts,
            states: watch::Sender::new(None),
            metrics,
            registry: Arc::new(registry),
        })
    }

    /// Counts where others count too.
    pub fn with_registry(self, mut registry: Registry) -> Self {
        self.metrics.register(&mut registry);
        Self { registry: Arc::new(registry), ..self }
    }

    /// Acts only while the gate is open.
    pub fn with_gate(self, gate: Arc<dyn Gate>) -> Self {
        Self { gate, ..self }
    }

    /// Goes on after a restart where it was. A dry run keeps nothing.
    pub fn with_vault(self, vault: Arc<dyn Vault>) -> Self {
        Self { vault: Some(vault), ..self }
    }

    /// Takes the provider's notices off a queue, while it leads. A dry run takes none.
    pub fn with_notices(self, notices: Arc<dyn NoticeSource>) -> Self {
        Self { notices: Some(notices), ..self }
    }

    /// Asks what became of machines that are gone without a word, while it leads. A dry run asks, too: it is to be right,
    /// and asking changes nothing.
    pub fn with_fates(self, fates: Arc<dyn Fates>) -> Self {
        Self { fates: Some(fates), ..self }
    }

    /// Hands on every decision that was acted on. It must not wait.
    pub fn with_witness(self, tell: Tell) -> Self {
        Self { told: Some(tell), ..self }
    }

    /// The state after each tick; nothing before the first.
    pub fn states(&self) -> States {
        self.states.subscribe()
    }

    /// The money, up to the last tick.
    pub fn books(&self) -> SharedBooks {
        self.accounts.clone()
    }

    /// `/healthz`, `/readyz`, `/metrics`, `/debug/plan`, and of the money `/debug/ledger` and `/ledger.csv`.
    pub fn router(&self) -> Router {
        admin::router(Shown {
            states: self.states(),
            books: self.books(),
            metrics: self.metrics.clone(),
            registry: Arc::clone(&self.registry),
        })
    }

    /// Runs until `shutdown`, and then to the end of the step that is being done and of the last save. A cluster, a
    /// market or a vault that does not answer is asked again; nothing here is fatal.
    pub async fn run(self, shutdown: CancellationToken) {
        let reading = self
            .queue()
            .map(|queue| AbortOnDropHandle::new(tokio::spawn(queue.run(shutdown.clone()))));
        let call_timeout = self.config.call_timeout;
        let mut at_work = AtWork::new(self, shutdown.clone());
        while !shutdown.is_cancelled() {
            let pause = at_work.tick().await;
            shutdown.run_until_cancelled(sleep(pause)).await;
        }
        if let Some(reading) = reading {
            // What it was telling a node is told.
            let _ = timeout(call_timeout, reading).await;
        }
        at_work.end().await;
    }

    fn queue(&self) -> Option<Queue> {
        let source = self.notices.clone().filter(|_| !self.config.dry_run)?;
        Some(Queue {
            source,
            cluster: Arc::clone(&self.cluster),
            gate: Arc::clone(&self.gate),
            states: self.states(),
            call_timeout: self.config.call_timeout,
            metrics: self.metrics.clone(),
        })
    }
}
