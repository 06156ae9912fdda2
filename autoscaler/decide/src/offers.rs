//! What can be bought, best first: price, measured throughput and the risk of losing it, as the dollars that a
//! million requests are expected to cost. What cannot be bought now is named with the reason.

mod marks;

use std::{collections::BTreeMap, fmt};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

pub use self::marks::Marks;
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
    /// What it was measured to answer, with as many pods as it takes.
    pub throughput: Throughput,
    /// Pods that fit on it; at least 1.
    pub pods_max: u32,
}

/// How offers are weighed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct OfferPolicy {
    /// The machine types that may be bought. Nothing else is.
    pub machines: Vec<Machine>,
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
            // 15 % a month, the middle of what EC2's Spot Instance Advisor lists for small GPU types.
            interruptions_per_hour: 0.0002,
            prior: BTreeMap::new(),
            // Two minutes of notice and about three of provisioning.
            overlap_ms: Millis::from_secs(300),
            mark_half_life_ms: Millis::from_secs(1800),
            // One interruption counts 1, so that it is avoided for one half-life, and two for two.
            marks_max: 0.5,
        }
    }
}

impl OfferPolicy {
    /// The machine of that type, if it may be bought.
    pub fn machine(&self, instance_type: &InstanceType) -> Option<&Machine> {
        self.machines.iter().find(|machine| &machine.instance_type == instance_type)
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{at, on_demand, spot};

    fn policy() -> OfferPolicy {
        let machine = |name: &str, rps| Machine {
            instance_type: name.parse().unwrap(),
            throughput: Throughput::try_from(rps).unwrap(),
            pods_max: 1,
        };
        let machines = vec![machine("g4dn.xlarge", 400.0), machine("c7i.large", 40.0)];
        OfferPolicy { machines, ..OfferPolicy::default() }
    }

    fn cpu(zone: &str) -> Offering {
        Offering { instance_type: "c7i.large".parse().unwrap(), ..spot(zone) }
    }

    fn market(prices: &[(Offering, &str)]) -> BTreeMap<Offering, UsdPerHour> {
        prices.iter().map(|(offering, price)| (offering.clone(), price.parse().unwrap())).collect()
    }

    fn names(ranking: &Ranking) -> Vec<String> {
        ranking.offers.iter().map(|offer| offer.offering.to_string()).collect()
    }

    #[test]
    fn work_per_dollar_ranks_and_not_the_price_alone() {
        let prices = [(spot("a"), "0.20"), (cpu("a"), "0.019"), (on_demand("a"), "0.526")];
        let ranking = rank(&policy(), &market(&prices), &Marks::default(), at(0));
        let expected =
            ["spot c7i.large in a", "spot g4dn.xlarge in a", "on-demand g4dn.xlarge in a"];
        assert_eq!(names(&ranking), expected);
        // 0.526 $/h at 400/s: 0.6944 h for a million
        let dearest = ranking.best(CapacityType::OnDemand).unwrap();
        assert_eq!(dearest.per_million_requests, MicroUsd(365_278));
    }

    #[test]
    fn an_offering_that_was_lost_is_left_alone_and_comes_back() {
        let prices = market(&[(spot("a"), "0.20"), (spot("b"), "0.21")]);
        let mut marks = Marks::default();
        marks.add(&spot("a"), 1.0, Millis::from_secs(1800), at(0));
        let best = |now| rank(&policy(), &prices, &marks, now).offers[0].offering.zone.to_string();
        assert_eq!(best(at(0)), "b");
        assert_eq!(best(at(1799)), "b");
        let excluded = rank(&policy(), &prices, &marks, at(0)).excluded;
        assert_eq!(excluded, [(spot("a"), Exclusion::BadLately { until: at(1800) })]);
        assert_eq!(names(&rank(&policy(), &prices, &marks, at(1801))).len(), 2);
        assert_eq!(best(at(20 * 3600)), "a", "in the end the price decides again");
    }

    #[test]
    fn on_demand_is_never_left_alone_but_goes_last() {
        let prices = market(&[(on_demand("a"), "0.526"), (on_demand("b"), "0.6")]);
        let mut marks = Marks::default();
        marks.add(&on_demand("a"), 1.0, Millis::from_secs(1800), at(0));
        let ranking = rank(&policy(), &prices, &marks, at(0));
        let expected = ["on-demand g4dn.xlarge in b", "on-demand g4dn.xlarge in a"];
        assert_eq!(names(&ranking), expected);
    }

    #[test]
    fn spot_that_is_dearer_than_on_demand_is_not_bought() {
        let prices = market(&[(spot("a"), "0.53"), (on_demand("a"), "0.526")]);
        let ranking = rank(&policy(), &prices, &Marks::default(), at(0));
        assert_eq!(names(&ranking), ["on-demand g4dn.xlarge in a"]);
        assert_eq!(ranking.excluded[0].1.kind(), "dearer-than-on-demand");
    }

    #[test]
    fn a_type_that_was_not_measured_is_not_bought() {
        let odd = Offering { instance_type: "p5.48xlarge".parse().unwrap(), ..spot("a") };
        let ranking = rank(&policy(), &market(&[(odd, "0.01")]), &Marks::default(), at(0));
        assert!(ranking.offers.is_empty());
        assert_eq!(ranking.excluded[0].1, Exclusion::NotAllowed);
    }

    #[test]
    fn throughput_is_a_number_above_zero() {
        for wrong in [0.0, -1.0, f64::NAN, f64::INFINITY] {
            assert!(Throughput::try_from(wrong).is_err(), "{wrong} was accepted");
        }
    }
}
