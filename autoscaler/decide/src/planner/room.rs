//! How much capacity there is, and how much of each kind there should be.

use super::{Action, draft::Draft};
use crate::{
    cluster::{CapacityType, Node, Offering, Pod, PodPhase},
    fleet::{self, Room, Split},
    offers,
};

impl Draft<'_> {
    /// Ranks the offers and splits what is wanted into spot and on demand.
    pub(super) fn split(&mut self) {
        let (now, offers) = (self.now(), &self.policy.offers);
        let ranking = offers::rank(offers, &self.snapshot.prices, &self.memory.marks, now);
        let wanted = self.seen().replicas_wanted().0;
        let provisioned = self.seen().provisioner.is_some();
        // A provisioner has prices of its own: as long as we know none, that is no sign that there is no spot.
        let unknown = provisioned && self.snapshot.price_age_ms.is_none();
        let for_sale = unknown || ranking.best(CapacityType::Spot).is_some();
        let room = if provisioned { self.room_taken() } else { self.room_there() };
        let floor = self.policy.fleet.on_demand_floor.min(wanted);
        // What on-demand nodes carry beyond the floor is not missing. Spot that only would be cheaper is returned to.
        let standing_in = if provisioned { room.on_demand.saturating_sub(floor) } else { 0 };
        let covered = Room { spot_ready: room.spot_ready + standing_in, ..room };
        let input = (wanted, covered, for_sale);
        let (split, memory) = fleet::split(&self.policy.fleet, input, self.memory.fleet, now);
        self.plan.split = split;
        if provisioned {
            let missing = (wanted - floor).saturating_sub(covered.spot_ready);
            let on_demand = floor + standing_in + memory.fallback.min(missing);
            let on_demand = on_demand.min(wanted);
            self.plan.split = Split { spot: wanted - on_demand, on_demand };
        }
        self.memory.fleet = memory;
        self.room = room;
        self.plan.ranking = ranking;
    }

    /// The pods' worth of capacity that is usable, what was asked for included.
    fn room_there(&self) -> Room {
        let unseen = self.unseen_launches().filter_map(|launch| match launch {
            Action::Launch { offering, .. } => Some((offering, self.pods_max(offering), false)),
            _ => None,
        });
        let pods_max = |node: &Node| {
            // Nothing new is placed on a node that is cordoned.
            if node.cordoned.is_some() { self.pods_on(node) } else { node.pods_max }
        };
        let usable = self.usable.iter().copied();
        let usable = usable.map(|node| (&node.offering, pods_max(node), node.is_ready()));
        sum(usable.chain(unseen))
    }

    /// The pods that usable nodes carry. A provisioner sizes machines to pods, so that a node's own size says little,
    /// and its pools may carry much that is not ours.
    fn room_taken(&self) -> Room {
        let counts = |pod: &&Pod| {
            pod.workload.is_some() && !pod.surged && pod.phase != PodPhase::Terminating
        };
        let pods = |node: &Node| {
            let pods = self.index.pods_on(&node.name).iter().copied().filter(counts).count();
            u32::try_from(pods).unwrap_or(u32::MAX)
        };
        let usable = self.usable.iter().copied();
        sum(usable.map(|node| (&node.offering, pods(node), node.is_ready())))
    }

    fn pods_max(&self, offering: &Offering) -> u32 {
        let machine = self.policy.offers.machine(&offering.instance_type);
        machine.map_or(1, |machine| machine.pods_max.max(1))
    }
}

fn sum<'a>(parts: impl Iterator<Item = (&'a Offering, u32, bool)>) -> Room {
    let mut room = Room::default();
    for (offering, pods, ready) in parts {
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
