//! All spot capacity of the region goes at once, as 16 of 16 nodes did in `SkyPilot`'s traces.

use spotscale_decide::units::Millis;
use spotscale_simulate::{Arrivals, Availability, Inputs, Report, Steps, setup::pools};

use super::support::{DAY, month, run, setup};

const ZONES: [&str; 3] = ["a", "b", "c"];

/// A day of ten requests a second, which several machines at eight a second answer; twice, for hours, there is no spot.
fn day(fallback: bool) -> Report {
    let hours = |hours: u64| Millis::from_secs(hours * 3600);
    let gone = [(hours(0), 16), (hours(9), 0), (hours(14), 16), (hours(20), 0), (hours(22), 16)];
    let mut availability = Availability::default();
    for zone in ZONES {
        availability.set("g4dn.xlarge".parse().unwrap(), zone.parse().unwrap(), Steps::new(gone));
    }
    // The first quarter of an hour is for the first machine to boot.
    let counts = (0..1440).map(|minute| if minute < 15 { 0 } else { 600 }).collect();
    let arrivals = Arrivals::Counts { every: Millis::from_secs(60), counts };
    let inputs = Inputs { availability, arrivals, ..month(1) };
    let mut setup = setup(8.0, DAY);
    setup.service.policy.concurrency = std::num::NonZeroU32::new(2).unwrap();
    setup.service.policy.min = spotscale_decide::units::Replicas(1);
    setup.pools = pools(fallback).unwrap();
    run(&setup, &inputs)
}

#[test]
fn with_on_demand_to_fall_back_on_hardly_a_request_is_lost() {
    let report = day(true);
    assert!(report.nodes.interruptions >= 6, "{report}");
    assert!(report.requests.success_percent >= 99.8, "{report}");
    let on_demand = report.nodes.hours.iter().filter(|(name, _)| name.starts_with("on-demand"));
    let hours: f64 = on_demand.map(|(_, hours)| hours).sum();
    assert!(hours > 2.0 * 5.0, "on demand carried the outages\n{report}");
    let spot: f64 = report.nodes.hours.values().sum::<f64>() - hours;
    assert!(spot > hours / 2.0, "and spot the better part of the rest\n{report}");
}

#[test]
fn without_it_the_day_is_lost() {
    let report = day(false);
    assert!(report.requests.success_percent < 99.8, "{report}");
}
