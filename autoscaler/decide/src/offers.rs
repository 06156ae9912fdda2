//! What can be bought, best first: price, measured throughput and the risk of losing it, as the dollars that a
//! million requests are expected to cost. What cannot be bought now is named with the reason.

mod marks;
mod size;
#[cfg(test)]
mod tests;
mod traffic;

use std::{collections::BTreeMap, fmt};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

pub use self::{
    marks::Marks,
    size::{Measured, Shape},
    traffic::{Measurement, Rate, Source, Traffic, TrafficPolicy, Work, rates},
};
use crate::{
    cluster::{CapacityType, Offering},
    pairs,
    units::{InstanceType, MicroUsd, Millis, UnitError, UsdPerHour},
};

/// Requests per second that one machine answers within the SLO: finite and above 0.
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd, Serialize, Deserialize)]
#[serde(try_from = "f64", into = "f64")]
pub struct Throughput(f64);

/// A machine type that may be bought.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Machine {
    /// The type.
    pub instance_type: InstanceType,
    /// What it answers with as many pods as it takes: as it was calibrated, or as its traffic tells.
    pub throughput: Throughput,
    /// Pods that fit on it; at least 1.
    pub pods_max: u32,
}

/// How offers are weighed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct OfferPolicy {
    /// The machine types that may be bought. Nothing else is.
    pub machines: Vec<Machine>,
    /// When what their traffic tells counts more than what they were calibrated to.
    pub traffic: TrafficPolicy,
    /// Interruptions per hour expected of a spot node of which nothing is known.
    pub interruptions_per_hour: f64,
    /// Interruptions per hour expected of a spot node of that offering, where something is known of it, for instance
    /// from EC2's Spot Instance Advisor or its placement scores.
    #[serde(with = "pairs", default)]
    pub prior: BTreeMap<Offering, f64>,
    /// What one interruption wastes: time in which both the old and the new machine are paid.
    pub overlap_ms: Millis,
    /// In this time half of a bad mark is forgotten.
    pub mark_half_life_ms: Millis,
    /// An offering with more bad marks than this is left alone.
    pub marks_max: f64,
    /// What a rebalance recommendation counts as a bad mark, where an interruption counts 1.
    pub rebalance_mark: f64,
}

/// Something that can be bought now.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Offer {
    /// What.
    pub offering: Offering,
    /// Its price now.
    pub price: UsdPerHour,
    /// What a million requests are expected to cost on it, interruptions counted in.
    pub per_million_requests: MicroUsd,
    /// Pods that fit on it.
    pub pods_max: u32,
    /// It could not be had lately. On demand is the last resort, so it stays for sale, behind all others.
    pub bad_lately: bool,
}

/// Every known offering: what can be bought, best first, and what cannot.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Ranking {
    /// Best first; ties are broken by name, so that the order is always the same.
    pub offers: Vec<Offer>,
    /// The rest, and why.
    pub excluded: Vec<(Offering, Exclusion)>,
}

/// Why an offering is not bought.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "because")]
pub enum Exclusion {
    /// Its type is not among the machines that may be bought.
    NotAllowed,
    /// It was interrupted, or could not be had, lately.
    BadLately {
        /// Until when it is left alone, if nothing else happens.
        until: Timestamp,
    },
    /// An on-demand machine does the same work for less.
    DearerThanOnDemand {
        /// What a million requests are expected to cost on it.
        per_million_requests: MicroUsd,
        /// What they cost on demand.
        on_demand: MicroUsd,
    },
}

/// Ranks what the market has.
pub fn rank(
    policy: &OfferPolicy,
    prices: &BTreeMap<Offering, UsdPerHour>,
    marks: &Marks,
    now: Timestamp,
) -> Ranking {
    let mut ranking = Ranking::default();
    for (offering, price) in prices {
        match policy.offer(offering, *price, marks, now) {
            Ok(offer) => ranking.offers.push(offer),
            Err(exclusion) => ranking.excluded.push((offering.clone(), exclusion)),
        }
    }
    ranking.offers.sort_by(|a, b| a.rank().cmp(&b.rank()));
    ranking.exclude_dear_spot();
    ranking
}

// === impl OfferPolicy ===

impl Default for OfferPolicy {
    fn default() -> Self {
        Self {
            machines: vec![],
            traffic: TrafficPolicy::default(),
            // 15 % a month, the middle of what EC2's Spot Instance Advisor lists for small GPU types.
            interruptions_per_hour: 0.0002,
            prior: BTreeMap::new(),
            // Two minutes of notice and about three of provisioning.
            overlap_ms: Millis::from_secs(300),
            mark_half_life_ms: Millis::from_secs(1800),
            // One interruption counts 1, so that it is avoided for one half-life, and two for two.
            marks_max: 0.5,
            // A weaker sign than a loss, which wears off sooner.
            rebalance_mark: 0.75,
        }
    }
}

impl OfferPolicy {
    /// The machine of that type, if it may be bought.
    pub fn machine(&self, instance_type: &InstanceType) -> Option<&Machine> {
        self.machines.iter().find(|machine| &machine.instance_type == instance_type)
    }

    /// The same, with what counts of the machines' throughput.
    pub fn with_rates(&self, rates: &[Rate]) -> Self {
        let mut policy = self.clone();
        for machine in &mut policy.machines {
            let rate = rates.iter().find(|rate| rate.instance_type == machine.instance_type);
            machine.throughput = rate.map_or(machine.throughput, |rate| rate.per_second);
        }
        policy
    }

    /// What an hour of a pod's work is expected to cost, interruptions counted in, as the price of a machine that lets
    /// its pods work as fast as the first of `machines` does; none for a type that may not be bought.
    ///
    /// It is by pod and not by machine: how many pods a machine takes is the provisioner's own to reckon with.
    pub fn work_price(
        &self,
        offering: &Offering,
        price: UsdPerHour,
        marks: &Marks,
        now: Timestamp,
    ) -> Option<UsdPerHour> {
        let machine = self.machine(&offering.instance_type)?;
        let slower = self.machines.first()?.per_pod() / machine.per_pod();
        let wasted = self.wasted(offering, marks.score(offering, self.mark_half_life_ms, now));
        let micros = price.0 as f64 * (1.0 + wasted) * slower;
        Some(UsdPerHour(micros.round() as u64))
    }

    /// What interruptions add to the price.
    fn wasted(&self, offering: &Offering, marked: f64) -> f64 {
        match offering.capacity_type {
            CapacityType::Spot => {
                let prior = self.prior.get(offering).copied();
                let per_hour = prior.unwrap_or(self.interruptions_per_hour) + marked;
                per_hour * self.overlap_ms.as_secs_f64() / 3600.0
            }
            CapacityType::OnDemand => 0.0,
        }
    }

    fn offer(
        &self,
        offering: &Offering,
        price: UsdPerHour,
        marks: &Marks,
        now: Timestamp,
    ) -> Result<Offer, Exclusion> {
        let machine = self.machine(&offering.instance_type).ok_or(Exclusion::NotAllowed)?;
        let marked = marks.score(offering, self.mark_half_life_ms, now);
        let bad_lately = marked > self.marks_max;
        if bad_lately && offering.capacity_type == CapacityType::Spot {
            return Err(Exclusion::BadLately { until: marks.below(offering, self, now) });
        }
        let hours_per_million = 1e6 / machine.throughput.0 / 3600.0;
        let micros = price.0 as f64 * (1.0 + self.wasted(offering, marked)) * hours_per_million;
        Ok(Offer {
            offering: offering.clone(),
            price,
            per_million_requests: MicroUsd(micros.round() as i64),
            pods_max: machine.pods_max.max(1),
            bad_lately,
        })
    }
}

// === impl Machine ===

impl Machine {
    fn per_pod(&self) -> f64 {
        self.throughput.0 / f64::from(self.pods_max.max(1))
    }
}

// === impl Ranking ===

impl Ranking {
    /// The best offer of a capacity type.
    pub fn best(&self, capacity_type: CapacityType) -> Option<&Offer> {
        self.offers.iter().find(|offer| offer.offering.capacity_type == capacity_type)
    }

    fn exclude_dear_spot(&mut self) {
        let Some(best) = self.best(CapacityType::OnDemand) else {
            return;
        };
        let on_demand = best.per_million_requests;
        let (dear, offers) = std::mem::take(&mut self.offers).into_iter().partition(|offer| {
            let spot = offer.offering.capacity_type == CapacityType::Spot;
            spot && offer.per_million_requests >= on_demand
        });
        self.offers = offers;
        let dear: Vec<Offer> = dear;
        self.excluded.extend(dear.into_iter().map(|offer| {
            let Offer { offering, per_million_requests, .. } = offer;
            (offering, Exclusion::DearerThanOnDemand { per_million_requests, on_demand })
        }));
    }
}

// === impl Offer ===

impl Offer {
    fn rank(&self) -> (bool, MicroUsd, &Offering) {
        (self.bad_lately, self.per_million_requests, &self.offering)
    }
}

// === impl Exclusion ===

impl Exclusion {
    /// The name for a metric label.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::NotAllowed => "not-allowed",
            Self::BadLately { .. } => "bad-lately",
            Self::DearerThanOnDemand { .. } => "dearer-than-on-demand",
        }
    }
}

impl fmt::Display for Exclusion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotAllowed => f.write_str("its type is not among the machines to buy"),
            Self::BadLately { until } => write!(f, "it was lost lately; left alone until {until}"),
            Self::DearerThanOnDemand { per_million_requests, on_demand } => write!(
                f,
                "a million requests cost ${:.4} on it and ${:.4} on demand",
                per_million_requests.as_usd(),
                on_demand.as_usd()
            ),
        }
    }
}

// === impl Throughput ===

impl Throughput {
    /// As requests per second.
    pub const fn get(self) -> f64 {
        self.0
    }
}

impl TryFrom<f64> for Throughput {
    type Error = UnitError;

    fn try_from(per_second: f64) -> Result<Self, UnitError> {
        if per_second.is_finite() && per_second > 0.0 {
            Ok(Self(per_second))
        } else {
            Err(UnitError::new(per_second, "a number of requests per second above 0"))
        }
    }
}

impl From<Throughput> for f64 {
    fn from(throughput: Throughput) -> Self {
        throughput.0
    }
}
