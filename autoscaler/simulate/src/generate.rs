//! A month that is made up: prices, spot capacity and requests by seeded chance, for whoever has no recordings. Each
//! parameter is the figure of a public recording, and the report says that the month is generated.

use jiff::Timestamp;
use spotscale_decide::{
    cluster::{CapacityType, Offering},
    prices::{PriceBook, PriceChange},
    units::{InstanceType, Millis, UnitError, UsdPerHour, ZoneId},
};

use crate::{
    Inputs,
    arrivals::Arrivals,
    availability::{Availability, Steps},
    dice::{Dice, Purpose},
    moment::Moment,
};

const DAY: u64 = 24 * 3600;
/// How long the month is.
pub const MONTH: Millis = Millis::from_secs(30 * DAY);
/// A Monday.
pub const BEGINS_AT: Timestamp = Timestamp::constant(1_780_272_000, 0);

/// The machine of the month.
pub const MACHINE: &str = "g4dn.xlarge";
/// Its price on demand in us-east-1.
const ON_DEMAND: UsdPerHour = UsdPerHour(526_000);
/// Mean spot prices of the cheapest, the usual and the dearest zone of us-east-1, 2022-12 to 2024-06, as `SkyPilot`'s
/// catalog recorded them.
const SPOT: [(&str, u64); 3] = [("a", 183_800), ("b", 189_000), ("c", 198_000)];
/// The catalog was recorded about this often.
const PRICE_EVERY: u64 = 6 * 3600 + 1800;
/// Most recordings show no change (the median is zero); 99 in a hundred are within 1.4 %.
const PRICE_MOVES: f64 = 0.4;
const PRICE_DEVIATION: f64 = 0.0055;
/// Over 19 months spot was never above 53 % of on demand, nor below 30 % in the years of the floor.
const PRICE_BOUNDS: (u64, u64) = (157_800, 278_800);

/// Once in the month no zone has spot, for the shortest of the longest regional outages in `SkyPilot`'s traces.
const OUTAGE: Millis = Millis::from_secs(17_280);
const PLENTY: u32 = 1000;

/// 26,823 image requests in 23 days, in Alibaba's `GenAI` trace.
pub const REQUESTS_PER_DAY: f64 = 1166.0;
/// They come in office hours, a person sending several: in the trace more than half of the time has no request for ten
/// minutes and longer.
const SESSION_REQUESTS: f64 = 12.0;
const SESSION_GAP_SECONDS: f64 = 20.0;
const WEEKEND: f64 = 0.3;

/// Prices, capacity and requests of the month.
pub fn month(requests_per_day: f64, seed: u64) -> Result<Inputs, UnitError> {
    let machine: InstanceType = MACHINE.parse()?;
    let zones = SPOT.map(|(name, mean)| name.parse().map(|zone: ZoneId| (zone, mean)));
    let zones: Vec<_> = zones.into_iter().collect::<Result<_, _>>()?;
    let described = vec![
        format!("prices: GENERATED, {MACHINE} in three zones, spot near 36 % of on demand"),
        format!(
            "capacity: GENERATED, plenty but for one outage of all zones for {} s",
            OUTAGE.0 / 1000
        ),
        format!("requests: GENERATED, about {requests_per_day:.0} a working day, in office hours"),
    ];
    Ok(Inputs {
        prices: prices(&machine, &zones, seed),
        availability: availability(&machine, &zones, seed),
        arrivals: arrivals(requests_per_day, seed),
        described,
    })
}

fn prices(machine: &InstanceType, zones: &[(ZoneId, u64)], seed: u64) -> PriceBook {
    let mut dice = Dice::new(seed, Purpose::Prices);
    let mut book = PriceBook::default();
    for (zone, mean) in zones {
        let offering = |capacity_type| Offering {
            instance_type: machine.clone(),
            zone: zone.clone(),
            capacity_type,
        };
        let first = PriceChange { at: BEGINS_AT, price: ON_DEMAND };
        book.record(offering(CapacityType::OnDemand), first);
        let mut price = *mean as f64;
        for second in (0..MONTH.0 / 1000).step_by(PRICE_EVERY as usize) {
            let at = Millis::from_secs(second).after(BEGINS_AT);
            let (least, most) = PRICE_BOUNDS;
            let micros = (price.round() as u64).clamp(least, most);
            let change = PriceChange { at, price: UsdPerHour(micros) };
            book.record(offering(CapacityType::Spot), change);
            if dice.uniform() < PRICE_MOVES {
                price *= (PRICE_DEVIATION * dice.normal()).exp();
            }
        }
    }
    book
}

fn availability(machine: &InstanceType, zones: &[(ZoneId, u64)], seed: u64) -> Availability {
    let mut dice = Dice::new(seed, Purpose::Interruptions);
    // On a working day, in the middle of it.
    let day = [1, 2, 3, 4, 7, 8, 9, 10, 11, 14, 15, 16, 17, 18][dice.below(14)];
    let begins = Millis::from_secs(day * DAY + 10 * 3600 + dice.below(3 * 3600) as u64);
    let changes = [(Millis::ZERO, PLENTY), (begins, 0), (begins.saturating_add(OUTAGE), PLENTY)];
    let mut availability = Availability::default();
    for (zone, _) in zones {
        availability.set(machine.clone(), zone.clone(), Steps::new(changes));
    }
    availability
}

/// Sessions as they come, by the hour of the week; within a session one request after the other.
fn arrivals(per_day: f64, seed: u64) -> Arrivals {
    let mut dice = Dice::new(seed, Purpose::Arrivals);
    let weights: f64 = (0..24).map(weight).sum();
    let mut moments = Vec::new();
    for hour in 0..MONTH.0 / 3_600_000 {
        let working = if (hour / 24) % 7 < 5 { 1.0 } else { WEEKEND };
        let share = weight(hour % 24) / weights * working;
        let sessions = dice.poisson(per_day / SESSION_REQUESTS * share);
        for _ in 0..sessions {
            let mut at = (hour as f64 + dice.uniform()) * 3600.0;
            loop {
                moments.push(Moment::from_secs_f64(at));
                if dice.uniform() < 1.0 / SESSION_REQUESTS {
                    break;
                }
                at += dice.exponential(SESSION_GAP_SECONDS);
            }
        }
    }
    moments.retain(|at| at.millis() < MONTH);
    moments.sort_unstable();
    Arrivals::Moments(moments)
}

/// How much an hour of the day gets.
fn weight(hour: u64) -> f64 {
    match hour {
        9..18 => 8.0,
        7..9 | 18..23 => 2.0,
        _ => 0.2,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_month_has_the_figures_that_it_is_made_from() {
        let inputs = month(REQUESTS_PER_DAY, 1).unwrap();
        let weekdays = 22.0 + 8.0 * WEEKEND;
        let daily = inputs.arrivals.total() as f64 / weekdays;
        assert!((daily / REQUESTS_PER_DAY - 1.0).abs() < 0.1, "{daily} a day");
        let moments: Vec<Moment> = inputs.arrivals.play(1).collect();
        let gaps = moments.windows(2).map(|pair| pair[1].since(pair[0]).millis());
        let idle: u64 = gaps.filter(|gap| *gap >= Millis::from_secs(600)).map(|gap| gap.0).sum();
        assert!(
            idle * 2 > MONTH.0,
            "more than half of the time is idle for ten minutes and longer"
        );
        let spot: Vec<_> = inputs
            .prices
            .offerings()
            .filter(|offering| offering.capacity_type == CapacityType::Spot)
            .map(|offering| inputs.prices.changes(offering))
            .collect();
        assert_eq!(spot.len(), 3);
        let moves = spot.iter().flat_map(|changes| changes.windows(2));
        let moves: Vec<f64> =
            moves.map(|two| (two[1].price.0 as f64 / two[0].price.0 as f64 - 1.0).abs()).collect();
        let large = moves.iter().filter(|change| **change > 0.014).count();
        assert!(large * 20 < moves.len() && moves.iter().any(|change| *change > 0.0));
    }

    #[test]
    fn another_seed_is_another_month() {
        assert_eq!(month(500.0, 1).unwrap(), month(500.0, 1).unwrap());
        let (one, other) = (month(500.0, 1).unwrap(), month(500.0, 2).unwrap());
        assert_ne!(one.arrivals, other.arrivals);
        assert_ne!(one.prices, other.prices);
    }
}
