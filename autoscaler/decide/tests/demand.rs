//! Stories of fronts that report, restart, fall silent and leave, in made-up time.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on stops there")]

use proptest::prelude::*;
use spotscale_decide::{
    demand::{Accepted, Demand, Demands, Membership, ServiceCounters},
    units::{FrontId, Millis, Replicas, Requests},
};

fn id(name: &str) -> FrontId {
    name.parse().unwrap()
}

/// A front whose every request takes 200 ms.
#[derive(Clone)]
struct Front {
    id: FrontId,
    sequence: u64,
    counters: ServiceCounters,
}

impl Front {
    fn new(name: &str) -> Self {
        Self { id: id(name), sequence: 0, counters: ServiceCounters::default() }
    }

    fn serve(&mut self, requests: u64) -> &mut Self {
        self.counters.arrivals_total += requests;
        self.counters.served_total += requests;
        self.counters.service_micros_total += requests * 200_000;
        self.counters.service_seconds_squared_total += requests as f64 * 0.04;
        self
    }

    fn report(&mut self, demands: &mut Demands, secs: u64) -> Accepted {
        self.sequence += 1;
        let now = Millis::from_secs(secs);
        demands.report(now, &self.id, self.sequence, self.counters).unwrap()
    }
}

fn demand(demands: &Demands, secs: u64) -> Demand {
    demands.demand(Millis::from_secs(secs)).unwrap().value
}

/// Stable and burst rate, rounded.
fn rates(demands: &Demands, secs: u64) -> (f64, f64) {
    let demand = demand(demands, secs);
    let round = |rate: f64| (rate * 100.0).round() / 100.0;
    (round(demand.arrivals_per_second_stable.get()), round(demand.arrivals_per_second_burst.get()))
}

/// A front that has served ten requests a second for `secs` seconds.
fn ten_per_second(secs: u64) -> (Demands, Front) {
    let (mut demands, mut front) = (Demands::new(Membership::default()), Front::new("a"));
    for now in 0..=secs {
        front.report(&mut demands, now);
        front.serve(10);
    }
    (demands, front)
}

#[test]
fn a_steady_rate_is_read_from_the_first_window_on() {
    for secs in [6, 10, 30, 60, 61, 300] {
        assert_eq!(rates(&ten_per_second(secs).0, secs), (10.0, 10.0), "after {secs} s");
    }
}

#[test]
fn a_burst_shows_in_the_short_window_first() {
    let (mut demands, mut front) = ten_per_second(60);
    for now in 61..=66 {
        front.serve(90).report(&mut demands, now);
    }
    // In the first of the six seconds, the ten that were served after second 60 arrive as well.
    assert_eq!(rates(&demands, 66), (18.17, 91.67));
}

#[test]
fn a_late_report_is_no_spike() {
    let (mut demands, mut front) = ten_per_second(60);
    front.serve(80).report(&mut demands, 69);
    assert_eq!(rates(&demands, 69), (10.0, 10.0));
}

#[test]
fn a_new_identity_and_a_restarted_counter_are_baselines() {
    let (mut demands, mut front) = ten_per_second(60);
    let mut joined = Front::new("b");
    assert_eq!(joined.serve(1_000_000).report(&mut demands, 60), Accepted::Joined);
    front.counters = ServiceCounters { arrivals_total: 3, ..ServiceCounters::default() };
    assert_eq!(front.report(&mut demands, 60), Accepted::Restarted);
    assert_eq!(rates(&demands, 60), (10.0, 10.0));
    assert_eq!(front.serve(6).report(&mut demands, 61), Accepted::Updated);
    assert_eq!(rates(&demands, 61), (9.93, 9.33));
}

#[test]
fn gauges_add_up_and_replicas_do_not() {
    let mut demands = Demands::new(Membership::default());
    for (name, held, endpoints) in [("a", 2, 3), ("b", 5, 4)] {
        let mut front = Front::new(name);
        front.counters.held = Requests(held);
        front.counters.in_flight = Requests(1);
        front.counters.oldest_held = Millis(held * 100);
        front.counters.endpoints = Replicas(endpoints);
        front.counters.concurrency = 2;
        front.report(&mut demands, 0);
    }
    let demand = demand(&demands, 0);
    assert_eq!((demand.held, demand.in_flight), (Requests(7), Requests(2)));
    assert_eq!((demand.oldest_held, demand.endpoints), (Millis(500), Replicas(4)));
    assert_eq!((demand.concurrency.map(u32::from), demand.fronts), (Some(2), 2));
}

#[test]
fn a_silent_front_expires_and_a_leaving_one_goes_at_once() {
    let mut demands = Demands::new(Membership::default());
    let (mut silent, mut leaving, mut lasting) =
        (Front::new("silent"), Front::new("leaving"), Front::new("lasting"));
    for front in [&mut silent, &mut leaving, &mut lasting] {
        front.counters.held = Requests(1);
        front.report(&mut demands, 0);
    }
    demands.leave(Millis::from_secs(1), &leaving.id);
    assert_eq!(demand(&demands, 1).held, Requests(2));
    lasting.report(&mut demands, 10);
    assert_eq!(demand(&demands, 10).held, Requests(2));
    // The sum is as old as its oldest part.
    assert_eq!(demands.demand(Millis::from_secs(10)).unwrap().at, Millis(0));
    assert_eq!(demand(&demands, 11).held, Requests(1));
    assert!(demands.demand(Millis::from_secs(21)).is_none());
}

#[test]
fn what_is_overtaken_is_refused_and_changes_nothing() {
    let (mut demands, front) = ten_per_second(5);
    let mut refuse = |sequence, secs, kind| {
        let before = demands.clone();
        let now = Millis::from_secs(secs);
        let error = demands.report(now, &front.id, sequence, front.counters).unwrap_err();
        assert_eq!((error.kind(), &demands), (kind, &before));
    };
    refuse(front.sequence, 5, "stale");
    refuse(1, 5, "stale");
    demands.leave(Millis::from_secs(5), &front.id);
    let late = demands.report(Millis::from_secs(6), &front.id, 99, front.counters);
    assert_eq!(late.unwrap_err().kind(), "left");
    assert!(demands.demand(Millis::from_secs(6)).is_none());
}

#[test]
fn more_fronts_than_allowed_are_refused() {
    let mut demands = Demands::new(Membership { fronts_max: 2, ..Membership::default() });
    let mut join = |name, secs| {
        let counters = ServiceCounters::default();
        demands.report(Millis::from_secs(secs), &id(name), 1, counters).map_err(|e| e.kind())
    };
    assert_eq!(join("a", 0), Ok(Accepted::Joined));
    assert_eq!(join("b", 5), Ok(Accepted::Joined));
    assert_eq!(join("c", 5), Err("full"));
    assert_eq!(join("c", 11), Ok(Accepted::Joined));
}

#[test]
fn when_all_have_gone_history_starts_anew() {
    let (mut demands, mut front) = ten_per_second(60);
    front.report(&mut demands, 120);
    assert_eq!(rates(&demands, 120), (0.0, 0.0));
    assert_eq!(demand(&demands, 120).last_arrival_at, None);
}

#[test]
fn service_time_is_measured_follows_changes_and_outlasts_the_night() {
    let (mut demands, mut front) = ten_per_second(60);
    let mean = |demands: &Demands, secs| demand(demands, secs).service.unwrap().time.mean_seconds();
    assert!((mean(&demands, 60) - 0.2).abs() < 1e-9);
    assert!(demand(&demands, 60).service.unwrap().time.scv() < 1e-6);
    for now in 61..=600 {
        if now > 480 {
            front.counters.served_total += 10;
            front.counters.service_micros_total += 4_000_000;
            front.counters.service_seconds_squared_total += 10.0 * 0.16;
        }
        front.report(&mut demands, now);
        if now == 480 {
            assert!((mean(&demands, now) - 0.2).abs() < 1e-9, "forgotten while idle");
        }
    }
    assert!((mean(&demands, 600) - 0.4).abs() < 0.02, "{}", mean(&demands, 600));
}

fn any_counters() -> impl Strategy<Value = ServiceCounters> {
    let totals = (any::<u64>(), any::<u64>(), any::<u64>(), any::<f64>());
    let gauges = (any::<u64>(), any::<u64>(), any::<u64>(), any::<u32>(), any::<u32>());
    (totals, gauges).prop_map(|(totals, gauges)| ServiceCounters {
        arrivals_total: totals.0,
        served_total: totals.1,
        service_micros_total: totals.2,
        service_seconds_squared_total: totals.3,
        held: Requests(gauges.0),
        in_flight: Requests(gauges.1),
        oldest_held: Millis(gauges.2),
        endpoints: Replicas(gauges.3),
        concurrency: gauges.4,
    })
}

proptest! {
    /// Whatever is reported, in whatever order of time: no panic, memory bounded, and the dump reads back the same.
    #[test]
    fn nothing_reported_breaks_it(
        reports in prop::collection::vec((0u8..100, 0u64..200_000, any_counters()), 1..60),
        rewinds in any::<u64>(),
    ) {
        let mut demands = Demands::new(Membership { fronts_max: 8, ..Membership::default() });
        for (sequence, (front, now, counters)) in reports.into_iter().enumerate() {
            let front = id(&format!("front-{}", front % 12));
            let _ = demands.report(Millis(now), &front, sequence as u64, counters);
            let _ = demands.demand(Millis(now));
            let _ = demands.demand(Millis(rewinds));
            let dump = serde_json::to_value(&demands).unwrap();
            prop_assert!(dump["fronts"].as_object().unwrap().len() <= 8);
        }
    }

    /// A rate is never more than what arrived could make it, and never negative.
    #[test]
    fn rates_are_what_arrived(steps in prop::collection::vec((1u64..3000, 0u64..1000), 1..200)) {
        let (mut demands, mut front) = (Demands::default(), Front::new("a"));
        front.report(&mut demands, 0);
        let (mut now, mut total) = (Millis(0), 0);
        for (pause, arrived) in steps {
            now = now.saturating_add(Millis(pause));
            total += arrived;
            front.serve(arrived).sequence += 1;
            demands.report(now, &front.id, front.sequence, front.counters).unwrap();
            let seen = demands.demand(now).unwrap().value;
            let burst = seen.arrivals_per_second_burst.get() * 6.0;
            prop_assert!((0.0..=total as f64 + 1e-6).contains(&burst));
            let dump = serde_json::to_string(&demands).unwrap();
            prop_assert_eq!(&serde_json::from_str::<Demands>(&dump).unwrap(), &demands);
            let slots = serde_json::to_value(&demands).unwrap()["arrivals"].as_object().unwrap().len();
            prop_assert!(slots <= 122, "{} slots", slots);
        }
    }
}
