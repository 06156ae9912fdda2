//! From zero, and back to it.

use spotscale_decide::units::Millis;
use spotscale_simulate::{Arrivals, Inputs, Moment, Report};

use super::support::{DAY, month, run, setup};

#[test]
fn the_first_request_is_held_and_answered() {
    let at = |second| Moment::from(Millis::from_secs(second));
    let arrivals = Arrivals::from_moments(vec![at(0), at(7200)]);
    let report = run(&setup(40.0, Millis::from_secs(4 * 3600)), &Inputs { arrivals, ..month(1) });
    let requests = &report.requests;
    assert_eq!((requests.arrived, requests.answered, requests.held_cold), (2, 2, 2), "{report}");
    assert_eq!(report.nodes.cold_starts, 2, "in two hours it went to zero again\n{report}");
    let p50 = report.latency.p50_seconds.unwrap();
    assert!((100.0..240.0).contains(&p50), "it took a cold start: {p50} s");
}

/// Five working days of the generated month, with zero replicas after so long.
fn week(idle_minutes: u64) -> Report {
    let mut setup = setup(40.0, Millis(5 * DAY.0));
    setup.service.policy.idle_after = Millis::from_secs(60 * idle_minutes);
    run(&setup, &month(1))
}

#[test]
fn the_cooldown_has_a_least_value_that_the_95th_percentile_allows() {
    let weeks = [1, 10, 30, 60].map(week);
    let slo = 0.5;
    let p95 = |report: &Report| report.latency.p95_seconds.unwrap();
    let kept: Vec<bool> = weeks.iter().map(|report| p95(report) <= slo).collect();
    assert!(!kept[0] && kept[3], "too short breaks it, long enough keeps it: {kept:?}");
    assert!(kept.is_sorted(), "longer never breaks what shorter keeps: {kept:?}");
    let refused = |report: &Report| report.requests.refused.values().sum::<u64>();
    for report in &weeks {
        assert_eq!((refused(report), report.requests.expired, report.requests.lost), (0, 0, 0));
        assert_eq!(report.requests.answered + report.requests.unfinished, report.requests.arrived);
    }
    assert!(weeks.is_sorted_by_key(|report| report.money.spend), "and it costs more");
    assert!(weeks.iter().rev().is_sorted_by_key(|report| report.requests.held_cold));
}
