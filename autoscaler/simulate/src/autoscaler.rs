//! The daemon: `decide::planner` and `decide::ledger` as it runs them. It looks when something has changed, when its plan
//! says that time alone changes it, and once a minute.

use jiff::Timestamp;
use spotscale_decide::{
    budget::Budget,
    ledger::{Baseline, Ledger, Totals},
    planner::{self, Memory, Policy},
    units::Millis,
};

use crate::{cluster::Cluster, front::Front, setup::Setup};

/// Without any other cause it looks this often.
const LOOKS_EVERY: Millis = Millis::from_secs(60);

/// The daemon of one cluster.
#[derive(Debug)]
pub(crate) struct Autoscaler {
    policy: Policy,
    baseline: Baseline,
    memory: Memory,
    ledger: Ledger,
    price_refresh: Millis,
    priced_at: Option<Millis>,
    look_at: Millis,
    /// The moment at which the last plan said that it changes.
    wait_until: Option<Timestamp>,
}

impl Autoscaler {
    pub(crate) fn new(setup: &Setup) -> Self {
        Self {
            policy: setup.planner.clone(),
            baseline: setup.baseline.clone(),
            memory: Memory::default(),
            ledger: Ledger::default(),
            price_refresh: setup.price_refresh,
            priced_at: None,
            look_at: Millis::ZERO,
            wait_until: None,
        }
    }

    pub(crate) fn tick(&mut self, now: Millis, cluster: &mut Cluster, front: &mut Front) {
        let at = cluster.at(now);
        self.look_at_prices(now, cluster);
        let due = self.wait_until.is_some_and(|until| until <= at) || self.look_at <= now;
        if !cluster.changed && !due {
            return;
        }
        cluster.changed = false;
        self.look_at = LOOKS_EVERY.saturating_add(now);
        self.ledger.observe(&cluster.shown.seen, cluster.book());
        if self.policy.budget != Budget::default() {
            let spent = self.ledger.spent_this_month(cluster.book(), at);
            cluster.shown.spent_this_month = Some(spent);
        }
        let age = self.priced_at.map(|priced| now.saturating_sub(priced));
        cluster.shown.price_age_ms = age;
        let memory = std::mem::take(&mut self.memory);
        let (plan, memory) = planner::plan(&self.policy, &cluster.shown, memory);
        self.memory = memory;
        self.wait_until = plan.wait_until;
        cluster.forget_ended();
        for step in plan.steps {
            let holds = step.assumes.iter().all(|that| that.holds(&cluster.shown.seen));
            if holds && cluster.act(&step.action, front) {
                continue;
            }
            if holds {
                self.memory.no_capacity(&self.policy.offers, &step.action, at);
            } else {
                self.memory.dropped(&step.action);
            }
        }
    }

    fn look_at_prices(&mut self, now: Millis, cluster: &mut Cluster) {
        let due = self.priced_at.is_none_or(|at| self.price_refresh.saturating_add(at) <= now);
        if due {
            self.priced_at = Some(now);
            let prices = cluster.book().all_at(cluster.at(now));
            if prices != cluster.shown.prices {
                cluster.shown.prices = prices;
                cluster.changed = true;
            }
        }
    }

    /// Does time alone change nothing before that moment?
    pub(crate) fn rests_until(&self, moment: Timestamp) -> bool {
        self.wait_until.is_none_or(|until| until > moment)
    }

    #[cfg(test)]
    pub(crate) const fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    /// The money, with the last moment counted in.
    pub(crate) fn totals(&mut self, cluster: &Cluster) -> Totals {
        self.ledger.observe(&cluster.shown.seen, cluster.book());
        self.ledger.totals(&self.baseline, cluster.book(), cluster.shown.seen.at)
    }
}
