//! The market as the daemon sees it: prices, past and present.

use async_trait::async_trait;
use jiff::Timestamp;
use spotscale_decide::prices::PriceBook;

/// Where machines are bought: a provider's price interface, or a recorded series.
#[async_trait]
pub trait Market: Send + Sync + 'static {
    /// Every price change up to `now`, and none after it.
    async fn prices(&self, now: Timestamp) -> Result<PriceBook, MarketError>;
}

/// Why there are no prices.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MarketError {
    /// The market did not answer.
    #[error("the market cannot be reached: {0}")]
    Unavailable(String),
}

impl MarketError {
    /// The name for a metric label.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Unavailable(_) => "unavailable",
        }
    }
}
