//! A provisioner that buys a machine for every pod that has no room, as its knobs say: pools by weight, spot before on
//! demand within a pool, the lowest price that it reckons with. It also gives back what stands empty.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet},
};

use jiff::Timestamp;

use super::node;
use crate::{
    cluster::{
        CapacityType, EndedBy, NodePhase, Observation, Offering, Overlay, PodPhase, Pool,
        Provisioner,
    },
    planner::Action,
    units::{Millis, NodeName, PoolName, UsdPerHour},
};

/// A node that has run nothing for so long is given back.
const EMPTY_FOR: Millis = Millis::from_secs(30);

#[derive(Default)]
pub(crate) struct Buyer {
    pub(crate) prices: BTreeMap<Offering, UsdPerHour>,
    pub(crate) sold_out: BTreeSet<Offering>,
    empty_since: BTreeMap<NodeName, Timestamp>,
    bought: u32,
}

/// A pool that may buy these kinds.
pub(crate) fn pool(name: &str, kinds: &[CapacityType], weight: Option<u32>) -> Pool {
    Pool {
        name: name.parse().unwrap(),
        capacity_types: kinds.iter().copied().collect(),
        instance_types: None,
        zones: None,
        weight,
        closed: false,
    }
}

impl Buyer {
    pub(crate) fn run(&mut self, now: &mut Observation) {
        let Some(provisioner) = now.provisioner.clone() else {
            return;
        };
        self.consolidate(now);
        let room = |node: &&crate::cluster::Node| node.is_alive() && node.cordoned.is_none();
        let coming: usize = now
            .nodes
            .iter()
            .filter(room)
            .map(|node| (node.pods_max as usize).saturating_sub(now.pods_on(&node.name).count()))
            .sum();
        let pending = now.pods.iter().filter(|pod| pod.phase == PodPhase::Pending).count();
        for _ in coming..pending {
            let Some((pool, offering)) = self.choose(&provisioner) else {
                return;
            };
            self.bought += 1;
            let mut new = node(&format!("bought-{}", self.bought), offering, now.at);
            (new.phase, new.pool) = (NodePhase::Provisioning, Some(pool));
            now.nodes.push(new);
        }
    }

    fn choose(&self, provisioner: &Provisioner) -> Option<(PoolName, Offering)> {
        let mut pools: Vec<_> = provisioner.pools.iter().filter(|pool| !pool.closed).collect();
        pools.sort_by_key(|pool| (Reverse(pool.weight), &pool.name));
        let told: BTreeMap<_, _> = provisioner
            .overlays
            .iter()
            .flatten()
            .map(|Overlay { offering, price }| (offering, *price))
            .collect();
        pools.into_iter().find_map(|pool| {
            let for_sale = self
                .prices
                .iter()
                .filter(|(offering, _)| pool.admits(offering) && !self.sold_out.contains(offering));
            let reckoned =
                for_sale.map(|(offering, price)| (*told.get(offering).unwrap_or(price), offering));
            let (mut spot, on_demand): (Vec<_>, Vec<_>) =
                reckoned.partition(|(_, offering)| offering.capacity_type == CapacityType::Spot);
            let cheapest = on_demand.iter().min();
            spot.retain(|(price, _)| cheapest.is_none_or(|(bound, _)| price <= bound));
            let best = spot.iter().min().or(cheapest)?;
            Some((pool.name.clone(), best.1.clone()))
        })
    }

    fn consolidate(&mut self, now: &mut Observation) {
        let since = std::mem::take(&mut self.empty_since);
        for place in 0..now.nodes.len() {
            let node = &now.nodes[place];
            let empty = node.is_ready() && now.pods_on(&node.name).next().is_none();
            if !empty || node.protected {
                continue;
            }
            let since = since.get(&node.name).copied().unwrap_or(now.at);
            self.empty_since.insert(node.name.clone(), since);
            if EMPTY_FOR.after(since) <= now.at {
                now.nodes[place].phase = NodePhase::Ended { at: now.at, by: EndedBy::Us };
            }
        }
    }
}

impl Provisioner {
    /// Does what a plan says about a knob.
    pub(crate) fn turn(&mut self, action: &Action) {
        match action {
            Action::Overlay { offering, price } => {
                let overlays = self.overlays.as_mut().expect("overlays can be told");
                overlays.retain(|known| &known.offering != offering);
                let told = price.map(|price| Overlay { offering: offering.clone(), price });
                overlays.extend(told);
            }
            Action::Weigh { pool, weight } => self.pool(pool).weight = Some(*weight),
            Action::Close { pool, closed } => self.pool(pool).closed = *closed,
            other => panic!("this turns no knob: {other:?}"),
        }
    }

    pub(crate) fn pool(&mut self, name: &PoolName) -> &mut Pool {
        self.pools.iter_mut().find(|pool| &pool.name == name).expect("the pool is there")
    }
}
