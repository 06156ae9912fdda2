//! A provisioner that buys a machine for every pod that has no room, as its knobs say, and gives back what stands empty.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;

use super::node;
use crate::{
    cluster::{
        CapacityType, EndedBy, NodePhase, Observation, Offering, PodPhase, Pool, Provisioner,
    },
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
        let for_sale = self.prices.iter().filter(|(offering, _)| !self.sold_out.contains(offering));
        let for_sale: Vec<_> = for_sale.map(|(offering, price)| (offering, *price)).collect();
        let (pool, offering) = provisioner.buys(&for_sale)?;
        Some((pool.clone(), offering.clone()))
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
