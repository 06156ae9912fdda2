//! Whole half hours of arrivals through the fronts' counters, with the noise of real traffic.

use spotscale_decide::{
    demand::{Demands, ServiceCounters},
    replicas::{Memory, Policy, Signals, decide},
    units::{FrontId, Millis, Replicas},
};

/// Counts the changes in half an hour in which `arrivals(second)` come and are served in 100 ms; after the first two
/// minutes, in which the windows fill.
fn changes(mut arrivals: impl FnMut(u64) -> u64) -> usize {
    let (mut demands, mut counters) = (Demands::default(), ServiceCounters::default());
    let front: FrontId = "front".parse().unwrap();
    let (policy, mut memory, mut numbers) = (Policy::default(), Memory::default(), Vec::new());
    for second in 0..1920 {
        let (now, arrived) = (Millis::from_secs(second), arrivals(second));
        counters.arrivals_total += arrived;
        counters.served_total += arrived;
        counters.service_micros_total += arrived * 100_000;
        counters.service_seconds_squared_total += arrived as f64 * 0.012;
        demands.report(now, &front, second + 1, counters).unwrap();
        let signals = Signals { demand: demands.demand(now), ..Signals::default() };
        let (decision, next) = decide(now, &policy, &signals, memory);
        memory = next;
        let Replicas(desired) = decision.scale.unwrap().desired;
        counters.endpoints = Replicas(desired);
        numbers.extend((second >= 120).then_some(desired));
    }
    numbers.windows(2).filter(|pair| pair[0] != pair[1]).count()
}

/// Poisson arrivals (Knuth's product of uniforms), seeded.
fn poisson(mean: f64, seed: u64) -> impl FnMut(u64) -> u64 {
    let mut state = seed;
    move |_| {
        let (mut product, mut count) = (1.0, 0);
        loop {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            product *= (state >> 12) as f64 / (1u64 << 52) as f64;
            if product <= (-mean).exp() {
                return count;
            }
            count += 1;
        }
    }
}

#[test]
fn constant_load_changes_nothing_in_half_an_hour() {
    for rate in 1..=60 {
        assert_eq!(changes(|_| rate), 0, "at {rate}/s");
    }
}

#[test]
fn a_load_on_the_boundary_changes_at_most_once() {
    for rate in 1..=60 {
        assert!(changes(|second| rate + second % 2) <= 1, "between {rate} and {} /s", rate + 1);
    }
}

#[test]
fn the_noise_of_steady_traffic_is_not_followed() {
    // Eight a second is what one replica carries, so each of these means sits on a boundary.
    for mean in [8.0, 16.0, 24.0, 32.0, 40.0, 80.0] {
        let all: Vec<_> = (1..=10).map(|seed| changes(poisson(mean, seed))).collect();
        assert!(all.iter().all(|&changes| changes <= 1), "at {mean}/s: {all:?}");
    }
}
