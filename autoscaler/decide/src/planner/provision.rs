//! What is missing: room for every pod that is wanted, spot first.

use super::{Action, Assumption, Reason, Step, draft::Draft};
use crate::{cluster::CapacityType, fleet::FleetMemory, offers::Offer, units::NodeName};

impl Draft<'_> {
    /// Buys what is missing.
    pub(super) fn provision(&mut self) {
        let (split, room) = (self.plan.split, self.room);
        let best = |kind| self.plan.ranking.best(kind).cloned();
        let (spot, on_demand) = (best(CapacityType::Spot), best(CapacityType::OnDemand));
        let short = split.on_demand.saturating_sub(room.on_demand);
        let because = self.because_on_demand(short);
        // What only stands in for spot comes last, so that a budget is spent on the rest.
        let stands_in = short.min(self.memory.fleet.fallback);
        self.launch(short - stands_in, on_demand.as_ref(), &because);
        let spot_short = split.spot.saturating_sub(room.spot);
        match spot {
            None if spot_short > 0 => self.refuse(Reason::NoSpotOffer),
            spot => self.launch(spot_short, spot.as_ref(), &Reason::NoRoom { pods: spot_short }),
        }
        self.launch(stands_in, on_demand.as_ref(), &because);
    }

    /// Why on-demand capacity is wanted for so many pods more.
    pub(super) fn because_on_demand(&self, pods: u32) -> Reason {
        match (self.memory.fleet, self.plan.ranking.best(CapacityType::Spot)) {
            (FleetMemory { fallback: 1.., .. }, None) => Reason::NoSpotOffer,
            (FleetMemory { fallback: pods @ 1.., gap_since: Some(since), .. }, _) => {
                Reason::SpotGap { pods, since }
            }
            _ => Reason::NoRoom { pods },
        }
    }

    fn launch(&mut self, pods: u32, best: Option<&Offer>, because: &Reason) {
        if pods == 0 {
            return;
        }
        let Some(offer) = best else {
            return self.refuse(Reason::NoOffer);
        };
        for launched in 0..pods.div_ceil(offer.pods_max) as usize {
            if let Some(reason) = self.node_limit() {
                return self.refuse(reason);
            }
            if let Err(reason) = self.afford(offer.price) {
                return self.refuse(reason);
            }
            let replaced = self.drains.get(launched).map(|drain| drain.reason(self.now()));
            let because = [because.clone()].into_iter().chain(replaced).collect();
            let step = self.launch_step(offer, because);
            self.step(step);
        }
    }

    /// Why there may be no more nodes, if so.
    pub(super) fn node_limit(&self) -> Option<Reason> {
        let nodes = self.usable.len() + self.unseen_launches().count();
        let nodes_max = self.policy.nodes_max;
        (nodes >= nodes_max as usize).then_some(Reason::NodeLimit { nodes_max })
    }

    fn launch_step(&mut self, offer: &Offer, mut reasons: Vec<Reason>) -> Step {
        let Offer { offering, per_million_requests, .. } = offer;
        let (offering, per_million_requests) = (offering.clone(), *per_million_requests);
        // Named after the moment too, so that a name is not used again after a restart.
        let moment = self.now().as_millisecond();
        let node = NodeName::numbered(offering.capacity_type, moment, self.memory.launches);
        self.memory.launches = self.memory.launches.wrapping_add(1);
        reasons.push(Reason::BestOffer { offering: offering.clone(), per_million_requests });
        Step {
            action: Action::Launch { node: node.clone(), offering },
            assumes: vec![Assumption::NodeAbsent { node }],
            reasons,
        }
    }
}
