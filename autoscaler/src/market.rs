//! The market as the daemon sees it: prices, past and present, and what is to be expected of spot capacity.

use std::collections::BTreeMap;

use async_trait::async_trait;
use jiff::Timestamp;
use spotscale_decide::{cluster::Offering, offers::Shape, prices::PriceBook, units::InstanceType};

/// Machine types, each with the moment since when its prices are needed.
pub type TypesSince = BTreeMap<InstanceType, Timestamp>;

/// Where machines are bought: a provider's price interface, or a recorded series.
#[async_trait]
pub trait Market: Send + Sync + 'static {
    /// Every price change up to `now`, and none after it: of the types that may be bought, and `besides` of types that
    /// may not and of which there are nodes. One that is not known costs the others nothing. May be given up at any
    /// time and asked again.
    async fn prices(&self, now: Timestamp, besides: &TypesSince) -> Result<PriceBook, MarketError>;

    /// What is known of the risk of offerings, where `usual` interruptions per hour are expected of one of which nothing
    /// is known. At once, from what the last look at the prices brought.
    fn prior(&self, usual: f64) -> Prior {
        let _ = usual;
        Prior::default()
    }

    /// What machine types are, as far as it is known. At once, from what the last look at the prices brought.
    fn shapes(&self) -> BTreeMap<InstanceType, Shape> {
        BTreeMap::new()
    }
}

/// What is to be expected of spot offerings before they have been tried.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Prior {
    /// Expected interruptions of one machine per hour; an offering of which nothing is known is absent.
    pub interruptions_per_hour: BTreeMap<Offering, f64>,
}

/// Why there are no prices, or not all.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MarketError {
    /// The market did not answer.
    #[error("the market cannot be reached: {0}")]
    Unavailable(String),
    /// The market did not say what changed lately.
    #[error("only older prices are known: {why}")]
    Partly {
        /// What is known nevertheless: as good as it was, and possibly nothing.
        known: PriceBook,
        /// What the market said.
        why: String,
    },
}

impl MarketError {
    /// The name for a metric label.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Unavailable(_) => "unavailable",
            Self::Partly { .. } => "partly",
        }
    }
}
