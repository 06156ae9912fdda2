//! One run: everything there is, moved on step by step.
//!
//! A step is a second, or five while nothing moves: no request under way or about to come, nothing booting, starting or
//! ending, no notice, no deadline. Requests have moments of their own within a step.

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use spotscale_decide::{
    cluster::Offering,
    ledger::Totals,
    units::{Millis, UnitError},
};

use crate::{
    Inputs,
    arrivals::Played,
    autoscaler::Autoscaler,
    cluster::{Census, Cluster},
    front::{Arriving as _, Front, Tally},
    moment::Moment,
    scaler::Scaler,
    setup::Setup,
};

const STEP: Millis = Millis::from_secs(1);
const QUIET_STEP: Millis = Millis::from_secs(5);
/// Progress is told of once in so much simulated time.
const TOLD_EVERY: Millis = Millis::from_secs(24 * 3600);

/// A world in the middle of a run.
pub(crate) struct World<'a> {
    now: Millis,
    lasts: Millis,
    arrivals: Played<'a>,
    front: Front,
    scaler: Scaler,
    cluster: Cluster,
    autoscaler: Autoscaler,
}

/// What a run came to.
pub(crate) struct Outcome {
    pub(crate) tally: Tally,
    pub(crate) held: u64,
    pub(crate) in_flight: u64,
    pub(crate) replicas_max: u32,
    pub(crate) census: Census,
    pub(crate) spans: BTreeMap<Offering, Millis>,
    pub(crate) totals: Totals,
}

impl<'a> World<'a> {
    pub(crate) fn new(setup: &Setup, inputs: &'a Inputs) -> Result<Self, UnitError> {
        let (book, availability) = (inputs.prices.clone(), inputs.availability.clone());
        Ok(Self {
            now: Millis::ZERO,
            lasts: setup.lasts,
            arrivals: inputs.arrivals.play(setup.seed),
            front: Front::new(setup.service.clone(), setup.seed),
            scaler: Scaler::new(setup.service.policy.clone(), setup.scaling.clone())?,
            cluster: Cluster::new(setup, book, availability)?,
            autoscaler: Autoscaler::new(setup),
        })
    }

    /// Runs to the end, and tells how far it is once a simulated day.
    pub(crate) fn run(mut self, told: &mut dyn FnMut(Millis)) -> Outcome {
        let mut tell_at = TOLD_EVERY;
        while self.now < self.lasts {
            self.step();
            if self.now >= tell_at {
                told(self.now);
                tell_at = tell_at.saturating_add(TOLD_EVERY);
            }
        }
        self.outcome()
    }

    /// What is so at the beginning of a step, and then what happens in it.
    fn step(&mut self) {
        let now = self.now;
        let wanted = self.scaler.tick(now, self.front.counters(now.into()));
        self.cluster.tick(now, wanted, &mut self.front);
        self.autoscaler.tick(now, &mut self.cluster, &mut self.front);
        let until = now.saturating_add(self.pace()).min(self.lasts);
        self.front.run(until.into(), &mut self.arrivals);
        self.now = until;
    }

    fn pace(&mut self) -> Millis {
        let soon = self.now.saturating_add(QUIET_STEP);
        let next = self.arrivals.next_at();
        let quiet = self.front.held() == 0
            && self.front.in_flight() == 0
            && next.is_none_or(|at| at >= Moment::from(soon))
            && !self.cluster.changed
            && self.cluster.rests_until(soon)
            && self.autoscaler.rests_until(self.cluster.at(soon));
        // Steps stay on the clock that KEDA and the HPA look by.
        let on_the_clock = self.now.0.is_multiple_of(QUIET_STEP.0);
        if quiet && on_the_clock { QUIET_STEP } else { STEP }
    }

    fn outcome(mut self) -> Outcome {
        self.cluster.shown.seen.at = self.cluster.at(self.now);
        Outcome {
            held: self.front.held(),
            in_flight: self.front.in_flight(),
            replicas_max: self.scaler.replicas_max,
            spans: self.cluster.spans(),
            totals: self.autoscaler.totals(&self.cluster),
            census: self.cluster.census,
            tally: self.front.tally,
        }
    }
}
