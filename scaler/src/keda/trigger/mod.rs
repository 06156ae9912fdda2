//! What one trigger of a ScaledObject asks for, read from its `metadata`.

mod fields;

use std::{
    collections::{BTreeMap, BTreeSet},
    num::NonZeroU32,
    sync::Arc,
};

use serde::Serialize;
use spotscale_decide::{
    capacity::{REPLICAS_MAX, ServiceTime},
    replicas::{GpuPolicy, Policy, PolicyError, PricePolicy},
    units::{Millis, PriceRatio, Ratio, Replicas, UsdPerHour},
};

use super::signals::{Kind, Query};
use fields::Fields;

const HOUR_MS: u64 = 3_600_000;
const DAY_SECS: u64 = 86_400;

/// A trigger, checked.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Trigger {
    /// The service whose demand counts, as its fronts call it.
    pub(crate) service: String,
    /// How replicas are chosen.
    pub(crate) policy: Policy,
    /// Where GPU utilisation comes from.
    pub(crate) gpu: Option<Query>,
    /// Where the price comes from, and what it is held against.
    pub(crate) price: Option<(Query, UsdPerHour)>,
}

/// The queries that triggers may use; `None` where there is no Prometheus to ask.
pub(crate) type NamedQueries = Option<BTreeMap<String, Arc<str>>>;

/// Why a trigger's metadata is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum TriggerError {
    /// A value that its key does not allow.
    #[error("trigger metadata {key}: {given:?} is not {wanted}")]
    Value {
        /// The key.
        key: &'static str,
        /// What it was given.
        given: String,
        /// What would do.
        wanted: String,
    },
    /// A key that nobody reads.
    #[error("trigger metadata {key}: no such key; {hint}")]
    Unknown {
        /// The key.
        key: String,
        /// What may have been meant.
        hint: String,
    },
    /// A key that needs another, or excludes it.
    #[error("trigger metadata {key}: {why}")]
    Conflict {
        /// The key.
        key: &'static str,
        /// What is wrong.
        why: &'static str,
    },
    /// Values that are fine one by one, and not together.
    #[error("trigger metadata: {0}")]
    Policy(#[from] PolicyError),
}

impl TriggerError {
    fn value(key: &'static str, given: &str, wanted: String) -> Self {
        Self::Value { key, given: given.to_owned(), wanted }
    }
}

impl Trigger {
    /// Reads the metadata of a trigger of the ScaledObject `default_service` (`namespace/name`).
    pub(crate) fn parse(
        metadata: &BTreeMap<String, String>,
        default_service: String,
        queries: &NamedQueries,
    ) -> Result<Self, TriggerError> {
        let mut fields = Fields::new(metadata);
        let mut policy = Policy::default();
        let service = service(&mut fields)?.unwrap_or(default_service);
        read_limits(&mut fields, &mut policy)?;
        read_promise(&mut fields, &mut policy)?;
        read_times(&mut fields, &mut policy)?;
        let gpu = read_gpu(&mut fields, &mut policy, queries)?;
        let price = read_price(&mut fields, &mut policy, queries)?;
        fields.finish()?;
        policy.validate()?;
        Ok(Self { service, policy, gpu, price })
    }

    /// The queries that it needs.
    pub(crate) fn queries(&self) -> BTreeSet<&Query> {
        self.gpu.iter().chain(self.price.as_ref().map(|(query, _)| query)).collect()
    }
}

fn service(fields: &mut Fields) -> Result<Option<String>, TriggerError> {
    let Some(text) = fields.text("service") else { return Ok(None) };
    let fits = (1..=253).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_graphic());
    let wanted = "a name of 1 to 253 visible ASCII characters, such as namespace/name";
    let refuse = || TriggerError::value("service", text, wanted.to_owned());
    if fits { Ok(Some(text.to_owned())) } else { Err(refuse()) }
}

fn read_limits(fields: &mut Fields, policy: &mut Policy) -> Result<(), TriggerError> {
    let replicas = |value: u32| Replicas(value);
    let most = REPLICAS_MAX.0;
    set(&mut policy.min, fields.number("minReplicas", 0..=most)?, replicas);
    set(&mut policy.max, fields.number("maxReplicas", 1..=most)?, replicas);
    set(&mut policy.warm, fields.number("warmReplicas", 0..=most)?, replicas);
    Ok(())
}

fn read_promise(fields: &mut Fields, policy: &mut Policy) -> Result<(), TriggerError> {
    set(&mut policy.promise.slo, fields.number("sloMs", 1..=HOUR_MS)?, Millis);
    share(fields, "sloQuantile", 0.5..=0.999, &mut policy.promise.quantile)?;
    share(fields, "utilisationMax", 0.05..=0.99, &mut policy.promise.utilisation_max)?;
    let one = |value| NonZeroU32::new(value).unwrap_or(NonZeroU32::MIN);
    set(&mut policy.concurrency, fields.number("concurrency", 1..=10_000)?, one);
    if let Some(ms) = fields.number("serviceTimeMs", 0.01..=HOUR_MS as f64)? {
        let scv = policy.service_prior.scv();
        policy.service_prior = ServiceTime::new(ms / 1000.0, scv).map_err(|error| {
            TriggerError::value("serviceTimeMs", &ms.to_string(), error.to_string())
        })?;
    }
    Ok(())
}

fn read_times(fields: &mut Fields, policy: &mut Policy) -> Result<(), TriggerError> {
    for (key, span) in [
        ("idleAfterSeconds", &mut policy.idle_after),
        ("shrinkWindowSeconds", &mut policy.stabilisation),
        ("coldStartSeconds", &mut policy.cold_start),
    ] {
        set(span, fields.number(key, 1..=DAY_SECS)?, Millis::from_secs);
    }
    Ok(())
}

fn read_gpu(
    fields: &mut Fields,
    policy: &mut Policy,
    queries: &NamedQueries,
) -> Result<Option<Query>, TriggerError> {
    let promql = read_query(fields, ["gpuQuery", "gpuQueryRef"], queries)?;
    let mut gpu = GpuPolicy::default();
    share(fields, "gpuBusyMax", 0.05..=0.99, &mut gpu.busy)?;
    let Some(promql) = promql else { return Ok(None) };
    policy.gpu = Some(gpu);
    Ok(Some(Query { kind: Kind::GpuUtilisation, promql }))
}

fn read_price(
    fields: &mut Fields,
    policy: &mut Policy,
    queries: &NamedQueries,
) -> Result<Option<(Query, UsdPerHour)>, TriggerError> {
    let promql = read_query(fields, ["priceQuery", "priceQueryRef"], queries)?;
    let dollars = || "a price in US dollars per hour above 0, such as 0.526".to_owned();
    let on_demand: Option<UsdPerHour> = fields.parse("onDemandUsdPerHour", dollars)?;
    let mut price = PricePolicy::default();
    if let Some(dear) = fields.number("priceDearRatio", 0.01..=10.0)? {
        price.dear = PriceRatio::try_from(dear).unwrap_or(price.dear);
    }
    let Some(promql) = promql else { return Ok(None) };
    let needs = "needs onDemandUsdPerHour above 0 to be held against";
    let on_demand = on_demand
        .filter(|&price| price > UsdPerHour::ZERO)
        .ok_or(TriggerError::Conflict { key: "priceQuery", why: needs })?;
    price.stabilisation_when_dear = price.stabilisation_when_dear.min(policy.stabilisation);
    policy.price = Some(price);
    Ok(Some((Query { kind: Kind::Price, promql }, on_demand)))
}

/// A query written in the trigger, or the name of one from the scaler's own flags.
fn read_query(
    fields: &mut Fields,
    [inline, reference]: [&'static str; 2],
    queries: &NamedQueries,
) -> Result<Option<Arc<str>>, TriggerError> {
    let (text, name) = (fields.text(inline), fields.text(reference));
    let (key, given) = match (text, name) {
        (None, None) => return Ok(None),
        (Some(_), Some(_)) => {
            let why = "the query is either written here or referred to, not both";
            return Err(TriggerError::Conflict { key: inline, why });
        }
        (Some(text), None) => (inline, text),
        (None, Some(name)) => (reference, name),
    };
    let Some(named) = queries else {
        let why = "the scaler runs without --prometheus-url";
        return Err(TriggerError::Conflict { key, why });
    };
    if name.is_some() {
        let known = || named.keys().cloned().collect::<Vec<_>>().join(", ");
        let wanted = || format!("one of the scaler's queries ({})", known());
        let found = named.get(given).cloned();
        return found.map(Some).ok_or_else(|| TriggerError::value(key, given, wanted()));
    }
    if given.is_empty() {
        return Err(TriggerError::value(key, given, "a PromQL expression".to_owned()));
    }
    Ok(Some(given.into()))
}

fn share(
    fields: &mut Fields,
    key: &'static str,
    range: std::ops::RangeInclusive<f64>,
    to: &mut Ratio,
) -> Result<(), TriggerError> {
    let value = fields.number(key, range)?.and_then(|value| Ratio::try_from(value).ok());
    set(to, value, |ratio| ratio);
    Ok(())
}

fn set<T, V>(to: &mut T, value: Option<V>, convert: impl FnOnce(V) -> T) {
    if let Some(value) = value {
        *to = convert(value);
    }
}

#[cfg(test)]
mod tests;
