//! What a decision on replicas sees of the world: each signal with its own age, each possibly absent.

use serde::{Deserialize, Serialize};

use crate::{
    demand::Demand,
    freshness::Aged,
    units::{PriceRatio, Ratio},
};

/// The signals at one moment.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Signals {
    /// What the fronts hold, serve and see arriving.
    pub demand: Option<Aged<Demand>>,
    /// Mean utilisation of the GPUs of the replicas.
    pub gpu: Option<Aged<Ratio>>,
    /// What the replicas' machines cost now, over what they cost on demand.
    pub price: Option<Aged<PriceRatio>>,
}

/// A signal by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Signal {
    /// The fronts' own queue.
    Demand,
    /// GPU utilisation.
    Gpu,
    /// The spot price.
    Price,
}

impl Signal {
    /// A label for metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Demand => "demand",
            Self::Gpu => "gpu",
            Self::Price => "price",
        }
    }
}
