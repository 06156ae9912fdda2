//! A plan in the making: what every rule reads, and where it puts its steps.

use jiff::Timestamp;

use super::{Action, Memory, Plan, Policy, Reason, Snapshot, Step};
use crate::{
    cluster::{EndedBy, Node, NodePhase, Notice, NoticeKind, Observation},
    disruption::{self, Drain},
};

/// A recommendation is a weaker sign than a loss, and wears off sooner.
const REBALANCE_WEIGHT: f64 = 0.75;

pub(super) struct Draft<'a> {
    pub(super) policy: &'a Policy,
    pub(super) snapshot: &'a Snapshot,
    pub(super) memory: Memory,
    pub(super) drains: Vec<Drain<'a>>,
    pub(super) plan: Plan,
}

impl<'a> Draft<'a> {
    pub(super) fn new(policy: &'a Policy, snapshot: &'a Snapshot, mut memory: Memory) -> Self {
        memory.forget(policy, &snapshot.seen);
        let (drains, refused) = disruption::drains(&policy.disruption, &snapshot.seen);
        let plan = Plan { refused, ..Plan::default() };
        Self { policy, snapshot, memory, drains, plan }
    }

    pub(super) fn seen(&self) -> &'a Observation {
        &self.snapshot.seen
    }

    pub(super) fn now(&self) -> Timestamp {
        self.snapshot.seen.at
    }

    /// What a notice says about an offering is remembered once. A node that was taken without a notice counts too.
    pub(super) fn heed_notices(&mut self) {
        let seen = self.seen();
        let taken = seen.nodes.iter().filter_map(taken_by_provider);
        for notice in seen.notices.iter().cloned().chain(taken) {
            let Some(node) = seen.nodes.iter().find(|node| node.name == notice.node) else {
                continue;
            };
            let (known, weight) = match notice.kind {
                NoticeKind::Interruption { .. } => (&mut self.memory.interrupted, 1.0),
                NoticeKind::Rebalance => (&mut self.memory.rebalanced, REBALANCE_WEIGHT),
                // It says nothing about the offering.
                NoticeKind::Maintenance { .. } => continue,
            };
            if known.insert(node.name.clone()) {
                self.memory.mark(&self.policy.offers, &node.offering, weight, seen.at);
                self.plan.noticed.push(notice);
            }
        }
    }

    pub(super) fn empty_nodes(&mut self) {
        let due = disruption::steps(&self.policy.disruption, self.seen(), &self.drains);
        for step in due.steps {
            self.step(step);
        }
        self.plan.refused.extend(due.refused);
        self.wait(due.wait_until);
    }

    /// Adds a step, unless it was asked for a moment ago and the cluster may not show it yet. Is it new?
    pub(super) fn step(&mut self, step: Step) -> bool {
        let new = !self.memory.asked.contains_key(&step.action);
        if new {
            self.memory.asked.insert(step.action.clone(), self.now());
            self.plan.steps.push(step);
        }
        new
    }

    pub(super) fn refuse(&mut self, reason: Reason) {
        self.plan.refused.push(reason);
    }

    pub(super) fn wait(&mut self, until: Option<Timestamp>) {
        let now = self.now();
        let later = until.filter(|until| *until > now);
        self.plan.wait_until = self.plan.wait_until.into_iter().chain(later).min();
    }

    /// The nodes that may be given new pods, now or when they are ready.
    pub(super) fn usable(&self) -> impl Iterator<Item = &'a Node> {
        let leaves = |node: &Node| {
            let terminate = Action::Terminate { node: node.name.clone() };
            let drains = self.drains.iter().any(|drain| drain.node.name == node.name);
            drains || self.memory.asked.contains_key(&terminate)
        };
        self.seen().nodes.iter().filter(move |node| node.is_alive() && !leaves(node))
    }

    /// Launches that no observation shows yet.
    pub(super) fn unseen_launches(&self) -> impl Iterator<Item = &Action> {
        self.memory.asked.keys().filter(|action| matches!(action, Action::Launch { .. }))
    }

    pub(super) fn finish(mut self) -> (Plan, Memory) {
        let wakes_at = self.memory.fleet.wakes_at(&self.policy.fleet);
        self.wait(wakes_at);
        (self.plan, self.memory)
    }
}

fn taken_by_provider(node: &Node) -> Option<Notice> {
    match node.phase {
        NodePhase::Ended { at, by: EndedBy::Provider } => {
            let kind = NoticeKind::Interruption { deadline: at };
            Some(Notice { node: node.name.clone(), kind })
        }
        _ => None,
    }
}
