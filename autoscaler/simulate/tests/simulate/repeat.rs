//! The claim can be run again: the same seed gives the same report, and the report has all that the claim is about.

use spotscale_decide::units::{MicroUsd, Millis};
use spotscale_simulate::Setup;

use super::support::{DAY, month, run, setup};

fn three_days(seed: u64) -> spotscale_simulate::Report {
    let setup = Setup { seed, ..setup(40.0, Millis(3 * DAY.0)) };
    run(&setup, &month(seed))
}

#[test]
fn the_same_seed_gives_the_same_report_and_another_another() {
    let report = three_days(1);
    assert_eq!(report, three_days(1));
    let other = three_days(2);
    assert_ne!(report.requests, other.requests);
    assert_ne!(report.money, other.money);
}

#[test]
fn a_report_tells_cost_baseline_latency_and_success() {
    let report = three_days(1);
    let money = &report.money;
    assert!(money.spend > MicroUsd::ZERO && money.baseline > money.spend);
    let paid = money.net.0 as f64 / money.baseline.0 as f64;
    assert!((money.saved_percent.unwrap() - (1.0 - paid) * 100.0).abs() < 1e-9);
    assert!(money.bound > MicroUsd::ZERO && money.over_bound.unwrap() > 1.0);
    let (requests, latency) = (&report.requests, &report.latency);
    assert!(requests.arrived > 2000 && requests.success_percent > 99.9);
    let quantiles = [latency.p50_seconds, latency.p95_seconds, latency.p99_seconds];
    assert!(quantiles.is_sorted() && quantiles[0] > Some(0.05));
    let text = report.to_string();
    for word in
        ["saved", "baseline", "x g4dn.xlarge on demand", "P50, P95, P99", "GENERATED", "bound"]
    {
        assert!(text.contains(word), "{word} is not in\n{text}");
    }
    let json = serde_json::to_value(&report).unwrap();
    assert_eq!(json["money"]["net"], money.net.0);
}
