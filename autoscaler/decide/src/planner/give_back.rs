//! What is too much: nodes that were emptied, that stand empty, or that never came.

use std::{cmp::Reverse, collections::BTreeMap};

use jiff::Timestamp;

use super::{Action, Assumption, Reason, Step, draft::Draft};
use crate::{
    cluster::{CapacityType, CordonCause, Node, NodePhase},
    disruption::{Cause, Drain},
    ledger::FREE_BEFORE,
    units::Millis,
};

impl Draft<'_> {
    /// Gives nodes back.
    pub(super) fn give_back(&mut self) {
        for drain in self.drains.clone() {
            self.give_back_drained(&drain);
        }
        let mut room = room_by_kind(self.usable.iter().copied());
        for node in self.usable.clone() {
            // Without it, and without those that this plan gives back already, is there enough of its kind?
            let kind = node.offering.capacity_type;
            let others = room.get(&kind).copied().unwrap_or_default().saturating_sub(node.pods_max);
            let surplus = others >= self.plan.split.of(kind);
            if self.give_up(node) || (surplus && self.give_back_idle(node)) {
                room.insert(kind, others);
            }
        }
    }

    fn is_empty(&self, node: &Node) -> bool {
        self.memory.empty_since.contains_key(&node.name)
    }

    fn give_back_drained(&mut self, drain: &Drain<'_>) {
        let node = drain.node;
        // Until it is cordoned a pod may still be placed there.
        if node.cordoned.is_none() || node.is_leaving() || !self.is_empty(node) {
            return;
        }
        let name = node.name.clone();
        let overdue_after = self.policy.refund_wait_ms;
        if let Some(deadline) = self.free_if_left(drain)
            && self.now() < overdue_after.after(deadline)
        {
            self.refuse(Reason::RefundAhead { node: name, deadline });
            self.wait(Some(overdue_after.after(deadline)));
        } else {
            let reasons = vec![drain.reason(self.now()), Reason::Drained { node: name }];
            self.terminate(node, reasons);
        }
    }

    /// Keeps the provisioner from giving back what is left for the provider to take: an empty node is the first that it
    /// would consolidate.
    pub(super) fn protect(&mut self) {
        for drain in self.drains.clone() {
            let free_if_left = self.free_if_left(&drain);
            if let Some(deadline) = free_if_left.filter(|_| !drain.node.protected) {
                let node = drain.node.name.clone();
                self.step(Step {
                    action: Action::Protect { node: node.clone() },
                    assumes: vec![Assumption::NodeAlive { node: node.clone() }],
                    reasons: vec![Reason::RefundAhead { node, deadline }],
                });
            }
        }
    }

    /// When the provider will take this node, if its first hour is still free then and is worth waiting for.
    fn free_if_left(&self, drain: &Drain<'_>) -> Option<Timestamp> {
        let Cause::Interruption { deadline } = drain.cause else {
            return None;
        };
        let Node { offering, launched_at, .. } = drain.node;
        let sought = self.policy.refund_wait_ms > Millis::ZERO;
        let free = Millis::between(*launched_at, deadline) < FREE_BEFORE;
        let spot = offering.capacity_type == CapacityType::Spot;
        (sought && spot && free).then_some(deadline)
    }

    /// Gives up a machine that did not become ready, or has not been heard of for as long. Is it one?
    fn give_up(&mut self, node: &Node) -> bool {
        let (now, name) = (self.now(), node.name.clone());
        let waited_ms = self.memory.waits.of(node);
        let reason = match node.phase {
            NodePhase::Provisioning => (waited_ms >= self.patience(node))
                .then_some(Reason::NeverReady { node: name, waited_ms }),
            NodePhase::Unready { since } => {
                let late = waited_ms >= self.policy.launch_timeout_ms;
                late.then_some(Reason::NotHeardOf { node: name, since })
            }
            NodePhase::Ready | NodePhase::Leaving | NodePhase::Ended { .. } => None,
        };
        // Kubernetes itself moves pods off a node that it has not heard of for some minutes.
        let Some(reason) = reason.filter(|_| self.is_empty(node)) else {
            return false;
        };
        let never_ready = node.phase == NodePhase::Provisioning;
        self.terminate(node, vec![reason]);
        // Once: it may have to be asked for again. A machine that served says nothing against its offering.
        if never_ready && self.memory.never_ready.insert(node.name.clone()) {
            self.memory.mark(&self.policy.offers, &node.offering, 1.0, now);
        }
        true
    }

    /// How long a machine may take to become ready.
    fn patience(&self, node: &Node) -> Millis {
        let longest = self.policy.launch_timeout_ms;
        let spot = node.offering.capacity_type == CapacityType::Spot;
        // A provisioner buys nothing else for pods that a machine is on its way for.
        let bars_fallback = spot
            && self.seen().provisioner.is_some()
            && self.memory.fleet.fallback > 0
            && self.memory.fleet.gap_since.is_some();
        let fallback_after = self.policy.fleet.fallback_after_ms;
        let twice = fallback_after.saturating_add(fallback_after);
        if bars_fallback { longest.min(twice) } else { longest }
    }

    /// Gives back a node that has stood empty for long enough. Is it?
    fn give_back_idle(&mut self, node: &Node) -> bool {
        // What a provisioner bought for pods that wait is its own to give back.
        if self.seen().provisioner.is_some() {
            return false;
        }
        let Some(since) = self.memory.empty_since.get(&node.name).copied() else {
            return false;
        };
        let due = self.policy.empty_after_ms.after(since);
        if due > self.now() {
            self.wait(Some(due));
            return false;
        }
        self.terminate(node, vec![Reason::Empty { node: node.name.clone(), since }])
    }

    /// Begins to empty one node whose kind there is too much of, on demand first. The rest follows from its being
    /// cordoned. Nodes that stand empty already are given back sooner than others are emptied.
    pub(super) fn consolidate(&mut self) {
        if self.voluntary_drains() >= self.policy.disruption.voluntary_max {
            return;
        }
        let free: u32 = self.usable.iter().map(|node| self.free_room(node)).sum();
        // Nodes that stand empty are given back anyway.
        let busy = self.usable.iter().copied().filter(|node| self.pods_on(node) > 0);
        let busy_room = room_by_kind(busy);
        let surplus = |node: &Node| {
            let kind = node.offering.capacity_type;
            let room = busy_room.get(&kind).copied().unwrap_or_default();
            room.saturating_sub(self.plan.split.of(kind))
        };
        let movable = |node: &&Node| {
            let pods = self.pods_on(node);
            let elsewhere = free - self.free_room(node);
            (1..=elsewhere).contains(&pods) && node.pods_max <= surplus(node)
        };
        let dearest = |node: &&Node| (Reverse(node.offering.capacity_type), node.name.clone());
        if let Some(node) = self.usable.iter().copied().filter(movable).min_by_key(dearest) {
            let (capacity_type, pods) = (node.offering.capacity_type, surplus(node));
            self.give_up_surplus(node, vec![Reason::Surplus { capacity_type, pods }]);
        }
    }

    pub(super) fn voluntary_drains(&self) -> usize {
        self.drains.iter().filter(|drain| drain.leaves() && drain.deadline().is_none()).count()
    }

    pub(super) fn give_up_surplus(&mut self, node: &Node, reasons: Vec<Reason>) {
        let node = node.name.clone();
        self.step(Step {
            action: Action::Cordon { node: node.clone(), cause: CordonCause::Surplus },
            assumes: vec![Assumption::NodeAlive { node }],
            reasons,
        });
    }

    fn free_room(&self, node: &Node) -> u32 {
        let usable = node.is_ready() && node.cordoned.is_none();
        if usable { node.pods_max.saturating_sub(self.pods_on(node)) } else { 0 }
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

fn room_by_kind<'a>(nodes: impl Iterator<Item = &'a Node>) -> BTreeMap<CapacityType, u32> {
    let mut room = BTreeMap::<_, u32>::new();
    for node in nodes {
        *room.entry(node.offering.capacity_type).or_default() += node.pods_max;
    }
    room
}
