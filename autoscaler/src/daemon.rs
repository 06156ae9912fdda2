//! The loop: observe, decide, execute. What time it is, the cluster says.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use axum::Router;
use jiff::Timestamp;
use prometheus_client::registry::Registry;
use spotscale_decide::{
    cluster::Observation,
    ledger::{Baseline, Ledger},
    planner::{self, Memory, Plan, Policy, Snapshot},
    prices::PriceBook,
    units::Millis,
};
use tokio::{
    sync::watch,
    time::{Instant, sleep, timeout},
};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::{
    admin,
    cluster::Cluster,
    config::{Config, ConfigError},
    execute::{Executor, Report},
    market::{Market, MarketError},
    metrics::Metrics,
    state::{Decision, Outcome, State},
};

/// Decisions that are kept to be shown.
const DECISIONS_MAX: usize = 100;
/// However pressing the next moment is, the cluster is given so much time in between.
const PAUSE_MIN: Duration = Duration::from_millis(20);

/// The daemon.
pub struct Daemon {
    config: Config,
    policy: Policy,
    baseline: Baseline,
    cluster: Arc<dyn Cluster>,
    market: Arc<dyn Market>,
    states: watch::Sender<Option<State>>,
    metrics: Metrics,
    registry: Arc<Registry>,
    memory: Memory,
    ledger: Ledger,
    prices: Prices,
    decisions: VecDeque<Decision>,
}

#[derive(Default)]
struct Prices {
    book: PriceBook,
    asked_at: Option<Instant>,
    answered_at: Option<Instant>,
}

impl Daemon {
    /// A daemon that has not looked yet.
    pub fn new(
        config: Config,
        cluster: Arc<dyn Cluster>,
        market: Arc<dyn Market>,
    ) -> Result<Self, ConfigError> {
        config.validate()?;
        let baseline = config.baseline().ok_or(ConfigError::NoMachine)?;
        let (metrics, mut registry) = (Metrics::default(), Registry::default());
        metrics.register(&mut registry);
        Ok(Self {
            policy: config.policy(),
            config,
            baseline,
            cluster,
            market,
            states: watch::Sender::new(None),
            metrics,
            registry: Arc::new(registry),
            memory: Memory::default(),
            ledger: Ledger::default(),
            prices: Prices::default(),
            decisions: VecDeque::new(),
        })
    }

    /// The state after each tick; nothing before the first.
    pub fn states(&self) -> watch::Receiver<Option<State>> {
        self.states.subscribe()
    }

    /// `/metrics` and `/debug/plan`.
    pub fn router(&self) -> Router {
        admin::router(self.states(), Arc::clone(&self.registry))
    }

    /// Runs until `shutdown`. A cluster or a market that does not answer is asked again; nothing here is fatal.
    pub async fn run(mut self, shutdown: CancellationToken) {
        while let Some(pause) = shutdown.run_until_cancelled(self.tick()).await {
            if shutdown.run_until_cancelled(sleep(pause)).await.is_none() {
                break;
            }
        }
    }

    /// One look at the world, and what follows from it. How long to wait for the next.
    async fn tick(&mut self) -> Duration {
        let seen = match self.executor().observe().await {
            Ok(seen) => seen,
            Err(error) => {
                warn!(%error, "nothing was observed");
                return self.config.tick;
            }
        };
        self.refresh_prices(seen.at).await;
        self.ledger.observe(&seen, &self.prices.book);
        let (snapshot, plan) = self.decide(seen);
        let report = self.executor().execute(snapshot.seen.at, &plan).await;
        self.learn(snapshot.seen.at, report);
        let pause = self.pause(snapshot.seen.at, &plan);
        self.publish(snapshot, plan);
        pause
    }

    fn executor(&self) -> Executor<'_> {
        Executor {
            cluster: &*self.cluster,
            call_timeout: self.config.call_timeout,
            metrics: &self.metrics,
        }
    }

    /// Asks for prices when they are due. Without an answer the last ones stay in use, and their age is told.
    async fn refresh_prices(&mut self, now: Timestamp) {
        let due = |asked: Instant| asked.elapsed() >= self.config.price_refresh;
        if self.prices.asked_at.is_none_or(due) || self.prices.answered_at.is_none() {
            let asked_at = Instant::now();
            self.prices.asked_at = Some(asked_at);
            match timeout(self.config.call_timeout, self.market.prices(now)).await {
                Ok(Ok(book)) => {
                    (self.prices.book, self.prices.answered_at) = (book, Some(asked_at));
                }
                Ok(Err(error)) => self.market_failed(&error),
                Err(_) => self.market_failed(&MarketError::Unavailable("no answer".to_owned())),
            }
        }
        let age = self.prices.answered_at.map_or(f64::INFINITY, |at| at.elapsed().as_secs_f64());
        self.metrics.price_age_seconds(age);
    }

    fn market_failed(&self, error: &MarketError) {
        warn!(%error, "no new prices");
        self.metrics.failure("prices", error.kind());
    }

    fn decide(&mut self, seen: Observation) -> (Snapshot, Plan) {
        let prices = self.prices.book.all_at(seen.at);
        let price_age_ms = self
            .prices
            .answered_at
            .map(|at| Millis(u64::try_from(at.elapsed().as_millis()).unwrap_or(u64::MAX)));
        let snapshot = Snapshot { seen, prices, price_age_ms };
        let memory = std::mem::take(&mut self.memory);
        let (plan, memory) = planner::plan(&self.policy, &snapshot, memory);
        self.memory = memory;
        for notice in &plan.noticed {
            info!(node = %notice.node, kind = notice.kind.kind(), "the provider gave notice");
        }
        (snapshot, plan)
    }

    /// What a plan came to is remembered for the next.
    fn learn(&mut self, now: Timestamp, report: Report) {
        for launch in &report.no_capacity {
            self.memory.no_capacity(&self.policy.offers, launch, now);
        }
        for decision in report.decisions {
            if decision.outcome == Outcome::Dropped {
                self.memory.dropped(&decision.action);
            }
            self.decisions.push_back(decision);
        }
        let too_many = self.decisions.len().saturating_sub(DECISIONS_MAX);
        self.decisions.drain(..too_many);
    }

    fn pause(&self, now: Timestamp, plan: &Plan) -> Duration {
        let until = plan.wait_until.map(|until| Millis::between(now, until));
        let until = until.map_or(Duration::MAX, |wait| Duration::from_millis(wait.0));
        until.clamp(PAUSE_MIN.min(self.config.tick), self.config.tick)
    }

    fn publish(&self, snapshot: Snapshot, plan: Plan) {
        let totals = self.ledger.totals(&self.baseline, &self.prices.book, snapshot.seen.at);
        let state = State {
            snapshot,
            plan,
            memory: self.memory.clone(),
            totals,
            decisions: self.decisions.clone(),
        };
        self.metrics.tick(self.states.borrow().as_ref(), &state);
        self.states.send_replace(Some(state));
    }
}
