//! The provisioner: it buys a machine for every pod that has no room, as its knobs say, and gives back what stands empty.
//! What Karpenter does besides is left out: it moves no pods, and does not wait for a batch of them.

use spotscale_decide::{
    cluster::{Node, Offering, PodPhase},
    units::{Millis, NodeName, PoolName},
};

use super::Cluster;

impl Cluster {
    pub(super) fn run_provisioner(&mut self) {
        self.consolidate();
        let seen = &self.shown.seen;
        let pending = seen.pods.iter().filter(|pod| pod.phase == PodPhase::Pending).count();
        if pending == 0 {
            return;
        }
        let usable = seen.nodes.iter().filter(|node| node.is_alive() && node.cordoned.is_none());
        let mut room: usize = usable.map(|node| self.free_room(node)).sum();
        while room < pending {
            let Some(bought) = self.buy() else { return };
            room += bought;
        }
    }

    /// Buys one machine. How many pods it takes; none when there is nothing to be had.
    fn buy(&mut self) -> Option<usize> {
        while let Some((pool, offering)) = self.choose() {
            self.bought += 1;
            let name: NodeName = format!("node-{}", self.bought).parse().ok()?;
            if self.launch(name, offering.clone(), Some(pool)) {
                return self.shown.seen.nodes.last().map(|node| node.pods_max as usize);
            }
            // Not in this moment again, in any case.
            let span = self.spot.unavailable_for.max(Millis(1));
            let until = self.now.saturating_add(span);
            self.unavailable.insert(offering, until);
        }
        None
    }

    fn choose(&mut self) -> Option<(PoolName, Offering)> {
        let now = self.now;
        self.unavailable.retain(|_, until| *until > now);
        let at = self.shown.seen.at;
        let offerings = self.book.offerings();
        // A machine that nobody measured is in no NodePool.
        let measured = |offering: &&Offering| {
            self.machines.iter().any(|machine| machine.instance_type == offering.instance_type)
        };
        let had = offerings.filter(|it| !self.unavailable.contains_key(*it)).filter(measured);
        let for_sale: Vec<_> =
            had.filter_map(|offering| Some((offering, self.book.at(offering, at)?))).collect();
        let (pool, offering) = self.shown.seen.provisioner.as_ref()?.buys(&for_sale)?;
        Some((pool.clone(), offering.clone()))
    }

    fn consolidate(&mut self) {
        let (now, patience) = (self.now, self.delays.empty_for);
        let empty = |node: &&Node| {
            node.is_ready()
                && !node.protected
                && self.shown.seen.pods_on(&node.name).next().is_none()
        };
        let idle: Vec<NodeName> =
            self.shown.seen.nodes.iter().filter(empty).map(|node| node.name.clone()).collect();
        for (name, facts) in &mut self.nodes {
            let since = facts.empty_since.unwrap_or(now);
            facts.empty_since = idle.contains(name).then_some(since);
        }
        for name in idle {
            let since = self.nodes.get(&name).and_then(|facts| facts.empty_since);
            if since.is_some_and(|since| patience.saturating_add(since) <= now) {
                self.give_back(&name);
            }
        }
    }
}
