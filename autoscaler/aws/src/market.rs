//! EC2 as a market: spot prices of its history, on-demand prices of the price list, and a prior for spot capacity.
//!
//! What is not known is left out, never guessed: before the first spot price there is no spot price, where others would
//! take the on-demand price for it. A machine without a price is shown as such by the ledger, and none is bought by a
//! price that nobody asks. When EC2 does not answer, what is known stays in use and [`MarketError::Partly`] says so.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use async_trait::async_trait;
use aws_config::SdkConfig;
use aws_sdk_ec2::Client;
use futures::{FutureExt as _, future::BoxFuture, future::Shared, join};
use jiff::{SignedDuration, Timestamp};
use spotscale_autoscaler::{Market, MarketError, PriceBook, Prior};
use spotscale_decide::{offers::Shape, units::InstanceType};
use tracing::{debug, info, warn};

use crate::{
    advisor::Advisor,
    call::CallError,
    config::{ConfigError, MarketConfig},
    instance_types::{self, InstanceInfo},
    known::Known,
    metrics::Metrics,
    on_demand::{OnDemandSource, PriceList},
    pace::Pace,
    placement::PlacementScores,
    prior::prior,
    spot::SpotHistory,
};

/// A change may show up in the history some time after it came into force.
const LATE: SignedDuration = SignedDuration::from_hours(1);

type Answer = Shared<BoxFuture<'static, Result<PriceBook, MarketError>>>;

/// EC2 as a market.
pub struct Ec2Market {
    desk: Arc<Desk>,
    /// The last look at the prices. One that its caller gave up goes on, and the next caller gets what it brings.
    last: Mutex<Option<Answer>>,
}

/// Who asks, and whom.
struct Desk {
    client: Client,
    types: Vec<InstanceType>,
    reach: SignedDuration,
    spot: SpotHistory,
    price_list: Option<PriceList>,
    placement: Option<PlacementScores>,
    advisor: Option<Advisor>,
    metrics: Metrics,
    /// Never locked across a call.
    known: Mutex<Known>,
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
        let client = Client::new(sdk);
        let advisor =
            config.advisor.as_ref().map(|path| Advisor::open(path, region)).transpose()?;
        let spot = SpotHistory {
            client: client.clone(),
            product: config.spot_product.clone(),
            types: types.clone(),
        };
        let desk = Desk {
            price_list: PriceList::new(sdk, region),
            placement: PlacementScores::new(client.clone(), region, &types),
            reach: SignedDuration::from_hours(24 * i64::from(config.price_history_days)),
            known: Mutex::new(Known::new(region)),
            client,
            types,
            spot,
            advisor,
            metrics,
        };
        Ok(Self { desk: Arc::new(desk), last: Mutex::default() })
    }

    /// What the types are, as EC2 has described them at the last look; those that it does not know are absent.
    pub fn instance_types(&self) -> Vec<InstanceInfo> {
        self.desk.known().infos.values().cloned().collect()
    }

    /// Where the on-demand prices in use come from.
    pub fn source(&self) -> OnDemandSource {
        self.desk.known().on_demand.source(&self.desk.types)
    }

    /// The look at the prices that is under way, else a new one.
    fn look(&self, now: Timestamp) -> Answer {
        let mut last = lock(&self.last);
        if let Some(running) = last.as_ref().filter(|answer| answer.peek().is_none()) {
            return running.clone();
        }
        let desk = Arc::clone(&self.desk);
        let task = tokio::spawn(async move { desk.look(now).await });
        let answer = task.map(|ended| {
            ended.unwrap_or_else(|error| Err(MarketError::Unavailable(error.to_string())))
        });
        last.insert(answer.boxed().shared()).clone()
    }
}

#[async_trait]
impl Market for Ec2Market {
    async fn prices(&self, now: Timestamp) -> Result<PriceBook, MarketError> {
        let answer = self.look(now);
        answer.await
    }

    fn prior(&self, usual: f64) -> Prior {
        let known = self.desk.known();
        prior(known.spot.offerings(), self.desk.advisor.as_ref(), &known.scores, usual)
    }

    fn shapes(&self) -> BTreeMap<InstanceType, Shape> {
        let known = self.desk.known();
        known.infos.iter().map(|(name, info)| (name.clone(), info.shape())).collect()
    }
}

// === impl Desk ===

impl Desk {
    async fn look(&self, now: Timestamp) -> Result<PriceBook, MarketError> {
        let (spot, (), (), (), ()) = join!(
            self.ask_spot(now),
            self.ask_on_demand(now),
            self.ask_types(now),
            self.ask_zones(now),
            self.ask_scores(now)
        );
        let known = self.known().book(&self.types);
        match spot {
            Ok(()) => Ok(known),
            Err(error) => Err(MarketError::Partly { known, why: error.to_string() }),
        }
    }

    async fn ask_spot(&self, now: Timestamp) -> Result<(), CallError> {
        let until = self.known().spot_until;
        let from = until.map_or(now - self.reach, |until| until.min(now) - LATE);
        let changes = self.spot.between(from, now, &self.metrics).await;
        let changes =
            changes.inspect_err(|error| self.metrics.failure(error.action, error.kind()))?;
        let mut known = self.known();
        known.learn_spot(changes, now);
        self.metrics.prices("spot", now);
        if until.is_none() {
            let unpriced = known.without_spot_price(&self.types);
            if !unpriced.is_empty() {
                let product = &self.spot.product;
                warn!(?unpriced, product, "EC2 has no spot price for some instance types");
            }
        }
        Ok(())
    }

    async fn ask_on_demand(&self, now: Timestamp) {
        let Some(list) =
            self.price_list.as_ref().filter(|_| self.known().on_demand_pace.is_due(now))
        else {
            return;
        };
        let listed = list.prices(&self.types, now, &self.metrics).await;
        let mut known = self.known();
        match listed {
            Ok(listed) => {
                known.on_demand.learn(listed, now);
                known.on_demand_pace.answered();
                self.metrics.prices("on-demand", now);
            }
            Err(error) => self.failed(&mut known.on_demand_pace, &error),
        }
        let source = known.on_demand.source(&self.types);
        self.metrics.tabled(source.tabled.len());
        info!(%source, "on-demand prices");
    }

    async fn ask_types(&self, now: Timestamp) {
        if !self.known().infos_pace.is_due(now) {
            return;
        }
        let described = instance_types::describe(&self.client, &self.types).await;
        let mut known = self.known();
        match described {
            Ok(infos) => {
                known.infos_pace.answered();
                for info in infos.values() {
                    self.metrics.instance_type(info);
                }
                let is_unknown = |one: &&InstanceType| !infos.contains_key(one);
                let unknown: Vec<_> = self.types.iter().filter(is_unknown).collect();
                self.metrics.unknown_types(unknown.len());
                if !unknown.is_empty() {
                    warn!(?unknown, "EC2 does not know some instance types in this region");
                }
                known.infos = infos;
            }
            Err(error) => self.failed(&mut known.infos_pace, &error),
        }
    }

    async fn ask_zones(&self, now: Timestamp) {
        if !self.known().zones_pace.is_due(now) {
            return;
        }
        let zones = instance_types::zones(&self.client, &self.types).await;
        let mut known = self.known();
        match zones {
            Ok(zones) => {
                known.zones = zones;
                known.zones_pace.answered();
            }
            Err(error) => self.failed(&mut known.zones_pace, &error),
        }
    }

    /// Without an answer there are no scores: an old one says nothing of now.
    async fn ask_scores(&self, now: Timestamp) {
        let Some(placement) =
            self.placement.as_ref().filter(|_| self.known().scores_pace.is_due(now))
        else {
            return;
        };
        let scores = placement.scores().await;
        let mut known = self.known();
        match scores {
            Ok(scores) => {
                known.scores = scores;
                known.scores_pace.answered();
            }
            Err(error) => {
                known.scores.clear();
                self.failed(&mut known.scores_pace, &error);
            }
        }
    }

    fn failed(&self, pace: &mut Pace, error: &CallError) {
        self.metrics.failure(error.action, error.kind());
        if pace.failed() {
            warn!(%error, "AWS did not answer; going on without");
        } else {
            debug!(%error, "AWS did not answer; going on without");
        }
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        lock(&self.known)
    }
}

/// Nothing panics while it holds one of these locks.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
