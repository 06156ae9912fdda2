//! The provider of virtual machines: they take a while to come, and some are taken back after a notice.

use jiff::{SignedDuration, Timestamp};
use spotscale_autoscaler::{
    Applied, CapacityType, ClusterError, EndedBy, Node, NodePhase, Offering, PodPhase,
};
use spotscale_decide::units::NodeName;

use super::world::{LocalNode, Order, World};

impl World {
    /// The provider: nodes become ready.
    pub(super) fn provision(&mut self, now: Timestamp) {
        let takes = SignedDuration::try_from(self.settings.provisioning).unwrap_or_default();
        for LocalNode { seen, .. } in &mut self.nodes {
            if seen.phase == NodePhase::Provisioning
                && now.duration_since(seen.launched_at) >= takes
            {
                seen.phase = NodePhase::Ready;
            }
        }
    }

    /// The provider: nodes whose notice has run out are gone, with all that still runs there.
    pub(super) fn take_back(&mut self, now: Timestamp) {
        let due = self.nodes.iter().filter(|node| node.notice.is_some_and(|at| at <= now));
        let due: Vec<NodeName> = due.map(|node| node.seen.name.clone()).collect();
        for node in due {
            self.end_node(&node, now, EndedBy::Provider);
        }
    }

    pub(super) fn end_node(&mut self, name: &NodeName, at: Timestamp, by: EndedBy) -> Applied {
        let Some(node) = self.alive_node(name) else { return Applied::AlreadySo };
        node.seen.phase = NodePhase::Ended { at, by };
        let there = self.pods.iter_mut().filter(|pod| pod.seen.node.as_ref() == Some(name));
        for pod in there.filter(|pod| pod.gone_at.is_none()) {
            pod.seen.phase = PodPhase::Terminating;
            self.orders.push(Order::Kill(pod.seen.name.clone()));
        }
        Applied::Done
    }

    pub(super) fn launch(
        &mut self,
        name: &NodeName,
        offering: &Offering,
        now: Timestamp,
    ) -> Result<Applied, ClusterError> {
        if self.nodes.iter().any(|node| &node.seen.name == name) {
            return Ok(Applied::AlreadySo);
        }
        let alive = self.nodes.iter().filter(|node| node.seen.is_alive()).count();
        if alive >= self.settings.nodes_max {
            return Err(ClusterError::Refused(format!("this machine has room for {alive} nodes")));
        }
        let seen = Node {
            name: name.clone(),
            instance: None,
            offering: offering.clone(),
            phase: NodePhase::Provisioning,
            cordoned: None,
            protected: false,
            pool: None,
            launched_at: now,
            pods_max: 1,
        };
        self.nodes.push(LocalNode { seen, notice: None });
        Ok(Applied::Done)
    }

    /// The provider says that it takes a spot node at `deadline`; one with a ready pod where there is any.
    pub(super) fn interrupt(&mut self, deadline: Timestamp) -> Option<NodeName> {
        let candidates = self.nodes.iter().filter(|node| {
            let spot = node.seen.offering.capacity_type == CapacityType::Spot;
            spot && node.seen.is_alive() && node.notice.is_none()
        });
        // Reversed, because of equals the last one is taken.
        let chosen = candidates.rev().max_by_key(|node| {
            self.pods.iter().any(|pod| {
                pod.seen.phase == PodPhase::Ready && pod.seen.node.as_ref() == Some(&node.seen.name)
            })
        })?;
        let name = chosen.seen.name.clone();
        self.alive_node(&name)?.notice = Some(deadline);
        Some(name)
    }
}
