//! A plan in the making: what every rule reads, and where it puts its steps.

use std::collections::BTreeSet;

use jiff::Timestamp;

use super::{Action, Memory, Plan, Policy, Reason, Snapshot, Step};
use crate::{
    budget::Allowance,
    cluster::{EndedBy, Index, Node, NodePhase, Notice, NoticeKind, Observation},
    disruption::{self, Cause, Drain, Extent},
    fleet::Room,
    freshness::{Aged, Standing},
    units::{Millis, NodeName},
};

pub(super) struct Draft<'a> {
    pub(super) policy: &'a Policy,
    pub(super) snapshot: &'a Snapshot,
    pub(super) index: &'a Index<'a>,
    pub(super) memory: Memory,
    pub(super) drains: Vec<Drain<'a>>,
    /// The nodes that may be given new pods or at least keep theirs, now or when they are ready.
    pub(super) usable: Vec<&'a Node>,
    pub(super) room: Room,
    /// What the budget still allows; worked out before anything is bought.
    pub(super) allowance: Option<Allowance>,
    pub(super) plan: Plan,
}

impl<'a> Draft<'a> {
    pub(super) fn new(
        policy: &'a Policy,
        snapshot: &'a Snapshot,
        index: &'a Index<'a>,
        mut memory: Memory,
    ) -> Self {
        memory.forget(policy, index);
        let (drains, refused) = disruption::drains(&policy.disruption, index, &memory.moves);
        let usable = usable(index.seen, &memory, &drains);
        let plan = Plan { refused, ..Plan::default() };
        Self {
            policy,
            snapshot,
            index,
            memory,
            drains,
            usable,
            room: Room::default(),
            allowance: None,
            plan,
        }
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
            let Some(node) = self.index.node(&notice.node) else {
                continue;
            };
            let (known, weight) = match notice.kind {
                NoticeKind::Interruption { .. } => (&mut self.memory.interrupted, 1.0),
                NoticeKind::Rebalance => {
                    (&mut self.memory.rebalanced, self.policy.offers.rebalance_mark)
                }
                // It says nothing about the offering.
                NoticeKind::Maintenance { .. } => continue,
            };
            if known.insert(node.name.clone()) {
                self.memory.mark(&self.policy.offers, &node.offering, weight, seen.at);
                self.plan.noticed.push(notice);
            }
        }
    }

    /// Says so when prices are too old for anything to change for their sake.
    pub(super) fn heed_price_age(&mut self) {
        let standing = self.price_standing();
        if standing != Standing::Fresh {
            let expired = !standing.is_usable();
            self.refuse(Reason::OldPrices { age_ms: self.snapshot.price_age_ms, expired });
        }
    }

    pub(super) fn prices_are_fresh(&self) -> bool {
        self.price_standing() == Standing::Fresh
    }

    fn price_standing(&self) -> Standing {
        let now = self.snapshot.price_age_ms.unwrap_or_default();
        let told = self.snapshot.price_age_ms.map(|_| Aged { value: (), at: Millis::ZERO });
        self.policy.prices.judge(told.as_ref(), now)
    }

    pub(super) fn empty_nodes(&mut self) {
        let due = disruption::steps(&self.policy.disruption, self.index, &self.drains);
        for step in due.steps {
            self.step(step);
        }
        self.plan.refused.extend(due.refused);
        self.wait(due.wait_until);
        self.plan.forced_at = due.wait_until;
        let advised = |drain: &&Drain<'_>| {
            let begins = drain.node.cordoned.is_none() && drain.extent != Extent::Cordon;
            begins && drain.cause == Cause::Rebalance
        };
        for drain in self.drains.iter().filter(advised) {
            self.memory.moves.record(drain.node, self.snapshot.seen.at);
        }
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

    /// Launches that no observation shows yet.
    pub(super) fn unseen_launches(&self) -> impl Iterator<Item = &Action> {
        self.memory.asked.keys().filter(|action| matches!(action, Action::Launch { .. }))
    }

    pub(super) fn pods_on(&self, node: &Node) -> u32 {
        u32::try_from(self.index.pods_on(&node.name).len()).unwrap_or(u32::MAX)
    }

    pub(super) fn finish(mut self) -> (Plan, Memory) {
        let wakes_at = self.memory.fleet.wakes_at(&self.policy.fleet);
        self.wait(wakes_at);
        (self.plan, self.memory)
    }
}

fn usable<'a>(seen: &'a Observation, memory: &Memory, drains: &[Drain<'a>]) -> Vec<&'a Node> {
    let drained = drains.iter().filter(|drain| drain.leaves()).map(|drain| &drain.node.name);
    let given_back = memory.asked.keys().filter_map(|action| match action {
        Action::Terminate { node } => Some(node),
        _ => None,
    });
    let leaves: BTreeSet<&NodeName> = drained.chain(given_back).collect();
    let stays =
        |node: &&Node| node.is_alive() && !node.is_leaving() && !leaves.contains(&node.name);
    seen.nodes.iter().filter(stays).collect()
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
