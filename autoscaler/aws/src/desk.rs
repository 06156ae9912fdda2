//! One look at EC2: what is asked, about which types and since when, and what is kept of the answers.
//!
//! Types that may be bought and those of which there are nodes besides are asked about in questions of their own where one
//! of them could fail the other, and an answer about the latter that does not come makes no price of the former old.

use std::sync::{Mutex, MutexGuard, PoisonError};

use aws_config::SdkConfig;
use aws_sdk_ec2::Client;
use futures::join;
use jiff::{SignedDuration, Timestamp};
use spotscale_autoscaler::{MarketError, PriceBook, TypesSince};
use spotscale_decide::units::InstanceType;
use tracing::{debug, info, warn};

use crate::{
    call::CallError,
    config::MarketConfig,
    instance_types::{self, FILTER_VALUES_MAX},
    known::Known,
    metrics::Metrics,
    on_demand::{OnDemandSource, PriceList},
    placement::PlacementScores,
    spot::{Of, SpotHistory},
};

/// Who asks, and whom.
pub(crate) struct Desk {
    client: Client,
    /// What may be bought.
    types: Vec<InstanceType>,
    reach: SignedDuration,
    spot: SpotHistory,
    price_list: Option<PriceList>,
    placement: Option<PlacementScores>,
    metrics: Metrics,
    /// Never locked across a call.
    known: Mutex<Known>,
}

// === impl Desk ===

impl Desk {
    pub(crate) fn new(
        config: &MarketConfig,
        sdk: &SdkConfig,
        region: &str,
        types: Vec<InstanceType>,
        metrics: Metrics,
    ) -> Self {
        let client = Client::new(sdk);
        let product = config.spot_product.clone();
        Self {
            spot: SpotHistory { client: client.clone(), product },
            price_list: PriceList::new(sdk, region),
            placement: PlacementScores::new(client.clone(), region, &types),
            reach: SignedDuration::from_hours(24 * i64::from(config.price_history_days)),
            known: Mutex::new(Known::new(region)),
            client,
            types,
            metrics,
        }
    }

    /// May this be bought?
    pub(crate) fn sells(&self, instance_type: &InstanceType) -> bool {
        self.types.contains(instance_type)
    }

    /// Where the on-demand prices in use come from.
    pub(crate) fn source(&self) -> OnDemandSource {
        self.known().on_demand.source(&self.types)
    }

    pub(crate) fn known(&self) -> MutexGuard<'_, Known> {
        lock(&self.known)
    }

    pub(crate) async fn look(
        &self,
        now: Timestamp,
        besides: &TypesSince,
    ) -> Result<PriceBook, MarketError> {
        let others = besides.keys().filter(|one| !self.sells(one));
        // Those that may be bought come first: where one failure ends it, they have been asked about.
        let all: Vec<InstanceType> = self.types.iter().chain(others).cloned().collect();
        self.known().keep(&all);
        let (spot, (), (), (), ()) = join!(
            self.ask_spot(now, besides),
            self.ask_on_demand(now, &all),
            self.ask_types(now, &all),
            self.ask_zones(now, &all),
            self.ask_scores(now)
        );
        let known = self.known().book(&all);
        match spot {
            Ok(()) => Ok(known),
            Err(error) => Err(MarketError::Partly { known, why: error.to_string() }),
        }
    }

    async fn ask_spot(&self, now: Timestamp, besides: &TypesSince) -> Result<(), CallError> {
        let from = self.known().sold_from(&self.types, now - self.reach, now);
        let sold = self.ask_spot_of(Of::Listed(&self.types), from, now).await;
        if sold.is_ok() {
            self.metrics.prices("spot", now);
        }
        let others = besides.iter().filter(|(one, _)| !self.sells(one));
        let windows = self.known().windows(others, now - self.reach, now);
        for (from, types) in &windows {
            for types in types.chunks(FILTER_VALUES_MAX) {
                if let Err(error) = self.ask_spot_of(Of::Filtered(types), *from, now).await {
                    warn!(%error, ?types, "no new spot prices of types that may not be bought");
                }
            }
        }
        sold
    }

    async fn ask_spot_of(
        &self,
        of: Of<'_>,
        from: Timestamp,
        now: Timestamp,
    ) -> Result<(), CallError> {
        let changes = self.spot.between(of, from, now, &self.metrics).await;
        let changes =
            changes.inspect_err(|error| self.metrics.failure(error.action, error.kind()))?;
        let mut known = self.known();
        let unpriced = known.learn_spot(of.types(), changes, (from, now));
        if !unpriced.is_empty() {
            let product = &self.spot.product;
            warn!(?unpriced, product, "EC2 has no spot price for some instance types");
        }
        Ok(())
    }

    async fn ask_on_demand(&self, now: Timestamp, types: &[InstanceType]) {
        let Some(list) = &self.price_list else {
            return;
        };
        let due = self.known().on_demand_paces.due(types, now);
        for (n, instance_type) in due.iter().enumerate() {
            let listed = list.price(instance_type, now, &self.metrics).await;
            let mut known = self.known();
            match listed {
                Ok(price) => {
                    known.on_demand.learn(instance_type, price, now);
                    known.on_demand_paces.answered(&due[n..=n]);
                }
                Err(error) => {
                    // It would be no better with the next.
                    let told = known.on_demand_paces.failed(&due[n..]);
                    self.failed(told, &error);
                    break;
                }
            }
        }
        if due.is_empty() {
            return;
        }
        let known = self.known();
        let is_about_sold = due.iter().any(|one| self.sells(one));
        if is_about_sold && self.types.iter().all(|one| known.on_demand_paces.is_answered(one)) {
            self.metrics.prices("on-demand", now);
        }
        let source = known.on_demand.source(types);
        self.metrics.tabled(source.tabled.len());
        info!(%source, "on-demand prices");
    }

    async fn ask_types(&self, now: Timestamp, types: &[InstanceType]) {
        let due = self.known().infos_paces.due(types, now);
        if due.is_empty() {
            return;
        }
        let described = instance_types::describe(&self.client, &due).await;
        let mut known = self.known();
        match described {
            Ok(infos) => {
                known.infos_paces.answered(&due);
                for info in infos.values() {
                    self.metrics.instance_type(info);
                }
                let is_unknown = |one: &&InstanceType| !infos.contains_key(one);
                let unknown: Vec<_> = due.iter().filter(is_unknown).collect();
                if !unknown.is_empty() {
                    warn!(?unknown, "EC2 does not know some instance types in this region");
                }
                known.infos.retain(|one, _| !due.contains(one));
                known.infos.extend(infos);
                let is_unknown = |one: &&InstanceType| !known.infos.contains_key(one);
                self.metrics.unknown_types(self.types.iter().filter(is_unknown).count());
            }
            Err(error) => {
                let told = known.infos_paces.failed(&due);
                self.failed(told, &error);
            }
        }
    }

    async fn ask_zones(&self, now: Timestamp, types: &[InstanceType]) {
        let due = self.known().zones_paces.due(types, now);
        if due.is_empty() {
            return;
        }
        let zones = instance_types::zones(&self.client, &due).await;
        let mut known = self.known();
        match zones {
            Ok(zones) => {
                known.zones.retain(|one, _| !due.contains(one));
                known.zones.extend(zones);
                known.zones_paces.answered(&due);
            }
            Err(error) => {
                let told = known.zones_paces.failed(&due);
                self.failed(told, &error);
            }
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
                let told = known.scores_pace.failed();
                self.failed(told, &error);
            }
        }
    }

    /// Counts a failure, and says so at its first.
    fn failed(&self, is_first: bool, error: &CallError) {
        self.metrics.failure(error.action, error.kind());
        if is_first {
            warn!(%error, "AWS did not answer; going on without");
        } else {
            debug!(%error, "AWS did not answer; going on without");
        }
    }
}

/// Nothing panics while it holds one of these locks.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
