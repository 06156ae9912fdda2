//! What is too much: nodes that were emptied, that stand empty, or that never came.

use std::cmp::Reverse;

use jiff::Timestamp;

use super::{Action, Assumption, Reason, Step, draft::Draft};
use crate::{
    cluster::{CapacityType, CordonCause, Node, NodePhase},
    disruption::Drain,
    ledger::FREE_BEFORE,
    units::Millis,
};

/// A provider may be late. After so long past its own deadline it is no longer waited for.
const OVERDUE_AFTER: Millis = Millis::from_secs(300);

impl Draft<'_> {
    /// Gives nodes back.
    pub(super) fn give_back(&mut self) {
        for drain in self.drains.clone() {
            self.give_back_drained(&drain);
        }
        for node in self.usable().collect::<Vec<_>>() {
            if !self.give_up(node) {
                self.give_back_idle(node);
            }
        }
    }

    fn is_empty(&self, node: &Node) -> bool {
        self.memory.empty_since.contains_key(&node.name)
    }

    fn give_back_drained(&mut self, drain: &Drain<'_>) {
        let node = drain.node;
        // Until it is cordoned a pod may still be placed there.
        if node.cordoned.is_none() || !self.is_empty(node) {
            return;
        }
        let name = node.name.clone();
        let free_if_left = drain.deadline().filter(|deadline| is_free_if_left(node, *deadline));
        if let Some(deadline) = free_if_left
            && self.now() < OVERDUE_AFTER.after(deadline)
        {
            self.refuse(Reason::RefundAhead { node: name, deadline });
            self.wait(Some(OVERDUE_AFTER.after(deadline)));
        } else {
            let reasons = vec![drain.reason(self.now()), Reason::Drained { node: name }];
            self.terminate(node, reasons);
        }
    }

    /// Gives up a machine that did not become ready.
    fn give_up(&mut self, node: &Node) -> bool {
        let waited_ms = Millis::between(node.launched_at, self.now());
        let late =
            node.phase == NodePhase::Provisioning && waited_ms >= self.policy.launch_timeout_ms;
        let reason = || Reason::NeverReady { node: node.name.clone(), waited_ms };
        if late && self.terminate(node, vec![reason()]) {
            let now = self.now();
            self.memory.mark(&self.policy.offers, &node.offering, 1.0, now);
        }
        late
    }

    fn give_back_idle(&mut self, node: &Node) {
        let Some(since) = self.memory.empty_since.get(&node.name).copied() else {
            return;
        };
        if !self.is_surplus(node) {
            return;
        }
        let due = self.policy.empty_after_ms.after(since);
        if due <= self.now() {
            self.terminate(node, vec![Reason::Empty { node: node.name.clone(), since }]);
        } else {
            self.wait(Some(due));
        }
    }

    /// Is there enough of its kind without it, and without those that this plan gives back already?
    fn is_surplus(&self, node: &Node) -> bool {
        let kind = node.offering.capacity_type;
        let others = self
            .usable()
            .filter(|other| other.offering.capacity_type == kind && other.name != node.name);
        others.map(|other| other.pods_max).sum::<u32>() >= self.plan.split.of(kind)
    }

    /// Begins to empty one node whose kind there is too much of, on demand first. The rest follows from its being
    /// cordoned. Nodes that stand empty already are given back sooner than others are emptied.
    pub(super) fn consolidate(&mut self) {
        let busy = self.drains.iter().filter(|drain| drain.deadline().is_none()).count();
        if busy >= self.policy.disruption.voluntary_max {
            return;
        }
        let free: u32 = self.usable().map(|node| self.free_room(node)).sum();
        let movable = |node: &&Node| {
            let pods = self.pods_on(node);
            let elsewhere = free - self.free_room(node);
            (1..=elsewhere).contains(&pods) && node.pods_max <= self.busy_surplus(node)
        };
        let dearest = |node: &&Node| (Reverse(node.offering.capacity_type), node.name.clone());
        if let Some(node) = self.usable().filter(movable).min_by_key(dearest) {
            let reason = Reason::Surplus {
                capacity_type: node.offering.capacity_type,
                pods: self.busy_surplus(node),
            };
            let node = node.name.clone();
            self.step(Step {
                action: Action::Cordon { node: node.clone(), cause: CordonCause::Surplus },
                assumes: vec![Assumption::NodeAlive { node }],
                reasons: vec![reason],
            });
        }
    }

    /// How much more there is of its kind than is wanted, without nodes that stand empty.
    fn busy_surplus(&self, node: &Node) -> u32 {
        let kind = node.offering.capacity_type;
        let busy = |other: &&Node| other.offering.capacity_type == kind && self.pods_on(other) > 0;
        let room: u32 = self.usable().filter(busy).map(|other| other.pods_max).sum();
        room.saturating_sub(self.plan.split.of(kind))
    }

    fn free_room(&self, node: &Node) -> u32 {
        if node.is_ready() { node.pods_max.saturating_sub(self.pods_on(node)) } else { 0 }
    }

    fn pods_on(&self, node: &Node) -> u32 {
        u32::try_from(self.seen().pods_on(&node.name).count()).unwrap_or(u32::MAX)
    }

    fn terminate(&mut self, node: &Node, reasons: Vec<Reason>) -> bool {
        let node = node.name.clone();
        self.step(Step {
            action: Action::Terminate { node: node.clone() },
            assumes: vec![
                Assumption::NodeAlive { node: node.clone() },
                Assumption::NodeEmpty { node },
            ],
            reasons,
        })
    }
}

/// Will the provider take this node while its first hour is still free?
fn is_free_if_left(node: &Node, deadline: Timestamp) -> bool {
    let spot = node.offering.capacity_type == CapacityType::Spot;
    spot && Millis::between(node.launched_at, deadline) < FREE_BEFORE
}
