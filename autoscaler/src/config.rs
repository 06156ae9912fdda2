//! The daemon's flags and environment, their checks, and the policy they spell.

use std::{collections::BTreeMap, str::FromStr, time::Duration};

use clap::Args;
use jiff::SignedDuration;
use serde::Serialize;
use spotscale_decide::{
    disruption::DisruptionPolicy,
    fleet::FleetPolicy,
    ledger::Baseline,
    offers::{Machine, OfferPolicy, Throughput},
    planner::Policy,
    units::{InstanceType, Millis},
};

/// The cost-aware autoscaler daemon.
#[derive(Debug, Clone, Args, Serialize)]
pub struct Config {
    /// A machine type that may be bought, with the requests per second that it was measured to answer within the SLO
    /// and the pods that fit on it (1 if not given): TYPE=RATE or TYPE=RATE/PODS. May be repeated.
    #[arg(
        long = "machine",
        env = "SPOTSCALE_AUTOSCALER_MACHINES",
        value_delimiter = ',',
        value_parser = machine
    )]
    pub machines: Vec<Machine>,

    /// Time between two looks at the cluster; it is looked at sooner when a deadline asks for it.
    #[arg(long, env = "SPOTSCALE_AUTOSCALER_TICK", default_value = "1s", value_parser = duration)]
    pub tick: Duration,

    /// Time between two looks at the prices. Spot prices change a few times a day.
    #[arg(long, env = "SPOTSCALE_AUTOSCALER_PRICE_REFRESH", default_value = "5m", value_parser = duration)]
    pub price_refresh: Duration,

    /// A cluster or a market that takes longer to answer is taken to be out of reach.
    #[arg(long, env = "SPOTSCALE_AUTOSCALER_CALL_TIMEOUT", default_value = "10s", value_parser = duration)]
    pub call_timeout: Duration,

    /// Do nothing, and tell what would be done: nothing is written anywhere, and no notice is taken off a queue.
    #[arg(long, env = "SPOTSCALE_AUTOSCALER_DRY_RUN")]
    pub dry_run: bool,

    /// Which machines are held.
    #[command(flatten)]
    pub fleet: Fleet,

    /// How machines are left.
    #[command(flatten)]
    pub disruption: Disruption,

    /// What the spend is held against.
    #[command(flatten)]
    pub baseline: BaselineFlags,
}

/// Which machines are held.
#[derive(Debug, Clone, Args, Serialize)]
#[group(skip)]
pub struct Fleet {
    /// Nodes that may be there at once, besides those that are being emptied.
    #[arg(long, env = "SPOTSCALE_AUTOSCALER_NODES_MAX", default_value_t = 100)]
    pub nodes_max: u32,

    /// Pods' worth of on-demand capacity that is held whatever spot does, as long as so many pods are wanted.
    #[arg(long, env = "SPOTSCALE_AUTOSCALER_ON_DEMAND_FLOOR", default_value_t = 0)]
    pub on_demand_floor: u32,

    /// How long spot capacity may be missing before on-demand capacity takes over.
    #[arg(long, env = "SPOTSCALE_AUTOSCALER_FALLBACK_AFTER", default_value = "2m", value_parser = duration)]
    pub fallback_after: Duration,

    /// How long spot capacity must be ready before on-demand capacity is given back.
    #[arg(long, env = "SPOTSCALE_AUTOSCALER_RETURN_AFTER", default_value = "5m", value_parser = duration)]
    pub return_after: Duration,

    /// A node that is not needed is given back after running nothing for so long.
    #[arg(long, env = "SPOTSCALE_AUTOSCALER_EMPTY_AFTER", default_value = "1m", value_parser = duration)]
    pub empty_after: Duration,

    /// A machine that is not ready after so long is given back.
    #[arg(long, env = "SPOTSCALE_AUTOSCALER_LAUNCH_TIMEOUT", default_value = "10m", value_parser = duration)]
    pub launch_timeout: Duration,

    /// Interruptions per hour expected of a spot node of which nothing bad is known.
    #[arg(long, env = "SPOTSCALE_AUTOSCALER_INTERRUPTIONS_PER_HOUR", default_value_t = 0.0002)]
    pub interruptions_per_hour: f64,

    /// In this time half of what is held against an offering that was lost is forgotten.
    #[arg(long, env = "SPOTSCALE_AUTOSCALER_MARK_HALF_LIFE", default_value = "30m", value_parser = duration)]
    pub mark_half_life: Duration,
}

/// How machines are left.
#[derive(Debug, Clone, Args, Serialize)]
#[group(skip)]
pub struct Disruption {
    /// A pod that a deadline forces out is told to end so long before its last moment.
    #[arg(long, env = "SPOTSCALE_AUTOSCALER_EVICT_MARGIN", default_value = "5s", value_parser = duration)]
    pub evict_margin: Duration,

    /// Nodes that are emptied at once when nothing forces it; 0 for never.
    #[arg(long, env = "SPOTSCALE_AUTOSCALER_VOLUNTARY_MAX", default_value_t = 1)]
    pub voluntary_max: usize,

    /// An action whose effect is not seen is asked for again after so long.
    #[arg(long, env = "SPOTSCALE_AUTOSCALER_ASK_AGAIN_AFTER", default_value = "10s", value_parser = duration)]
    pub ask_again_after: Duration,
}

/// What the spend is held against: a fleet of one machine type, on demand, day and night.
#[derive(Debug, Clone, Args, Serialize)]
#[group(skip)]
pub struct BaselineFlags {
    /// The machine type of the baseline fleet; the first --machine if not given.
    #[arg(long, env = "SPOTSCALE_AUTOSCALER_BASELINE_TYPE")]
    pub baseline_type: Option<InstanceType>,

    /// How many; if not given, as many as the most pods that have served at once need.
    #[arg(long, env = "SPOTSCALE_AUTOSCALER_BASELINE_NODES")]
    pub baseline_nodes: Option<u32>,
}

/// Flags that cannot work.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// Nothing may be bought.
    #[error("--machine is missing: without a machine type nothing can be bought")]
    NoMachine,
    /// A type is given twice.
    #[error("--machine {0} is given twice")]
    MachineTwice(InstanceType),
    /// The baseline's type has no known size.
    #[error("--baseline-type {0} is none of the --machine types")]
    UnknownBaseline(InstanceType),
    /// A number that must be above zero is not.
    #[error("--{0} must be above zero")]
    Zero(&'static str),
    /// A rate that is none.
    #[error("--interruptions-per-hour must be a number from 0 up")]
    Interruptions,
}

// === impl Config ===

impl Config {
    /// Checks what the flags say together.
    pub fn validate(&self) -> Result<(), ConfigError> {
        let types = || self.machines.iter().map(|machine| &machine.instance_type);
        for (index, instance_type) in types().enumerate() {
            if types().take(index).any(|earlier| earlier == instance_type) {
                return Err(ConfigError::MachineTwice(instance_type.clone()));
            }
        }
        let unknown = |wanted: &&InstanceType| !types().any(|known| known == *wanted);
        if let Some(wanted) = self.baseline.baseline_type.as_ref().filter(unknown) {
            return Err(ConfigError::UnknownBaseline(wanted.clone()));
        }
        self.baseline().ok_or(ConfigError::NoMachine)?;
        let spans = [
            ("tick", self.tick),
            ("price-refresh", self.price_refresh),
            ("call-timeout", self.call_timeout),
            ("launch-timeout", self.fleet.launch_timeout),
            ("mark-half-life", self.fleet.mark_half_life),
            ("nodes-max", Duration::from_secs(self.fleet.nodes_max.into())),
        ];
        if let Some((flag, _)) = spans.iter().find(|(_, span)| span.is_zero()) {
            return Err(ConfigError::Zero(flag));
        }
        let rate = self.fleet.interruptions_per_hour;
        if rate.is_finite() && rate >= 0.0 { Ok(()) } else { Err(ConfigError::Interruptions) }
    }

    /// How many pods fit on a machine of each type that may be bought.
    pub fn pods_max(&self) -> BTreeMap<InstanceType, u32> {
        let sized = |machine: &Machine| (machine.instance_type.clone(), machine.pods_max);
        self.machines.iter().map(sized).collect()
    }

    /// What the planner is told.
    pub fn policy(&self) -> Policy {
        let Fleet { nodes_max, on_demand_floor, interruptions_per_hour, .. } = self.fleet;
        Policy {
            offers: OfferPolicy {
                machines: self.machines.clone(),
                interruptions_per_hour,
                mark_half_life_ms: millis(self.fleet.mark_half_life),
                ..OfferPolicy::default()
            },
            fleet: FleetPolicy {
                on_demand_floor,
                fallback_after_ms: millis(self.fleet.fallback_after),
                return_after_ms: millis(self.fleet.return_after),
                ..FleetPolicy::default()
            },
            disruption: DisruptionPolicy {
                evict_margin_ms: millis(self.disruption.evict_margin),
                voluntary_max: self.disruption.voluntary_max,
                ..DisruptionPolicy::default()
            },
            nodes_max,
            empty_after_ms: millis(self.fleet.empty_after),
            launch_timeout_ms: millis(self.fleet.launch_timeout),
            ask_again_after_ms: millis(self.disruption.ask_again_after),
            ..Policy::default()
        }
    }

    /// What the spend is held against; nothing when no machine type is known.
    pub fn baseline(&self) -> Option<Baseline> {
        let wanted = self.baseline.baseline_type.as_ref();
        let is_wanted =
            |machine: &&Machine| wanted.is_none_or(|wanted| &machine.instance_type == wanted);
        let machine = self.machines.iter().find(is_wanted)?;
        Some(Baseline {
            instance_type: machine.instance_type.clone(),
            pods_max: machine.pods_max,
            nodes: self.baseline.baseline_nodes,
        })
    }
}

fn millis(span: Duration) -> Millis {
    Millis(u64::try_from(span.as_millis()).unwrap_or(u64::MAX))
}

/// A span as flags spell it: `250ms`, `30s`, `5m`.
pub fn duration(text: &str) -> Result<Duration, String> {
    let wrong = || format!("{text:?} is not a duration such as 250ms, 30s or 5m");
    let span = SignedDuration::from_str(text).map_err(|_| wrong())?;
    Duration::try_from(span).map_err(|_| wrong())
}

fn machine(text: &str) -> Result<Machine, String> {
    let wrong = || format!("{text:?} is not TYPE=RATE or TYPE=RATE/PODS");
    let (instance_type, size) = text.split_once('=').ok_or_else(wrong)?;
    let (rate, pods) = size.split_once('/').unwrap_or((size, "1"));
    let rate: f64 = rate.parse().map_err(|_| wrong())?;
    let pods_max: u32 = pods.parse().map_err(|_| wrong())?;
    if pods_max == 0 {
        return Err(wrong());
    }
    Ok(Machine {
        instance_type: instance_type.parse().map_err(|_| wrong())?,
        throughput: Throughput::try_from(rate).map_err(|error| error.to_string())?,
        pods_max,
    })
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Cli {
        #[command(flatten)]
        config: Config,
    }

    fn parse(flags: &[&str]) -> Result<Config, String> {
        let words = std::iter::once(&"autoscaler").chain(flags);
        Cli::try_parse_from(words).map(|cli| cli.config).map_err(|error| error.to_string())
    }

    fn refusal(flags: &[&str]) -> String {
        parse(flags).unwrap().validate().unwrap_err().to_string()
    }

    #[test]
    fn the_flags_spell_a_policy() {
        let flags = ["--machine=g4dn.xlarge=400,c7i.large=40/2", "--fallback-after=90s"];
        let config = parse(&flags).unwrap();
        config.validate().unwrap();
        let policy = config.policy();
        assert_eq!(policy.fleet.fallback_after_ms, Millis::from_secs(90));
        assert_eq!(policy.offers.machines[1].pods_max, 2);
        assert_eq!(config.baseline().unwrap().instance_type.as_str(), "g4dn.xlarge");
        serde_json::to_string(&config).unwrap();
    }

    #[test]
    fn what_is_not_given_is_as_the_planner_has_it() {
        assert_eq!(parse(&[]).unwrap().policy(), Policy::default());
    }

    #[test]
    fn a_wrong_flag_is_refused_in_words() {
        for wrong in ["g4dn.xlarge", "=4", "a=x", "a=0", "a=inf", "a=4/0", "a=4/x"] {
            assert!(parse(&["--machine", wrong]).is_err(), "{wrong} was accepted");
        }
        assert!(parse(&["--tick=soon"]).unwrap_err().contains("is not a duration such as"));
        assert!(refusal(&[]).starts_with("--machine is missing"));
        assert_eq!(refusal(&["--machine=a=1,a=2"]), "--machine a is given twice");
        let unknown = refusal(&["--machine=a=1", "--baseline-type=b"]);
        assert_eq!(unknown, "--baseline-type b is none of the --machine types");
        assert_eq!(refusal(&["--machine=a=1", "--tick=0s"]), "--tick must be above zero");
        let rate = refusal(&["--machine=a=1", "--interruptions-per-hour=NaN"]);
        assert!(rate.starts_with("--interruptions-per-hour"));
    }
}
