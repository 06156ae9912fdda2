//! Runs the planner again on what it was made from, as `/debug/plan` dumps it: does the same plan result, and what would
//! another policy have decided?

use std::{fmt, io::Read};

use serde::{Deserialize, Serialize};
use serde_json::Value;
use spotscale_decide::planner::{Memory, Plan, Policy, Snapshot, plan};

/// The part of a dump that a plan is made from, and the plan.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Dump {
    /// The policy.
    pub policy: Policy,
    /// What was seen.
    pub snapshot: Snapshot,
    /// What was remembered before the plan.
    pub memory_before: Memory,
    /// The plan.
    pub plan: Plan,
}

/// Two plans side by side.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Replay {
    /// Does the same plan result?
    pub same: bool,
    /// The fields of the policy that were changed.
    pub changed: Vec<String>,
    /// Where they differ, as lines that begin with `-` for the plan of the dump and `+` for the new one.
    pub difference: Vec<String>,
    /// The new plan.
    pub plan: Plan,
}

/// Why a dump cannot be run again.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    /// It is no dump, or one of another version.
    #[error("not a dump of /debug/plan that can be run again: {0}")]
    Dump(serde_json::Error),
    /// A policy does not fit into itself.
    #[error("the changed policy: {0}")]
    Policy(serde_json::Error),
}

impl ReplayError {
    /// A label.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Dump(_) => "dump",
            Self::Policy(_) => "policy",
        }
    }
}

impl Dump {
    /// Reads a dump.
    pub fn read(input: impl Read) -> Result<Self, ReplayError> {
        serde_json::from_reader(input).map_err(ReplayError::Dump)
    }

    /// Changes what a flag changes: every field in which `with`, the policy with the flag, differs from one of `without`.
    /// The rest of the policy stays as it was dumped. Which fields were changed?
    pub fn change(
        &mut self,
        with: &Policy,
        without: &[Policy],
    ) -> Result<Vec<String>, ReplayError> {
        let json = |policy: &Policy| serde_json::to_value(policy).map_err(ReplayError::Policy);
        let (mut target, with) = (json(&self.policy)?, json(with)?);
        let mut changed = Vec::new();
        for without in without {
            patch(&mut target, &with, &json(without)?, "", &mut changed);
        }
        self.policy = serde_json::from_value(target).map_err(ReplayError::Policy)?;
        changed.sort_unstable();
        changed.dedup();
        Ok(changed)
    }

    /// Makes the plan anew.
    pub fn replay(&self, changed: Vec<String>) -> Replay {
        let (new, _) = plan(&self.policy, &self.snapshot, self.memory_before.clone());
        let (old_lines, new_lines) = (lines(&self.plan), lines(&new));
        let gone = old_lines.iter().filter(|line| !new_lines.contains(line));
        let come = new_lines.iter().filter(|line| !old_lines.contains(line));
        let gone = gone.map(|line| format!("- {line}"));
        let difference = gone.chain(come.map(|line| format!("+ {line}"))).collect();
        Replay { same: new == self.plan, changed, difference, plan: new }
    }
}

/// Puts into `target` what `with` has where it differs from `without`.
fn patch(target: &mut Value, with: &Value, without: &Value, path: &str, changed: &mut Vec<String>) {
    match (&mut *target, with, without) {
        (Value::Object(target), Value::Object(with), Value::Object(without)) => {
            for (name, value) in with {
                let place = target.entry(name.clone()).or_insert(Value::Null);
                let other = without.get(name).unwrap_or(&Value::Null);
                patch(place, value, other, &format!("{path}.{name}"), changed);
            }
        }
        _ if with != without => {
            *target = with.clone();
            changed.push(path.trim_start_matches('.').to_owned());
        }
        _ => {}
    }
}

/// A plan as lines that can be compared.
fn lines(plan: &Plan) -> Vec<String> {
    let steps = plan.steps.iter().map(|step| {
        let why: Vec<_> = step.reasons.iter().map(ToString::to_string).collect();
        format!("{}: {}", step.action, why.join("; "))
    });
    let split = format!("aims at {} spot and {} on demand", plan.split.spot, plan.split.on_demand);
    let offers = plan.ranking.offers.iter().map(|offer| {
        let cost = offer.per_million_requests.as_usd();
        format!("could buy {} at ${cost:.4} a million requests", offer.offering)
    });
    let excluded = plan.ranking.excluded.iter();
    let excluded = excluded.map(|(offering, why)| format!("leaves {offering} alone: {why}"));
    let refused = plan.refused.iter().map(|reason| format!("not done: {reason}"));
    let noticed = plan.noticed.iter().map(|it| format!("heeds {} of {}", it.kind.kind(), it.node));
    let wait = plan.wait_until.map(|until| format!("thinks again at {until}"));
    steps
        .chain([split])
        .chain(offers)
        .chain(excluded)
        .chain(noticed)
        .chain(refused)
        .chain(wait)
        .collect()
}

impl fmt::Display for Replay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.changed.is_empty() {
            writeln!(f, "policy changed in {}", self.changed.join(", "))?;
        }
        writeln!(
            f,
            "{}",
            if self.same { "the same plan results" } else { "another plan results" }
        )?;
        self.difference.iter().try_for_each(|line| writeln!(f, "{line}"))
    }
}
