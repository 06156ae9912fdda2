//! One decision in the making: what the load needs, then grow at once or shrink on proof. What GPU and price have to say is
//! in [`super::evidence`].

use super::{Memory, Policy, Reason, Signal, Signals, need::needs};
use crate::{
    demand::Demand,
    freshness::Standing,
    units::{Millis, Replicas, Requests},
};

/// One decision in the making.
pub(super) struct Step<'a> {
    pub(super) now: Millis,
    pub(super) policy: &'a Policy,
    pub(super) signals: &'a Signals,
    pub(super) demand: &'a Demand,
    pub(super) memory: Memory,
    pub(super) reasons: Vec<Reason>,
}

impl Step<'_> {
    pub(super) fn run(&mut self, demand_standing: Standing) -> Replicas {
        let max = self.policy.max;
        // An empty memory takes what is seen serving as decided: a restart is no reason to change anything.
        let present = self.memory.desired.unwrap_or(self.demand.endpoints).min(max);
        let needed = self.needed(present);
        self.look_at_gpus();
        let dear = self.is_dear();
        let floor = self.floor(dear);
        self.tell(floor > needed, Reason::Floor { replicas: floor });
        self.tell(needed > max, Reason::Ceiling { needed, max });
        let wanted = needed.max(floor).min(max);
        let desired = if wanted < present {
            self.shrink(present, wanted, dear, demand_standing)
        } else {
            self.grow(present, wanted)
        };
        self.tell_of_the_rest();
        self.watch_arrival(present, desired);
        self.look_at_hpa(desired);
        self.memory.desired = Some(desired);
        desired
    }

    /// What the load needs, before any floor and ceiling.
    fn needed(&mut self, present: Replicas) -> Replicas {
        let Demand { held, in_flight, last_arrival_at, .. } = *self.demand;
        let busy = held > Requests::ZERO || in_flight > Requests::ZERO;
        let quiet = self.memory.quiet(self.now, busy, last_arrival_at);
        let needs = needs(self.policy, self.demand);
        let idle_after = self.policy.idle_after;
        if !busy && quiet >= idle_after {
            self.note_enough(Replicas::ZERO);
            self.reasons.push(Reason::Idle { quiet });
            return Replicas::ZERO;
        }
        let replicas = needs.now.replicas;
        self.tell(
            replicas > Replicas::ZERO,
            Reason::Needed { replicas, binding: needs.now.binding },
        );
        self.tell(needs.running > replicas, Reason::Running { replicas: needs.running });
        self.reasons.extend(needs.guessed.filter(|_| replicas > Replicas::ZERO));
        let least = if present > Replicas::ZERO { Replicas(1) } else { Replicas::ZERO };
        let needed = replicas.max(needs.running);
        self.tell(least > needed, Reason::NotYetIdle { quiet, idle_after });
        self.note_enough(needs.with_margin.max(needs.running).max(least));
        needed.max(least)
    }

    fn note_enough(&mut self, enough: Replicas) {
        self.memory.note_enough(self.now, enough, self.policy.stabilisation);
    }

    fn floor(&self, dear: bool) -> Replicas {
        let warm = match self.policy.price {
            Some(price) if dear => price.warm_when_dear,
            _ => self.policy.warm,
        };
        self.policy.min.max(warm)
    }

    fn grow(&mut self, present: Replicas, wanted: Replicas) -> Replicas {
        let wakes = present == Replicas::ZERO;
        let unfit = self.unfit(|without| without.growth);
        match unfit.filter(|_| wanted > present && !wakes) {
            Some((signal, standing)) => {
                self.reasons.push(Reason::GrowthWithout { signal, standing });
                present
            }
            None => wanted,
        }
    }

    fn shrink(
        &mut self,
        present: Replicas,
        wanted: Replicas,
        dear: bool,
        demand: Standing,
    ) -> Replicas {
        let stale = (demand != Standing::Fresh).then_some((Signal::Demand, demand));
        if let Some((signal, standing)) = stale.or_else(|| self.unfit(|without| without.shrink)) {
            self.reasons.push(Reason::ShrinkWithout { signal, standing });
            return present;
        }
        // Idle is its own proof: nothing came for as long as the policy asks.
        let enough = if wanted == Replicas::ZERO { wanted } else { self.proven(wanted, dear) };
        let target = enough.min(present);
        self.vetoed(target, present)
    }

    /// The smallest number that was enough for the whole window; all there are when nobody has watched that long.
    fn proven(&mut self, wanted: Replicas, dear: bool) -> Replicas {
        let window = match &self.policy.price {
            Some(price) if dear => price.stabilisation_when_dear,
            _ => self.policy.stabilisation,
        };
        let watched = self.memory.watched(self.now);
        if watched < window {
            self.reasons.push(Reason::HistoryShort { watched, window });
            return self.policy.max;
        }
        let proven = self.memory.enough_within(self.now, window).max(wanted);
        self.tell(proven > wanted, Reason::Stabilising { enough: wanted, window });
        proven
    }

    /// Tells of ordered replicas that are not there yet.
    fn watch_arrival(&mut self, present: Replicas, desired: Replicas) {
        let pending = desired.saturating_sub(self.demand.endpoints);
        if pending == Replicas::ZERO {
            self.memory.short_since = None;
            return;
        }
        if desired > present {
            self.memory.short_since = Some(self.now);
        }
        let since = *self.memory.short_since.get_or_insert(self.now);
        let waited = self.now.saturating_sub(since);
        let overdue = waited > self.policy.cold_start;
        self.tell(!overdue, Reason::ColdStart { pending });
        self.tell(overdue, Reason::Overdue { pending, waited });
    }

    pub(super) fn tell(&mut self, when: bool, reason: Reason) {
        if when {
            self.reasons.push(reason);
        }
    }
}
