//! The loop: observe, decide, execute. What time it is, the cluster says. No tick waits for prices or for the vault.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::Arc,
    time::Duration,
};

use axum::Router;
use jiff::Timestamp;
use prometheus_client::registry::Registry;
use spotscale_decide::{
    cluster::Observation,
    ledger::Totals,
    offers::Shape,
    planner::{self, Action, Memory, Plan, Policy, Snapshot},
    units::{InstanceType, Millis},
};
use tokio::{
    sync::watch,
    time::{sleep, timeout},
};
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};
use tracing::{debug, info, warn};

use crate::{
    accounts::Shared,
    admin,
    cluster::Cluster,
    config::{Config, ConfigError},
    execute::{Executor, Report},
    fates::Fates,
    gate::{Alone, Gate},
    inquiry::Inquiry,
    keeper::Keeper,
    laps::Laps,
    market::Market,
    metrics::Metrics,
    notices::NoticeSource,
    queue::Queue,
    quotes::Quotes,
    saved::Saved,
    state::{Decision, Role, State, States},
    traffic::Counts,
    vault::Vault,
};

/// Decisions that are kept to be shown.
const DECISIONS_MAX: usize = 100;
/// However pressing the next moment is, the cluster is given so much time in between.
const PAUSE_MIN: Duration = Duration::from_millis(20);
/// The market's first answer is awaited for so long, and no later one.
const FIRST_PRICES: Duration = Duration::from_secs(1);

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
    accounts: Shared,
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
        let accounts = Shared::new(baseline.ok_or(ConfigError::NoMachine)?);
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

    /// `/healthz`, `/readyz`, `/metrics`, `/debug/plan`, and of the money `/debug/ledger` and `/ledger.csv`.
    pub fn router(&self) -> Router {
        admin::router(self.states(), self.accounts.clone(), Arc::clone(&self.registry))
    }

    /// Runs until `shutdown`, and then to the end of the step that is being done and of the last save. A cluster, a
    /// market or a vault that does not answer is asked again; nothing here is fatal.
    pub async fn run(self, shutdown: CancellationToken) {
        let reading = self
            .queue()
            .map(|queue| AbortOnDropHandle::new(tokio::spawn(queue.run(shutdown.clone()))));
        let mut at_work = AtWork::new(self, shutdown.clone());
        while !shutdown.is_cancelled() {
            let pause = at_work.tick().await;
            shutdown.run_until_cancelled(sleep(pause)).await;
        }
        if let Some(reading) = reading {
            // What it was telling a node is told.
            let _ = timeout(at_work.config.call_timeout, reading).await;
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

/// The daemon while it runs.
struct AtWork {
    config: Config,
    policy: Policy,
    executor: Executor,
    gate: Arc<dyn Gate>,
    quotes: Quotes,
    counts: Option<Counts>,
    inquiry: Option<Inquiry>,
    keeper: Keeper,
    accounts: Shared,
    memory: Memory,
    /// What it was before the last plan.
    memory_before: Memory,
    decisions: VecDeque<Decision>,
    states: watch::Sender<Option<Arc<State>>>,
    metrics: Metrics,
}

impl AtWork {
    fn new(daemon: Daemon, shutdown: CancellationToken) -> Self {
        let Daemon {
            config,
            cluster,
            market,
            gate,
            vault,
            fates,
            told,
            accounts,
            states,
            metrics,
            ..
        } = daemon;
        let vault = vault.filter(|_| !config.dry_run);
        let executor = Executor {
            cluster,
            gate: Arc::clone(&gate),
            call_timeout: config.call_timeout,
            evict_margin: config.disruption.evict_margin,
            shutdown,
            metrics: metrics.clone(),
            told: told.filter(|_| !config.dry_run),
        };
        let policy = config.policy();
        Self {
            counts: Counts::start(&config, &policy.offers.traffic, metrics.clone()),
            policy,
            executor,
            gate,
            inquiry: fates.map(|fates| Inquiry::start(fates, metrics.clone())),
            quotes: Quotes::start(market, &config, metrics.clone()),
            keeper: Keeper::new(vault, config.call_timeout, metrics.clone()),
            accounts,
            memory: Memory::default(),
            memory_before: Memory::default(),
            decisions: VecDeque::new(),
            states,
            metrics,
            config,
        }
    }

    /// One look at the world, and what follows from it. How long to wait for the next.
    async fn tick(&mut self) -> Duration {
        let mut laps = Laps::begin();
        let mut seen = match self.executor.observe().await {
            Ok(seen) => seen,
            Err(error) => {
                warn!(%error, "nothing was observed");
                return self.config.tick;
            }
        };
        let look_ms = laps.lap_ms();
        let quoted = self.quotes.now(seen.at, FIRST_PRICES).await;
        self.metrics.prices(quoted.answered_at);
        self.accounts.lock().enter(&quoted.book);
        self.policy.offers.prior.clone_from(&quoted.prior.interruptions_per_hour);
        let is_sized = self.size(quoted.shapes.as_deref(), &mut seen);
        let term = self.enter_term().await;
        let counts = self.config.dry_run || term.is_some_and(|term| self.keeper.has(term));
        let totals = self.account(&seen, counts, is_sized);
        let (snapshot, plan) = self.decide(seen, quoted.age_ms(), counts);
        let plan_ms = laps.lap_ms();
        self.carry_out(&snapshot, &plan, term).await;
        let act_ms = laps.lap_ms();
        if self.keeper.is_due(&snapshot.seen).await {
            self.save(&snapshot.seen);
        }
        let pause = self.pause(snapshot.seen.at, &plan);
        self.publish(snapshot, plan, (term, totals));
        self.metrics.tick_took(laps.total());
        debug!(look_ms, plan_ms, act_ms, show_ms = laps.lap_ms(), "a tick");
        pause
    }

    /// How many pods fit on each machine, where it follows from its type. Is that known?
    fn size(
        &mut self,
        shapes: Option<&BTreeMap<InstanceType, Shape>>,
        seen: &mut Observation,
    ) -> bool {
        let offers = &mut self.policy.offers;
        let machines = shapes.map(|shapes| self.config.machines(shapes));
        if let Some(machines) = machines.filter(|machines| machines != &offers.machines) {
            self.accounts.lock().hold_against(self.config.baseline(&machines));
            offers.machines = machines;
        }
        for node in &mut seen.nodes {
            if let Some(machine) = offers.machine(&node.offering.instance_type) {
                node.pods_max = machine.pods_max;
            }
        }
        shapes.is_some() || self.config.sizes_are_said()
    }

    /// The term in which we lead, if we do; at its beginning, what the leader before us left.
    async fn enter_term(&mut self) -> Option<u64> {
        let term = self.gate.term().filter(|_| !self.config.dry_run);
        let Some(term) = term else {
            self.keeper.let_go();
            return None;
        };
        if !self.keeper.has(term)
            && let Some(Saved { ledger, memory, prices, .. }) = self.keeper.load(term).await
        {
            self.accounts.lock().resume(ledger, &prices);
            self.memory = memory;
        }
        Some(term)
    }

    /// Enters what was seen, and what was learned of machines that are gone, into the ledger, if that is ours; the sums.
    fn account(&mut self, seen: &Observation, counts: bool, is_sized: bool) -> Totals {
        let mut accounts = self.accounts.lock();
        if counts {
            accounts.observe(seen);
        } else {
            accounts.hush();
        }
        if let Some(inquiry) = &mut self.inquiry {
            let learned = inquiry.learned();
            learned.iter().filter(|_| counts).for_each(|fate| accounts.learn(fate));
            inquiry.ask(accounts.open_ends().filter(|_| counts));
        }
        if counts {
            self.quotes.need(accounts.types_since());
        }
        // A baseline of too many machines would stay in the sums for ever.
        if counts && is_sized { accounts.totals(seen.at) } else { Totals::default() }
    }

    fn decide(
        &mut self,
        seen: Observation,
        price_age_ms: Option<Millis>,
        knows_spend: bool,
    ) -> (Snapshot, Plan) {
        let accounts = self.accounts.lock();
        // Of a type of which nothing is there any more, and that may not be bought, the price is old, and nobody's.
        let there: BTreeSet<_> =
            seen.nodes.iter().map(|node| &node.offering.instance_type).collect();
        let offers = &self.policy.offers;
        let is_wanted = |it: &InstanceType| offers.machine(it).is_some() || there.contains(it);
        let prices = accounts.prices_at(seen.at, is_wanted);
        let spent_this_month = knows_spend.then(|| accounts.spent_this_month(seen.at));
        drop(accounts);
        let traffic = self.counts.as_ref().and_then(Counts::now);
        let snapshot = Snapshot { seen, prices, price_age_ms, spent_this_month, traffic };
        let memory = std::mem::take(&mut self.memory);
        self.memory_before.clone_from(&memory);
        let (plan, memory) = planner::plan(&self.policy, &snapshot, memory);
        self.memory = memory;
        (snapshot, plan)
    }

    async fn carry_out(&mut self, snapshot: &Snapshot, plan: &Plan, term: Option<u64>) {
        let report = match term {
            Some(_) if plan.steps.is_empty() && plan.noticed.is_empty() => Report::default(),
            Some(term) => {
                for notice in &plan.noticed {
                    info!(node = %notice.node, kind = notice.kind.kind(), "the provider gave notice");
                }
                self.executor.execute(snapshot.seen.clone(), term, plan).await
            }
            None if self.config.dry_run => {
                let before = self.states.borrow();
                let before = before.as_ref().map_or(&[][..], |state| &state.plan.steps);
                self.executor.rehearse(snapshot.seen.at, before, plan)
            }
            None => Report::default(),
        };
        self.learn(snapshot.seen.at, plan, report);
    }

    /// What a plan came to is remembered for the next. What was not even tried may be planned again at once.
    fn learn(&mut self, now: Timestamp, plan: &Plan, report: Report) {
        let tried = report.decisions.iter().filter(|decision| decision.outcome.was_tried());
        let tried: BTreeSet<&Action> = tried.map(|decision| &decision.action).collect();
        let actions = plan.steps.iter().map(|step| &step.action);
        for action in actions.filter(|action| !tried.contains(action)) {
            self.memory.dropped(action);
        }
        for launch in &report.no_capacity {
            self.memory.no_capacity(&self.policy.offers, launch, now);
        }
        self.decisions.extend(report.decisions);
        let too_many = self.decisions.len().saturating_sub(DECISIONS_MAX);
        self.decisions.drain(..too_many);
    }

    fn save(&mut self, seen: &Observation) {
        let mut saved = Saved { memory: self.memory.clone(), ..Saved::default() };
        self.accounts.lock().put_into(&mut saved, seen.at);
        self.keeper.save(saved, seen);
    }

    fn pause(&self, now: Timestamp, plan: &Plan) -> Duration {
        let until = plan.wait_until.map(|until| Millis::between(now, until));
        let until = until.map_or(Duration::MAX, |wait| Duration::from_millis(wait.0));
        until.clamp(PAUSE_MIN.min(self.config.tick), self.config.tick)
    }

    fn publish(&self, snapshot: Snapshot, plan: Plan, (term, totals): (Option<u64>, Totals)) {
        let role = match term {
            Some(_) => Role::Leader,
            None if self.config.dry_run => Role::DryRun,
            None => Role::Standby,
        };
        let state = State {
            role,
            totals,
            policy: self.policy.clone(),
            memory_before: self.memory_before.clone(),
            snapshot,
            plan,
            memory: self.memory.clone(),
            decisions: self.decisions.clone(),
        };
        self.metrics.tick(self.states.borrow().as_deref(), &state);
        self.states.send_replace(Some(Arc::new(state)));
    }

    /// The last save, of what the last tick saw.
    async fn end(mut self) {
        self.keeper.finish().await;
        let state = self.states.borrow().clone();
        let leads = self.gate.term().is_some_and(|term| self.keeper.has(term));
        if let Some(state) = state.filter(|_| leads) {
            self.save(&state.snapshot.seen);
            self.keeper.finish().await;
        }
    }
}
