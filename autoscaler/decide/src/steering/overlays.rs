//! The price that the provisioner reckons with for each offering.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::SteeringPolicy;
use crate::{
    cluster::{CapacityType, Offering, Overlay, Pool, Provisioner},
    offers::{Exclusion, Marks, OfferPolicy, Ranking},
    planner::{Action, Reason, Step},
    units::UsdPerHour,
};

/// The prices to tell, each only where it differs enough from what the provisioner reckons with now.
///
/// While `prices` are not `fresh`, only what was lost lately changes what is told.
pub fn overlays(
    policy: &SteeringPolicy,
    (offers, ranking, marks): (&OfferPolicy, &Ranking, &Marks),
    (prices, fresh): (&BTreeMap<Offering, UsdPerHour>, bool),
    provisioner: &Provisioner,
    now: Timestamp,
) -> Vec<Step> {
    let Some(overlays) = &provisioner.overlays else {
        return vec![];
    };
    let told = overlays.iter().map(|Overlay { offering, price }| (offering, *price)).collect();
    let scale = Scale::new(policy, &told, (offers, ranking, marks), (prices, now));
    let mut steps = vec![];
    for (offering, true_price) in prices {
        let admitted = provisioner.pools.iter().any(|pool: &Pool| pool.admits(offering));
        let before = told.get(offering).copied();
        let Some((price, reason)) = scale.price(offering).filter(|_| admitted) else {
            steps.extend(before.filter(|_| fresh).map(|_| take_back(offering)));
            continue;
        };
        // Its own knowledge of on-demand prices is right; of spot prices it may be half a day old.
        let spot = offering.capacity_type == CapacityType::Spot;
        let reckoned = before.or((!spot).then_some(*true_price));
        let lost = scale.is_left_alone(price) || before.is_some_and(|p| scale.is_left_alone(p));
        if (fresh || lost) && reckoned.is_none_or(|known| policy.differs(known, price)) {
            let action = Action::Overlay { offering: offering.clone(), price: Some(price) };
            steps.push(Step { action, assumes: vec![], reasons: vec![reason] });
        }
    }
    let gone = told.keys().filter(|offering| fresh && !prices.contains_key(**offering));
    steps.extend(gone.map(|offering| take_back(offering)));
    steps
}

fn take_back(offering: &Offering) -> Step {
    Step {
        action: Action::Overlay { offering: offering.clone(), price: None },
        assumes: vec![],
        reasons: vec![Reason::NotForSale { offering: offering.clone() }],
    }
}

impl SteeringPolicy {
    fn differs(&self, known: UsdPerHour, price: UsdPerHour) -> bool {
        known.0.abs_diff(price.0) as f64 > known.0 as f64 * self.dead_band.get()
    }
}

/// Why an offering is not told at the price of its work.
#[derive(Clone, Copy)]
enum Blemish {
    LeftAlone { until: Timestamp },
    TooDear,
    LastResort,
}

/// What is good, what is a last resort and what is left alone, on one scale of prices: each begins above the dearest of
/// the one before. All are finite, since a provisioner with no other choice should still buy.
struct Scale<'a> {
    work_prices: BTreeMap<&'a Offering, UsdPerHour>,
    blemishes: BTreeMap<&'a Offering, Blemish>,
    /// The dearest on-demand offering's; the dearest's of all where there is none.
    ceiling: u64,
}

impl<'a> Scale<'a> {
    fn new(
        policy: &SteeringPolicy,
        told: &BTreeMap<&Offering, UsdPerHour>,
        (offers, ranking, marks): (&'a OfferPolicy, &'a Ranking, &Marks),
        (prices, now): (&'a BTreeMap<Offering, UsdPerHour>, Timestamp),
    ) -> Self {
        let work_price = |(offering, price): (&'a Offering, &UsdPerHour)| {
            Some((offering, offers.work_price(offering, *price, marks, now)?))
        };
        let work_prices: BTreeMap<_, _> = prices.iter().filter_map(work_price).collect();
        let is_on_demand = |offering: &&Offering| offering.capacity_type == CapacityType::OnDemand;
        let on_demand = work_prices.iter().filter(|(offering, _)| is_on_demand(offering));
        let dearest = on_demand.map(|(_, price)| price.0).max();
        let ceiling = dearest.or_else(|| work_prices.values().map(|price| price.0).max());
        let blemishes = blemishes(ranking);
        let mut scale = Self { work_prices, blemishes, ceiling: ceiling.unwrap_or_default() };
        scale.keep_dear(policy, told, ranking);
        scale
    }

    /// Spot that was dearer than on demand is left alone until it is cheaper by more than the dead band.
    fn keep_dear(
        &mut self,
        policy: &SteeringPolicy,
        told: &BTreeMap<&Offering, UsdPerHour>,
        ranking: &Ranking,
    ) {
        let cheapest = ranking.best(CapacityType::OnDemand);
        let cheapest = cheapest.and_then(|offer| self.work_prices.get(&offer.offering));
        let Some(cheapest) = cheapest else {
            return;
        };
        let bound = cheapest.0 as f64 * (1.0 - policy.dead_band.get());
        let was_left_alone = |offering: &Offering| {
            told.get(offering).is_some_and(|price| self.is_left_alone(*price))
        };
        let stays: Vec<_> = self
            .work_prices
            .iter()
            .filter(|(offering, price)| price.0 as f64 >= bound && was_left_alone(offering))
            .map(|(offering, _)| *offering)
            .collect();
        for offering in stays {
            self.blemishes.entry(offering).or_insert(Blemish::TooDear);
        }
    }

    fn is_left_alone(&self, price: UsdPerHour) -> bool {
        price.0 > self.ceiling.saturating_mul(2)
    }

    /// What is told for an offering, and why; none for what may not be bought.
    fn price(&self, offering: &Offering) -> Option<(UsdPerHour, Reason)> {
        let own = *self.work_prices.get(offering)?;
        let above = |times: u64| {
            UsdPerHour(self.ceiling.saturating_mul(times).saturating_add(own.0).saturating_add(1))
        };
        let blemish = self.blemishes.get(offering).copied();
        let offering = offering.clone();
        Some(match blemish {
            Some(Blemish::LeftAlone { until }) => (above(2), Reason::LeftAlone { offering, until }),
            Some(Blemish::TooDear) => (above(2), Reason::TooDear { offering }),
            Some(Blemish::LastResort) => (above(1), Reason::LastResort { offering }),
            None => (own, Reason::WorkPrice { offering, price: own }),
        })
    }
}

fn blemishes(ranking: &Ranking) -> BTreeMap<&Offering, Blemish> {
    let excluded = ranking.excluded.iter().filter_map(|(offering, why)| match why {
        Exclusion::NotAllowed => None,
        Exclusion::BadLately { until } => Some((offering, Blemish::LeftAlone { until: *until })),
        Exclusion::DearerThanOnDemand { .. } => Some((offering, Blemish::TooDear)),
    });
    let bad = ranking.offers.iter().filter(|offer| offer.bad_lately);
    excluded.chain(bad.map(|offer| (&offer.offering, Blemish::LastResort))).collect()
}
