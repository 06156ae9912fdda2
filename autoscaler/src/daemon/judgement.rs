//! What the plans are made by and from, besides what is seen: the policy as the market's machines have it, what is
//! remembered from plan to plan, and what became of the last ones.

use std::collections::{BTreeSet, VecDeque};

use jiff::Timestamp;
use spotscale_decide::{
    cluster::{Node, Offering},
    offers::Machine,
    planner::{self, Action, Memory, Plan, Policy, Snapshot},
};

use crate::{
    execute::Report,
    market::Prior,
    state::{Decision, Outcome},
};

/// Decisions that are kept to be shown.
const DECISIONS_MAX: usize = 100;

pub(super) struct Judgement {
    policy: Policy,
    memory: Memory,
    /// What it was before the last plan.
    memory_before: Memory,
    decisions: VecDeque<Decision>,
}

// === impl Judgement ===

impl Judgement {
    pub(super) fn new(policy: Policy) -> Self {
        let (memory, memory_before) = (Memory::default(), Memory::default());
        Self { policy, memory, memory_before, decisions: VecDeque::new() }
    }

    pub(super) const fn policy(&self) -> &Policy {
        &self.policy
    }

    pub(super) const fn memory(&self) -> &Memory {
        &self.memory
    }

    pub(super) const fn memory_before(&self) -> &Memory {
        &self.memory_before
    }

    pub(super) const fn decisions(&self) -> &VecDeque<Decision> {
        &self.decisions
    }

    /// Goes on with what another has remembered.
    pub(super) fn resume(&mut self, memory: Memory) {
        self.memory = memory;
    }

    /// Heeds what the market says of risks, and of the machines if it does; these, where they are not as they were.
    pub(super) fn heed(
        &mut self,
        prior: &Prior,
        machines: Option<Vec<Machine>>,
    ) -> Option<&[Machine]> {
        let offers = &mut self.policy.offers;
        offers.prior.clone_from(&prior.interruptions_per_hour);
        offers.machines = machines.filter(|machines| machines != &offers.machines)?;
        Some(&offers.machines)
    }

    /// So many pods fit on each of these nodes, where it follows from its type.
    pub(super) fn size(&self, nodes: &mut [Node]) {
        for node in nodes {
            if let Some(machine) = self.policy.offers.machine(&node.offering.instance_type) {
                node.pods_max = machine.pods_max;
            }
        }
    }

    /// The provider turns out to have taken these without a word.
    pub(super) fn took(&mut self, taken: &[Offering], now: Timestamp) {
        for offering in taken {
            self.memory.taken(&self.policy.offers, offering, now);
        }
    }

    pub(super) fn plan(&mut self, snapshot: &Snapshot) -> Plan {
        let memory = std::mem::take(&mut self.memory);
        self.memory_before.clone_from(&memory);
        let (plan, memory) = planner::plan(&self.policy, snapshot, memory);
        self.memory = memory;
        plan
    }

    /// What a plan came to is remembered for the next. What was not even tried may be planned again at once, and so may
    /// what has failed and cannot wait.
    pub(super) fn learn(&mut self, now: Timestamp, plan: &Plan, report: Report) {
        let tried = report.decisions.iter().filter(|decision| {
            let failed = matches!(decision.outcome, Outcome::Failed { .. });
            decision.outcome.was_tried() && !(failed && decision.action.is_urgent())
        });
        let tried: BTreeSet<&Action> = tried.map(|decision| &decision.action).collect();
        let actions = plan.steps.iter().map(|step| &step.action);
        for action in actions.filter(|action| !tried.contains(action)) {
            self.memory.dropped(action);
        }
        for launch in &report.no_capacity {
            self.memory.no_capacity(&self.policy.offers, launch, now);
        }
        self.decisions.extend(report.decisions);
        let too_many = self.decisions.len().saturating_sub(DECISIONS_MAX);
        self.decisions.drain(..too_many);
    }
}
