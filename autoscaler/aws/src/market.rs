//! EC2 as a market: spot prices of its history, on-demand prices of the price list, and a prior for spot capacity.
//!
//! What is not known is left out, never guessed: before the first spot price there is no spot price, where others would
//! take the on-demand price for it. A machine without a price is shown as such by the ledger, and none is bought by a
//! price that nobody asks. When EC2 does not answer, what is known stays in use and [`MarketError::Partly`] says so.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

use async_trait::async_trait;
use aws_config::SdkConfig;
use futures::{FutureExt as _, future::BoxFuture, future::Shared};
use jiff::Timestamp;
use spotscale_autoscaler::{Market, MarketError, PriceBook, Prior, TypesSince};
use spotscale_decide::{offers::Shape, units::InstanceType};

use crate::{
    advisor::Advisor,
    config::{ConfigError, MarketConfig},
    desk::{Desk, lock},
    instance_types::InstanceInfo,
    metrics::Metrics,
    on_demand::OnDemandSource,
    prior::prior,
};

type Answer = Shared<BoxFuture<'static, Result<PriceBook, MarketError>>>;

/// EC2 as a market.
pub struct Ec2Market {
    desk: Arc<Desk>,
    advisor: Option<Advisor>,
    /// The last look at the prices. One that its caller gave up goes on, and the next caller gets what it brings.
    last: Mutex<Option<Look>>,
}

/// A look at the prices, and of which types besides those that may be bought.
struct Look {
    besides: TypesSince,
    answer: Answer,
}

// === impl Ec2Market ===

impl Ec2Market {
    /// A market for these types, of which there should be one at least. Nothing is asked yet.
    pub fn new(
        config: &MarketConfig,
        sdk: &SdkConfig,
        types: Vec<InstanceType>,
        metrics: Metrics,
    ) -> Result<Self, ConfigError> {
        let region = sdk.region().ok_or(ConfigError::NoRegion)?.as_ref();
        let advisor =
            config.advisor.as_ref().map(|path| Advisor::open(path, region)).transpose()?;
        let desk = Desk::new(config, sdk, region, types, metrics);
        Ok(Self { desk: Arc::new(desk), advisor, last: Mutex::default() })
    }

    /// What the types are, as EC2 has described them at the last look; those that it does not know are absent.
    pub fn instance_types(&self) -> Vec<InstanceInfo> {
        self.desk.known().infos.values().cloned().collect()
    }

    /// Where the on-demand prices in use come from.
    pub fn source(&self) -> OnDemandSource {
        self.desk.source()
    }

    /// The look at the prices that is under way, if it is the same; else a new one, after that.
    fn look(&self, now: Timestamp, besides: &TypesSince) -> Answer {
        let mut last = lock(&self.last);
        let running = last.take().filter(|look| look.answer.peek().is_none());
        let (desk, asked) = (Arc::clone(&self.desk), besides.clone());
        let answer = match running {
            Some(look) if look.besides == *besides => look.answer,
            running => {
                let task = tokio::spawn(async move {
                    if let Some(Look { answer, .. }) = running {
                        let _ = answer.await;
                    }
                    desk.look(now, &asked).await
                });
                let answer = task.map(|ended| {
                    ended.unwrap_or_else(|error| Err(MarketError::Unavailable(error.to_string())))
                });
                answer.boxed().shared()
            }
        };
        *last = Some(Look { besides: besides.clone(), answer: answer.clone() });
        answer
    }
}

#[async_trait]
impl Market for Ec2Market {
    async fn prices(&self, now: Timestamp, besides: &TypesSince) -> Result<PriceBook, MarketError> {
        let answer = self.look(now, besides);
        answer.await
    }

    fn prior(&self, usual: f64) -> Prior {
        let known = self.desk.known();
        let offerings = known.spot.offerings().filter(|one| self.desk.sells(&one.instance_type));
        prior(offerings, self.advisor.as_ref(), &known.scores, usual)
    }

    fn shapes(&self) -> BTreeMap<InstanceType, Shape> {
        let known = self.desk.known();
        known.infos.iter().map(|(name, info)| (name.clone(), info.shape())).collect()
    }
}
