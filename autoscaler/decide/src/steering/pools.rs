//! Which pool the provisioner tries first, and which it may not buy for.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet},
};

use jiff::Timestamp;

use super::SteeringPolicy;
use crate::{
    cluster::{CapacityType, Pool, Provisioner},
    offers::{Offer, Ranking},
    planner::{Action, Reason, Step},
    units::PoolName,
};

/// The weights of pools that we set lie so far apart, where there are few enough.
const APART: u32 = 10;
const WEIGHT_MAX: u32 = 100;

/// Where the pools are to be steered.
pub struct Course<'a> {
    /// Why on demand comes first, if it does.
    pub on_demand_first: Option<Reason>,
    /// What could be bought.
    pub ranking: &'a Ranking,
    /// The ranking's prices are fresh enough to act on.
    pub fresh: bool,
    /// The pools that may buy nothing, and why.
    pub shut: BTreeMap<&'a PoolName, Reason>,
    /// When each pool was changed last.
    pub changed: &'a BTreeMap<PoolName, Timestamp>,
}

/// The weights to set and the pools to close or open.
pub fn pools(
    policy: &SteeringPolicy,
    provisioner: &Provisioner,
    course: &Course<'_>,
    now: Timestamp,
) -> (Vec<Step>, Vec<Reason>) {
    let by_offer = provisioner.overlays.is_none() && course.fresh;
    let pools = Pools { policy, provisioner, course, by_offer };
    let wishes = pools.weights().into_iter().chain(pools.closing());
    let (mut steps, mut refused) = (vec![], vec![]);
    for (pool, step) in wishes {
        let last = course.changed.get(pool).filter(|at| **at <= now);
        let until = last.map(|at| policy.pool_every_ms.after(*at)).filter(|until| now < *until);
        match until {
            Some(until) => refused.push(Reason::SteeredLately { pool: pool.clone(), until }),
            None => steps.push(step),
        }
    }
    (steps, refused)
}

struct Pools<'a> {
    policy: &'a SteeringPolicy,
    provisioner: &'a Provisioner,
    course: &'a Course<'a>,
    /// Pools of one kind are ordered by what they offer.
    by_offer: bool,
}

impl<'a> Pools<'a> {
    /// 0 for the pools that are to be tried first, 1 for the others. A pool that may buy spot buys it first, whatever
    /// else it may buy.
    fn class(&self, pool: &Pool) -> u8 {
        let spot = pool.capacity_types.contains(&CapacityType::Spot);
        u8::from(spot == self.course.on_demand_first.is_some())
    }

    /// The best offer that the pool admits.
    fn best(&self, pool: &Pool) -> Option<&'a Offer> {
        self.course.ranking.offers.iter().find(|offer| pool.admits(&offer.offering))
    }

    /// Must one be tried before the other?
    fn precedes(&self, one: &Pool, other: &Pool) -> bool {
        let classes = (self.class(one), self.class(other));
        if classes.0 != classes.1 || !self.by_offer {
            return classes.0 < classes.1;
        }
        match (self.best(one), self.best(other)) {
            (Some(one), Some(other)) => {
                let bound = 1.0 - self.policy.dead_band.get();
                let cost = |offer: &Offer| offer.per_million_requests.0 as f64;
                cost(one) < cost(other) * bound
            }
            (one, other) => one.is_some() && other.is_none(),
        }
    }

    /// The pools that have a weight, in the order in which they are to be tried: as they are, but for what must change.
    fn order(&self) -> Vec<(&'a Pool, u32)> {
        let weighed = self.provisioner.pools.iter();
        let mut order: Vec<_> = weighed.filter_map(|pool| Some((pool, pool.weight?))).collect();
        order.sort_by_key(|(pool, weight)| (Reverse(*weight), &pool.name));
        for place in 1..order.len() {
            let rises = |place: &usize| self.precedes(order[*place].0, order[*place - 1].0);
            // The order before `place` holds already.
            let first = (1..=place).rev().take_while(rises).count();
            order[place - first..=place].rotate_right(first.min(1));
        }
        order
    }

    fn weights(&self) -> Vec<(&'a PoolName, Step)> {
        let order = self.order();
        let holds = order.windows(2).all(|pair| {
            let ((one, weight), (other, lower)) = (pair[0], pair[1]);
            weight > lower || (weight == lower && !self.precedes(one, other))
        });
        if holds {
            return vec![];
        }
        let pools = u32::try_from(order.len()).unwrap_or(WEIGHT_MAX);
        let apart = APART.min(WEIGHT_MAX / pools.max(1)).max(1);
        let target = |place: u32| WEIGHT_MAX.saturating_sub(place * apart).max(1);
        let targets = (0..).map(target).zip(order);
        targets
            .filter(|(weight, (_, now))| weight != now)
            .map(|(weight, (pool, _))| (&pool.name, self.weigh(pool, weight)))
            .collect()
    }

    fn weigh(&self, pool: &Pool, weight: u32) -> Step {
        let best = self.best(pool).filter(|_| self.by_offer).map(|offer| Reason::BestOffer {
            offering: offer.offering.clone(),
            per_million_requests: offer.per_million_requests,
        });
        Step {
            action: Action::Weigh { pool: pool.name.clone(), weight },
            assumes: vec![],
            reasons: [self.kind_first()].into_iter().chain(best).collect(),
        }
    }

    fn kind_first(&self) -> Reason {
        self.course.on_demand_first.clone().unwrap_or(Reason::SpotFirst)
    }

    /// Pools without a weight are closed while others buy what is to be bought first.
    fn closing(&self) -> Vec<(&'a PoolName, Step)> {
        let pools = || self.provisioner.pools.iter();
        let shut = |pool: &Pool| self.course.shut.get(&pool.name).cloned();
        let open_first: BTreeSet<_> = pools()
            .filter(|pool| self.class(pool) == 0 && shut(pool).is_none())
            .map(|pool| &pool.name)
            .collect();
        let behind = |pool: &Pool| {
            let waits = pool.weight.is_none() && self.class(pool) == 1 && !open_first.is_empty();
            waits.then(|| self.kind_first())
        };
        let wish = |pool: &'a Pool| {
            let why = shut(pool).or_else(|| behind(pool));
            let step = Step {
                action: Action::Close { pool: pool.name.clone(), closed: why.is_some() },
                assumes: vec![],
                reasons: vec![why.clone().unwrap_or_else(|| self.kind_first())],
            };
            (why.is_some() != pool.closed).then_some((&pool.name, step))
        };
        pools().filter_map(wish).collect()
    }
}
