//! What a clairvoyant would pay at the least for an answer to each request within the SLO: a lower bound that the spend
//! is held against, not a plan that could be carried out.
//!
//! The larger of two relaxations, each of which knows all traffic, all prices and all capacity in advance:
//!
//! - **presence**: there must be a machine at each arrival (or up to the SLO after it). One machine does, however fast
//!   requests come; it needs no time to boot, it moves for nothing to whatever is cheapest, and it is billed by the
//!   second, for 60 s at least each time that it is launched. When to keep it and when to let it go is chosen so that the
//!   whole costs the least (by dynamic programming, exactly).
//! - **work**: each request costs its share of the machine that answers a million of them for the least, fully loaded.
//!
//! The cheapest is that of all offerings whose spot capacity is there, in the minute or those beside it. First-hour
//! refunds are left out: spend is compared before refunds. A policy that lets some requests wait longer than the SLO, as
//! a cold start does, need not pay all of this, and may in principle be below it.

use std::collections::VecDeque;

use jiff::Timestamp;
use spotscale_decide::{
    cluster::Offering,
    offers::Machine,
    prices::PriceBook,
    units::{MicroUsd, Millis},
};

use crate::{availability::Availability, moment::Moment};

/// Prices are taken to be the same within so long.
const MINUTE: Millis = Millis::from_secs(60);
const BILLED_AT_LEAST: Moment = Moment(60_000_000);

/// The cheapest that there is, minute by minute: in micro-dollars, summed up from the beginning.
#[derive(Debug)]
struct Cheapest {
    /// A second of any machine.
    present: Vec<f64>,
    /// A request's share.
    request: Vec<f64>,
}

/// The least that answers within `slo` cost. Nothing where nothing is ever for sale.
pub(crate) fn bound(
    (book, availability, machines): (&PriceBook, &Availability, &[Machine]),
    (begins_at, lasts): (Timestamp, Millis),
    slo: Millis,
    arrivals: impl Iterator<Item = Moment>,
) -> MicroUsd {
    let cheapest = Cheapest::of((book, availability, machines), begins_at, lasts);
    let mut presence = Presence::new(&cheapest, slo.into());
    let mut work = 0.0;
    for at in arrivals.take_while(|at| at.millis() < lasts) {
        presence.add(at);
        work += cheapest.request(at);
    }
    // Sums of seconds are not exact to the last bit.
    MicroUsd((presence.least().max(work) + 1e-6).floor() as i64)
}

impl Cheapest {
    fn of(
        (book, availability, machines): (&PriceBook, &Availability, &[Machine]),
        begins_at: Timestamp,
        lasts: Millis,
    ) -> Self {
        let known = book.offerings().filter_map(|offering| {
            let kind = &offering.instance_type;
            let machine = machines.iter().find(|machine| &machine.instance_type == kind)?;
            Some((offering, machine.throughput.get()))
        });
        let known: Vec<(&Offering, f64)> = known.collect();
        let minutes = lasts.0.div_ceil(MINUTE.0) as usize + 2;
        let (mut second, mut request) = (Vec::new(), Vec::new());
        for minute in 0..minutes as u64 {
            let now = Millis(minute * MINUTE.0);
            let there = |offering: &Offering| {
                availability.now(offering, now) > 0
                    || availability.drops(offering, now, MINUTE).iter().any(|(_, n)| *n > 0)
            };
            let prices: Vec<(f64, f64)> = known
                .iter()
                .filter(|(offering, _)| there(offering))
                .filter_map(|(offering, per_second)| {
                    let price = book.at(offering, now.after(begins_at))?;
                    let second = price.0 as f64 / 3600.0;
                    Some((second, second / per_second))
                })
                .collect();
            let least = |costs: &mut dyn Iterator<Item = f64>| costs.fold(f64::INFINITY, f64::min);
            second.push(least(&mut prices.iter().map(|(second, _)| *second)));
            request.push(least(&mut prices.iter().map(|(_, request)| *request)));
        }
        let second = beside(&second);
        let mut sum = 0.0;
        let present = [0.0].into_iter().chain(second.into_iter().map(|second| {
            sum += second * MINUTE.as_secs_f64();
            sum
        }));
        Self { present: present.collect(), request: beside(&request) }
    }

    /// What a machine costs from the beginning to a moment.
    fn until(&self, at: Moment) -> f64 {
        let minutes = at.as_secs_f64() / MINUTE.as_secs_f64();
        let last = self.present.len().saturating_sub(2);
        let whole = (minutes as usize).min(last);
        let (from, to) = (self.present[whole], self.present[whole + 1]);
        from + (to - from) * (minutes - whole as f64)
    }

    fn request(&self, at: Moment) -> f64 {
        let minute = (at.millis().0 / MINUTE.0) as usize;
        self.request.get(minute).copied().unwrap_or_default()
    }
}

/// The least of each minute and its neighbours; nothing where nothing is for sale.
fn beside(costs: &[f64]) -> Vec<f64> {
    let least = |minute: usize| {
        let near = &costs[minute.saturating_sub(1)..(minute + 2).min(costs.len())];
        near.iter().copied().fold(f64::INFINITY, f64::min)
    };
    let least = (0..costs.len()).map(least);
    least.map(|cost| if cost.is_finite() { cost } else { 0.0 }).collect()
}

/// The cheapest way to be there at every arrival: for each arrival, the least that all up to it cost, which is the least
/// over all arrivals at which the last launch may have been.
struct Presence<'a> {
    cheapest: &'a Cheapest,
    slo: Moment,
    /// What all arrivals so far cost at the least.
    so_far: f64,
    /// Possible last launches within the last minute: when, and what all before cost.
    recent: VecDeque<(Moment, f64)>,
    /// Of those the cheapest first, with the shortest bill added; what is dearer than a later one is left out.
    short: VecDeque<(Moment, f64)>,
    /// Of the launches before that, the least of what all before cost, less what a machine had cost by then.
    earlier: f64,
}

impl<'a> Presence<'a> {
    fn new(cheapest: &'a Cheapest, slo: Moment) -> Self {
        let (recent, short) = (VecDeque::new(), VecDeque::new());
        Self { cheapest, slo, so_far: 0.0, recent, short, earlier: f64::INFINITY }
    }

    fn add(&mut self, at: Moment) {
        // The first of a group may be answered late and the last at once.
        let seen = at.since(self.slo);
        let bill = self.cheapest.until(at.plus(BILLED_AT_LEAST)) - self.cheapest.until(at);
        let least = self.so_far + bill;
        self.recent.push_back((at, self.so_far));
        while self.short.back().is_some_and(|(_, dearer)| *dearer >= least) {
            self.short.pop_back();
        }
        self.short.push_back((at, least));
        let long_ago = |&(launch, _): &(Moment, f64)| seen.since(launch) > BILLED_AT_LEAST;
        while let Some((launch, before)) = self.recent.pop_front_if(|known| long_ago(known)) {
            self.earlier = self.earlier.min(before - self.cheapest.until(launch));
        }
        while self.short.pop_front_if(|known| long_ago(known)).is_some() {}
        let short = self.short.front().map_or(f64::INFINITY, |(_, least)| *least);
        self.so_far = short.min(self.earlier + self.cheapest.until(seen));
    }

    fn least(&self) -> f64 {
        self.so_far
    }
}

#[cfg(test)]
mod tests {
    use spotscale_decide::{
        cluster::CapacityType, offers::Throughput, prices::PriceChange, units::UsdPerHour,
    };

    use super::*;
    use crate::availability::Steps;

    /// A machine at 3600 micro-dollars an hour, which is one a second; on demand ten.
    fn least(availability: &Availability, per_second: f64, seconds: &[f64]) -> i64 {
        let change = |micros| PriceChange { at: Timestamp::UNIX_EPOCH, price: UsdPerHour(micros) };
        let offering = |capacity_type| Offering {
            instance_type: "g".parse().unwrap(),
            zone: "a".parse().unwrap(),
            capacity_type,
        };
        let prices = [(CapacityType::Spot, 3600), (CapacityType::OnDemand, 36_000)];
        let book =
            prices.map(|(kind, micros)| (offering(kind), change(micros))).into_iter().collect();
        let throughput = Throughput::try_from(per_second).unwrap();
        let machine = Machine { instance_type: "g".parse().unwrap(), throughput, pods_max: 1 };
        let arrivals = seconds.iter().map(|at| Moment::from_secs_f64(*at));
        let market = (&book, availability, &[machine][..]);
        let span = (Timestamp::UNIX_EPOCH, Millis::from_secs(7200));
        bound(market, span, Millis(500), arrivals).0
    }

    #[test]
    fn presence_is_kept_or_bought_anew_whichever_is_less() {
        let calm = Availability::default();
        assert_eq!(least(&calm, 1e6, &[]), 0);
        assert_eq!(least(&calm, 1e6, &[10.0]), 60, "a minute at least");
        assert_eq!(least(&calm, 1e6, &[10.0, 60.0]), 60);
        assert_eq!(least(&calm, 1e6, &[10.0, 100.5]), 90, "to stay is less than two launches");
        assert_eq!(least(&calm, 1e6, &[10.0, 1000.0]), 120, "to come back is less");
        // The second launch comes in time for the last two.
        assert_eq!(least(&calm, 1e6, &[0.0, 58.0, 100.0, 115.0]), 114);
        assert_eq!(least(&calm, 1e6, &[0.0, 58.0, 150.0, 205.0]), 120);
    }

    #[test]
    fn a_brute_force_over_all_groupings_finds_nothing_less() {
        let mut dice = crate::dice::Dice::new(3, crate::dice::Purpose::Arrivals);
        for _ in 0..200 {
            let mut at = 0.0;
            let seconds: Vec<f64> = (0..8)
                .map(|_| {
                    at += (dice.exponential(60.0)).round();
                    at
                })
                .collect();
            let bill = |group: &[f64]| (group[group.len() - 1] - group[0] - 0.5).max(60.0);
            let groupings = (0..1_u32 << 7).map(|cuts| {
                let (mut sum, mut first) = (0.0, 0);
                for last in 0..8 {
                    if last == 7 || cuts & (1 << last) != 0 {
                        sum += bill(&seconds[first..=last]);
                        first = last + 1;
                    }
                }
                sum
            });
            let brute = groupings.fold(f64::INFINITY, f64::min);
            let found = least(&Availability::default(), 1e6, &seconds) as f64;
            assert!((found - brute).abs() <= 1.0, "{seconds:?}: {found}, and {brute} by force");
        }
    }

    #[test]
    fn work_binds_where_there_is_much_of_it_and_capacity_is_that_of_the_minute() {
        let calm = Availability::default();
        let many: Vec<f64> = (0..1200).map(|n| f64::from(n) / 20.0).collect();
        assert_eq!(least(&calm, 10.0, &many), 120, "twelve hundred at ten a second");
        let mut none = Availability::default();
        none.set("g".parse().unwrap(), "a".parse().unwrap(), Steps::new([(Millis(0), 0)]));
        assert_eq!(least(&none, 10.0, &many), 1200, "on demand is what there is");
    }
}
