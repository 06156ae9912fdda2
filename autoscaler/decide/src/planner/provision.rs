//! What is missing: room for every pod that is wanted, spot first.

use super::{Action, Assumption, Reason, Step, draft::Draft};
use crate::{
    cluster::{CapacityType, Offering},
    fleet::{self, FleetMemory, Room, Split},
    offers::{self, Offer, Ranking},
    units::NodeName,
};

impl Draft<'_> {
    /// Buys what is missing.
    pub(super) fn provision(&mut self) {
        let (now, offers) = (self.now(), &self.policy.offers);
        let ranking = offers::rank(offers, &self.snapshot.prices, &self.memory.marks, now);
        let room = self.room();
        let split = self.split(room, &ranking);
        let spot = ranking.best(CapacityType::Spot);
        let short = split.on_demand.saturating_sub(room.on_demand);
        let because = match (self.memory.fleet, spot) {
            (FleetMemory { fallback: 1.., .. }, None) => Reason::NoSpotOffer,
            (FleetMemory { fallback: pods @ 1.., gap_since: Some(since), .. }, _) => {
                Reason::SpotGap { pods, since }
            }
            _ => Reason::NoRoom { pods: short },
        };
        self.launch(short, ranking.best(CapacityType::OnDemand), &because);
        let short = split.spot.saturating_sub(room.spot);
        match spot {
            None if short > 0 => self.refuse(Reason::NoSpotOffer),
            spot => self.launch(short, spot, &Reason::NoRoom { pods: short }),
        }
        (self.plan.split, self.plan.ranking) = (split, ranking);
    }

    /// The pods' worth of capacity that is usable, what was asked for included.
    fn room(&self) -> Room {
        let unseen = self.unseen_launches().filter_map(|launch| match launch {
            Action::Launch { offering, .. } => Some((offering, self.pods_max(offering), false)),
            _ => None,
        });
        let usable = self.usable().map(|node| (&node.offering, node.pods_max, node.is_ready()));
        let mut room = Room::default();
        for (offering, pods, ready) in usable.chain(unseen) {
            match offering.capacity_type {
                CapacityType::OnDemand => room.on_demand += pods,
                CapacityType::Spot => {
                    room.spot += pods;
                    room.spot_ready += if ready { pods } else { 0 };
                }
            }
        }
        room
    }

    fn pods_max(&self, offering: &Offering) -> u32 {
        let machine = self.policy.offers.machine(&offering.instance_type);
        machine.map_or(1, |machine| machine.pods_max.max(1))
    }

    fn split(&mut self, room: Room, ranking: &Ranking) -> Split {
        let wanted = self.seen().replicas_wanted().0;
        let for_sale = ranking.best(CapacityType::Spot).is_some();
        let input = (wanted, room, for_sale);
        let (split, memory) =
            fleet::split(&self.policy.fleet, input, self.memory.fleet, self.now());
        self.memory.fleet = memory;
        split
    }

    fn launch(&mut self, pods: u32, best: Option<&Offer>, because: &Reason) {
        if pods == 0 {
            return;
        }
        let Some(offer) = best else {
            return self.refuse(Reason::NoOffer);
        };
        for _ in 0..pods.div_ceil(offer.pods_max) {
            if self.node_count() >= self.policy.nodes_max as usize {
                return self.refuse(Reason::NodeLimit { nodes_max: self.policy.nodes_max });
            }
            let step = self.launch_step(offer, because.clone());
            self.step(step);
        }
    }

    fn launch_step(&mut self, offer: &Offer, because: Reason) -> Step {
        let Offer { offering, per_million_requests, .. } = offer;
        let (offering, per_million_requests) = (offering.clone(), *per_million_requests);
        // Named after the moment too, so that a name is not used again after a restart.
        let moment = self.now().as_millisecond();
        let node = NodeName::numbered(offering.capacity_type, moment, self.memory.launches);
        self.memory.launches = self.memory.launches.wrapping_add(1);
        let best = Reason::BestOffer { offering: offering.clone(), per_million_requests };
        let replaced = self.drains.iter().map(|drain| drain.reason(self.now()));
        Step {
            action: Action::Launch { node: node.clone(), offering },
            assumes: vec![Assumption::NodeAbsent { node }],
            reasons: [because].into_iter().chain(replaced).chain([best]).collect(),
        }
    }

    fn node_count(&self) -> usize {
        self.usable().count() + self.unseen_launches().count()
    }
}
