//! The loop: observe, decide, execute. What time it is, the cluster says. No tick waits for prices or for the vault.

use std::{sync::Arc, time::Duration};

use jiff::Timestamp;
use spotscale_decide::{
    cluster::Observation,
    planner::{Plan, Snapshot},
    units::{MicroUsd, Millis},
};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use super::{Daemon, bookkeeping::Bookkeeping, judgement::Judgement};
use crate::{
    config::Config,
    execute::{Executor, Report},
    gate::Gate,
    inquiry::Inquiry,
    keeper::Keeper,
    laps::Laps,
    metrics::Metrics,
    quotes::{Quoted, Quotes},
    saved::Saved,
    state::{Role, State},
    traffic::Counts,
};

/// However pressing the next moment is, the cluster is given so much time in between.
const PAUSE_MIN: Duration = Duration::from_millis(20);

/// The daemon while it runs.
pub(super) struct AtWork {
    config: Config,
    executor: Executor,
    gate: Arc<dyn Gate>,
    bookkeeping: Bookkeeping,
    counts: Option<Counts>,
    keeper: Keeper,
    judgement: Judgement,
    states: watch::Sender<Option<Arc<State>>>,
    metrics: Metrics,
}

impl AtWork {
    pub(super) fn new(daemon: Daemon, shutdown: CancellationToken) -> Self {
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
        let quotes = Quotes::start(market, &config, metrics.clone());
        let inquiry = fates.map(|fates| Inquiry::start(fates, metrics.clone()));
        let policy = config.policy();
        Self {
            counts: Counts::start(&config, &policy.offers.traffic, metrics.clone()),
            judgement: Judgement::new(policy),
            executor,
            gate,
            bookkeeping: Bookkeeping::new(accounts, quotes, inquiry),
            keeper: Keeper::new(vault, config.call_timeout, metrics.clone()),
            states,
            metrics,
            config,
        }
    }

    /// One look at the world, and what follows from it. How long to wait for the next.
    pub(super) async fn tick(&mut self) -> Duration {
        let mut laps = Laps::begin();
        let mut seen = match self.executor.observe().await {
            Ok(seen) => seen,
            Err(error) => {
                warn!(%error, "nothing was observed");
                return self.config.tick;
            }
        };
        let look_ms = laps.lap_ms();
        let quoted = self.bookkeeping.quoted(seen.at).await;
        self.metrics.prices(quoted.answered_at);
        let is_sized = self.size(&quoted, &mut seen);
        let term = self.enter_term().await;
        let counts = self.config.dry_run || term.is_some_and(|term| self.keeper.has(term));
        let account = self.bookkeeping.account(&seen, counts, is_sized);
        self.judgement.took(&account.taken, seen.at);
        let snapshot = self.snapshot(seen, &quoted, account.spent_this_month);
        let plan = self.judgement.plan(&snapshot);
        let plan_ms = laps.lap_ms();
        let report = self.carry_out(&snapshot, &plan, term).await;
        self.judgement.learn(snapshot.seen.at, &plan, report);
        let act_ms = laps.lap_ms();
        if self.keeper.is_due(&snapshot.seen).await {
            self.save(&snapshot.seen);
        }
        let pause = self.pause(snapshot.seen.at, &plan);
        self.publish(snapshot, plan, term);
        self.metrics.tick_took(laps.total());
        debug!(look_ms, plan_ms, act_ms, show_ms = laps.lap_ms(), "a tick");
        pause
    }

    /// How many pods fit on each machine, where it follows from its type. Is that known?
    fn size(&mut self, quoted: &Quoted, seen: &mut Observation) -> bool {
        let shapes = quoted.shapes.as_deref();
        let machines = shapes.map(|shapes| self.config.machines(shapes));
        if let Some(machines) = self.judgement.heed(&quoted.prior, machines) {
            self.bookkeeping.hold_against(self.config.baseline(machines));
        }
        self.judgement.size(&mut seen.nodes);
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
            self.bookkeeping.resume(ledger, &prices);
            self.judgement.resume(memory);
        }
        Some(term)
    }

    fn snapshot(
        &self,
        seen: Observation,
        quoted: &Quoted,
        spent_this_month: Option<MicroUsd>,
    ) -> Snapshot {
        let is_for_sale = |it: &_| self.judgement.policy().offers.machine(it).is_some();
        Snapshot {
            prices: self.bookkeeping.prices(&seen, is_for_sale),
            price_age_ms: quoted.age_ms(),
            spent_this_month,
            traffic: self.counts.as_ref().and_then(Counts::now),
            seen,
        }
    }

    async fn carry_out(&self, snapshot: &Snapshot, plan: &Plan, term: Option<u64>) -> Report {
        match term {
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
        }
    }

    fn save(&mut self, seen: &Observation) {
        let memory = self.judgement.memory().clone();
        let (ledger, prices) = self.bookkeeping.kept(seen.at);
        self.keeper.save(Saved { ledger, memory, prices }, seen);
    }

    fn pause(&self, now: Timestamp, plan: &Plan) -> Duration {
        let until = plan.wait_until.map(|until| Millis::between(now, until));
        let until = until.map_or(Duration::MAX, |wait| Duration::from_millis(wait.0));
        until.clamp(PAUSE_MIN.min(self.config.tick), self.config.tick)
    }

    fn publish(&self, snapshot: Snapshot, plan: Plan, term: Option<u64>) {
        let role = match term {
            Some(_) => Role::Leader,
            None if self.config.dry_run => Role::DryRun,
            None => Role::Standby,
        };
        let state = State {
            role,
            policy: self.judgement.policy().clone(),
            memory_before: self.judgement.memory_before().clone(),
            snapshot,
            plan,
            memory: self.judgement.memory().clone(),
            decisions: self.judgement.decisions().clone(),
        };
        self.metrics.tick(self.states.borrow().as_deref(), &state);
        self.states.send_replace(Some(Arc::new(state)));
    }

    /// The last save, of what the last tick saw.
    pub(super) async fn end(mut self) {
        self.keeper.finish().await;
        let state = self.states.borrow().clone();
        let leads = self.gate.term().is_some_and(|term| self.keeper.has(term));
        if let Some(state) = state.filter(|_| leads) {
            self.save(&state.snapshot.seen);
            self.keeper.finish().await;
        }
    }
}
