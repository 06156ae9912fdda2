//! The daemon's flags and environment, their checks, and the policy they spell.

mod disruption;
mod fleet;
mod machines;
mod market;
mod money;
mod risk;
#[cfg(test)]
mod tests;
mod traffic;

use std::{collections::BTreeMap, time::Duration};

use clap::Args;
use serde::Serialize;
use spotscale_decide::{
    ledger::Baseline,
    offers::{Machine, Measured, OfferPolicy, Shape},
    planner::Policy,
    units::{InstanceType, Millis, Span},
};

use self::{
    disruption::Disruption,
    fleet::Fleet,
    machines::Machines,
    market::{Prices, Steering},
    money::{BaselineFlags, BudgetFlags},
    risk::Risk,
    traffic::TrafficFlags,
};

/// The cost-aware autoscaler daemon.
#[derive(Debug, Clone, Args, Serialize)]
pub struct Config {
    /// What may be bought, and what it can do.
    #[command(flatten)]
    pub machines: Machines,

    /// Time between two looks at the cluster; it is looked at sooner when a deadline asks for it.
    #[arg(long, env = "SPOTSCALE_AUTOSCALER_TICK", default_value = "1s", value_parser = duration)]
    pub tick: Duration,

    /// A cluster or a market that takes longer to answer is taken to be out of reach.
    #[arg(long, env = "SPOTSCALE_AUTOSCALER_CALL_TIMEOUT", default_value = "10s", value_parser = duration)]
    pub call_timeout: Duration,

    /// Do nothing, and tell what would be done: nothing is written anywhere, and no notice is taken off a queue.
    #[arg(long, env = "SPOTSCALE_AUTOSCALER_DRY_RUN")]
    pub dry_run: bool,

    /// How the throughput of machines is measured from their traffic.
    #[command(flatten, next_help_heading = "Measured throughput")]
    pub traffic: TrafficFlags,

    /// Which machines are held.
    #[command(flatten, next_help_heading = "Fleet")]
    pub fleet: Fleet,

    /// How machines are left.
    #[command(flatten, next_help_heading = "Leaving machines")]
    pub disruption: Disruption,

    /// What is reckoned with for losing a machine.
    #[command(flatten, next_help_heading = "Risk")]
    pub risk: Risk,

    /// How long prices count.
    #[command(flatten, next_help_heading = "Prices")]
    pub prices: Prices,

    /// How readily Karpenter is steered.
    #[command(flatten, next_help_heading = "Steering Karpenter")]
    pub steering: Steering,

    /// What may be spent.
    #[command(flatten, next_help_heading = "Money")]
    pub budget: BudgetFlags,

    /// What the spend is held against.
    #[command(flatten, next_help_heading = "Money")]
    pub baseline: BaselineFlags,
}

/// Flags that cannot work.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// Nothing may be bought.
    #[error(
        "--machines-file or --machine is missing: without a machine type nothing can be bought"
    )]
    NoMachine,
    /// A type is given twice.
    #[error("--machine {0} is given twice")]
    MachineTwice(InstanceType),
    /// The baseline's type has no known size.
    #[error("--baseline-type {0} is none of the machine types that may be bought")]
    UnknownBaseline(InstanceType),
    /// A number that must be above zero is not.
    #[error("--{0} must be above zero")]
    Zero(&'static str),
    /// A number that is none, or below zero.
    #[error("--{0} must be a number from 0 up")]
    Number(&'static str),
    /// A factor that would leave nothing.
    #[error("--traffic-bound must be 1 or more")]
    Bound,
    /// Spans that make no sense together.
    #[error("--{shorter} must be shorter than --{longer}")]
    Order {
        /// The flag of the shorter one.
        shorter: &'static str,
        /// The flag of the longer one.
        longer: &'static str,
    },
}

// === impl ConfigError ===

impl ConfigError {
    /// Refuses a span, by its flag, that should be shorter than another and is not.
    fn order(
        (shorter, short): (&'static str, Duration),
        (longer, long): (&'static str, Duration),
    ) -> Result<(), Self> {
        if short < long { Ok(()) } else { Err(Self::Order { shorter, longer }) }
    }
}

// === impl Config ===

impl Config {
    /// Checks what the flags say together.
    pub fn validate(&self) -> Result<(), ConfigError> {
        self.machines.validate()?;
        let unknown = |wanted: &&InstanceType| !self.types().contains(wanted);
        if let Some(wanted) = self.baseline.baseline_type.as_ref().filter(unknown) {
            return Err(ConfigError::UnknownBaseline(wanted.clone()));
        }
        above_zero("tick", self.tick)?;
        above_zero("call-timeout", self.call_timeout)?;
        self.fleet.validate()?;
        self.disruption.validate()?;
        self.risk.validate()?;
        self.prices.validate()?;
        self.traffic.validate()?;
        self.budget.validate()
    }

    /// The machine types that may be bought.
    pub fn types(&self) -> Vec<InstanceType> {
        self.machines.all().into_iter().map(|measured| measured.instance_type).collect()
    }

    /// The machines that may be bought, where so much is known of their types.
    pub(crate) fn machines(&self, shapes: &BTreeMap<InstanceType, Shape>) -> Vec<Machine> {
        let sized = |measured: &Measured| {
            measured.machine(shapes.get(&measured.instance_type).copied(), self.machines.pod_cpus)
        };
        self.machines.all().iter().map(sized).collect()
    }

    /// Does it follow from no type how many pods fit on it?
    pub(crate) fn sizes_are_said(&self) -> bool {
        self.machines.all().iter().all(|measured| measured.pods_max.is_some())
    }

    /// What the planner is told, as far as flags say it: of the machine types nothing more is known.
    pub fn policy(&self) -> Policy {
        Policy {
            offers: OfferPolicy {
                machines: self.machines(&BTreeMap::new()),
                traffic: self.traffic.policy(),
                ..self.risk.policy()
            },
            fleet: self.fleet.policy(),
            disruption: self.disruption.policy(),
            steering: self.steering.policy(),
            prices: self.prices.policy(),
            budget: self.budget.policy(),
            nodes_max: self.fleet.nodes_max,
            empty_after_ms: millis(self.fleet.empty_after),
            launch_timeout_ms: millis(self.fleet.launch_timeout),
            refund_wait_ms: millis(self.disruption.refund_wait),
            ask_again_after_ms: millis(self.disruption.ask_again_after),
        }
    }

    /// What the spend is held against, of these machines; nothing when there are none.
    pub fn baseline(&self, machines: &[Machine]) -> Option<Baseline> {
        let wanted = self.baseline.baseline_type.as_ref();
        let is_wanted =
            |machine: &&Machine| wanted.is_none_or(|wanted| &machine.instance_type == wanted);
        let machine = machines.iter().find(is_wanted)?;
        Some(Baseline {
            instance_type: machine.instance_type.clone(),
            pods_max: machine.pods_max,
            nodes: self.baseline.baseline_nodes,
        })
    }
}

fn millis(span: Duration) -> Millis {
    Span(span).millis()
}

fn above_zero(flag: &'static str, span: Duration) -> Result<(), ConfigError> {
    if span.is_zero() { Err(ConfigError::Zero(flag)) } else { Ok(()) }
}

/// A span as flags spell it: `250ms`, `30s`, `5m`.
pub fn duration(text: &str) -> Result<Duration, String> {
    text.parse::<Span>().map(|span| span.0).map_err(|error| error.to_string())
}
