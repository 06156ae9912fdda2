//! What the provisioner is told before anything is done that makes it buy.

use std::collections::BTreeSet;

use super::{Action, Reason, draft::Draft};
use crate::{
    cluster::{Offering, Provisioner},
    disruption::{Cause, Extent},
    steering::{self, Course},
};

impl<'a> Draft<'a> {
    /// Turns the knobs of a provisioner.
    pub(super) fn steer(&mut self, provisioner: &'a Provisioner) {
        let (policy, now) = (&self.policy.steering, self.now());
        let (prices, fresh) = (&self.snapshot.prices, self.prices_are_fresh());
        let (memory, ranking) = (&self.memory, &self.plan.ranking);
        let weighed = (&self.policy.offers, ranking, &memory.marks);
        let mut steps = steering::overlays(policy, weighed, (prices, fresh), provisioner, now);
        let course = Course {
            on_demand_first: self.on_demand_first(),
            ranking,
            fresh,
            shut: self.shut(provisioner),
            changed: &memory.steered,
        };
        let (pools, refused) = steering::pools(policy, provisioner, &course, now);
        steps.extend(pools);
        for step in steps {
            let pool = match &step.action {
                Action::Weigh { pool, .. } | Action::Close { pool, .. } => Some(pool.clone()),
                _ => None,
            };
            if self.step(step) {
                self.memory.steered.extend(pool.map(|pool| (pool, now)));
            }
        }
        for reason in refused {
            if let Reason::SteeredLately { until, .. } = reason {
                self.wait(Some(until));
            }
            self.refuse(reason);
        }
        if let Some(reason) = self.node_limit() {
            self.refuse(reason);
        }
        self.hold_surges();
    }

    /// Why the provisioner should buy on demand before spot, if it should.
    fn on_demand_first(&self) -> Option<Reason> {
        let short = self.plan.split.on_demand.saturating_sub(self.room.on_demand);
        let stands_in = self.memory.fleet.fallback > 0;
        (stands_in || short > 0).then(|| self.because_on_demand(short))
    }

    /// A node that is left on mere advice is surged only when the provisioner is known to look elsewhere: else it would
    /// buy the same again.
    fn hold_surges(&mut self) {
        let untold: BTreeSet<&Offering> = self.memory.asked.keys().filter_map(overlaid).collect();
        let mut refused = vec![];
        for drain in &mut self.drains {
            let advised = drain.cause == Cause::Rebalance && drain.extent == Extent::Full;
            if advised && untold.contains(&drain.node.offering) {
                drain.extent = Extent::NoSurge;
                refused.push(Reason::SteeringFirst { node: drain.node.name.clone() });
            }
        }
        self.plan.refused.extend(refused);
    }

    /// Has all that the provisioner was told arrived?
    pub(super) fn is_steered(&self) -> bool {
        let steers = |action: &Action| {
            matches!(action, Action::Weigh { .. } | Action::Close { .. } | Action::Overlay { .. })
        };
        !self.memory.asked.keys().any(steers)
    }
}

fn overlaid(action: &Action) -> Option<&Offering> {
    match action {
        Action::Overlay { offering, .. } => Some(offering),
        _ => None,
    }
}
