//! How machines are left: what is done about the provider's notices, how hard, and how often.

use std::time::Duration;

use clap::{
    Args,
    builder::{PossibleValuesParser, TypedValueParser},
};
use serde::{
    Deserialize, Serialize,
    de::{IntoDeserializer, value::Error},
};
use spotscale_decide::disruption::{DisruptionPolicy, OnInterruption, Reaction};

use super::{ConfigError, above_zero, duration, millis};

/// How machines are left.
#[derive(Debug, Clone, Args, Serialize)]
#[group(skip)]
pub struct Disruption {
    /// What is done when the provider takes a node: `cordon`, nothing new is placed there; `drain`, its pods are
    /// replaced and told to end as well.
    #[arg(
        long,
        env = "SPOTSCALE_AUTOSCALER_ON_INTERRUPTION",
        default_value = "drain",
        value_parser = one_of::<OnInterruption>(&["cordon", "drain"])
    )]
    pub on_interruption: OnInterruption,

    /// What is done when the provider says that it will restart or retire a node, which it may call off.
    #[arg(
        long,
        env = "SPOTSCALE_AUTOSCALER_ON_MAINTENANCE",
        default_value = "drain",
        value_parser = one_of::<Reaction>(&["ignore", "cordon", "drain"])
    )]
    pub on_maintenance: Reaction,

    /// What is done when the provider recommends to leave a node that it may take. Whatever it is, other offerings are
    /// preferred for a while.
    #[arg(
        long,
        env = "SPOTSCALE_AUTOSCALER_ON_REBALANCE",
        default_value = "drain",
        value_parser = one_of::<Reaction>(&["ignore", "cordon", "drain"])
    )]
    pub on_rebalance: Reaction,

    /// A node, and machines of its kind that were bought since, are left on a recommendation once in so long.
    #[arg(long, env = "SPOTSCALE_AUTOSCALER_REBALANCE_EVERY", default_value = "1h", value_parser = duration)]
    pub rebalance_every: Duration,

    /// A pod that a deadline forces out is told to end so long before its last moment.
    #[arg(long, env = "SPOTSCALE_AUTOSCALER_EVICT_MARGIN", default_value = "5s", value_parser = duration)]
    pub evict_margin: Duration,

    /// Nodes that are emptied at once when nothing forces it; 0 for never.
    #[arg(long, env = "SPOTSCALE_AUTOSCALER_VOLUNTARY_MAX", default_value_t = 1)]
    pub voluntary_max: usize,

    /// A node that the provider takes within its first hour, which is then free, is left to it, and waited for so long
    /// past its deadline; 0s: it is given back like any other.
    #[arg(long, env = "SPOTSCALE_AUTOSCALER_REFUND_WAIT", default_value = "5m", value_parser = duration)]
    pub refund_wait: Duration,

    /// An action whose effect is not seen is asked for again after so long.
    #[arg(long, env = "SPOTSCALE_AUTOSCALER_ASK_AGAIN_AFTER", default_value = "10s", value_parser = duration)]
    pub ask_again_after: Duration,
}

// === impl Disruption ===

impl Disruption {
    pub(super) fn validate(&self) -> Result<(), ConfigError> {
        above_zero("ask-again-after", self.ask_again_after)
    }

    pub(super) fn policy(&self) -> DisruptionPolicy {
        DisruptionPolicy {
            on_interruption: self.on_interruption,
            on_maintenance: self.on_maintenance,
            on_rebalance: self.on_rebalance,
            rebalance_every_ms: millis(self.rebalance_every),
            evict_margin_ms: millis(self.evict_margin),
            voluntary_max: self.voluntary_max,
        }
    }
}

/// One of these words, which name the values as everything that we write down does.
fn one_of<T>(words: &'static [&'static str]) -> impl TypedValueParser<Value = T>
where
    T: for<'a> Deserialize<'a> + Clone + Send + Sync + 'static,
{
    PossibleValuesParser::new(words)
        .try_map(|word: String| T::deserialize(IntoDeserializer::<Error>::into_deserializer(word)))
}
