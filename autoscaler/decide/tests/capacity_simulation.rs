//! The queueing model against a discrete-event simulation of the same queue: over a grid of loads, the number that the
//! model chooses is held against the smallest that keeps the promise in the simulation.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on stops there")]

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BinaryHeap},
    num::NonZeroU32,
};

use spotscale_decide::{
    capacity::{Binding, Load, Need, Promise, ServiceTime, needed},
    units::{Millis, PerSecond, Ratio, Requests},
};

const REQUESTS: u32 = 150_000;
const MEAN_SECONDS: f64 = 0.1;

/// A linear congruential generator (Knuth's MMIX constants); only its high bits are used.
struct Lcg(u64);

impl Lcg {
    /// Uniform in (0, 1).
    fn uniform(&mut self) -> f64 {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((self.0 >> 12) as f64 + 0.5) / (1u64 << 52) as f64
    }

    fn exponential(&mut self, mean: f64) -> f64 {
        -mean * self.uniform().ln()
    }

    fn normal(&mut self) -> f64 {
        let radius = (-2.0 * self.uniform().ln()).sqrt();
        radius * (2.0 * std::f64::consts::PI * self.uniform()).cos()
    }
}

#[derive(Debug, Clone, Copy)]
enum Shape {
    Lognormal,
    /// Erlang with a whole number of phases, or for a larger variation a mix of two exponentials.
    Phases,
}

/// A case of the grid: the load in slots, what a request takes, what is promised.
#[derive(Debug, Clone, Copy)]
struct Case {
    offered: f64,
    concurrency: u32,
    scv: f64,
    shape: Shape,
    slo_means: f64,
    quantile: f64,
}

impl Case {
    fn load(&self) -> Load {
        Load {
            arrivals: PerSecond::try_from(self.offered / MEAN_SECONDS).unwrap(),
            service: ServiceTime::new(MEAN_SECONDS, self.scv).unwrap(),
            concurrency: NonZeroU32::new(self.concurrency).unwrap(),
            backlog: Requests::ZERO,
            backlog_age: Millis::ZERO,
        }
    }

    fn promise(&self) -> Promise {
        Promise {
            slo: Millis((self.slo_means * MEAN_SECONDS * 1000.0) as u64),
            quantile: Ratio::try_from(self.quantile).unwrap(),
            // Out of the way: it is the latency model that is held against the simulation.
            utilisation_max: Ratio::try_from(0.9999).unwrap(),
            drain: Millis::from_secs(10),
        }
    }

    fn service(&self, random: &mut Lcg) -> f64 {
        match self.shape {
            _ if self.scv == 0.0 => MEAN_SECONDS,
            Shape::Lognormal => {
                let sigma_squared = (1.0 + self.scv).ln();
                let mu = MEAN_SECONDS.ln() - sigma_squared / 2.0;
                (mu + sigma_squared.sqrt() * random.normal()).exp()
            }
            Shape::Phases if self.scv > 1.0 => {
                // Two exponentials with balanced means.
                let first = f64::midpoint(1.0, ((self.scv - 1.0) / (self.scv + 1.0)).sqrt());
                let share = if random.uniform() < first { first } else { 1.0 - first };
                random.exponential(MEAN_SECONDS / (2.0 * share))
            }
            Shape::Phases => {
                let phases = (1.0 / self.scv).round() as u32;
                (0..phases).map(|_| random.exponential(MEAN_SECONDS / f64::from(phases))).sum()
            }
        }
    }

    /// Whether so many replicas keep the promise: first come, first served, to the slot that is free first.
    fn holds(&self, replicas: u32) -> bool {
        let slots = replicas * self.concurrency;
        if f64::from(slots) <= self.offered {
            return false;
        }
        // The same arrivals and services for every number of replicas.
        let (mut arrivals, mut services) = (Lcg(1), Lcg(2));
        let mut free: BinaryHeap<_> = (0..slots).map(|_| Reverse(0)).collect();
        let nanos = |seconds: f64| (seconds * 1e9) as u64;
        let (mut now, mut kept) = (0.0, 0u32);
        let slo = self.promise().slo.0 * 1_000_000;
        for _ in 0..REQUESTS {
            now += arrivals.exponential(MEAN_SECONDS / self.offered);
            let Reverse(slot) = free.pop().unwrap();
            let done = nanos(now).max(slot) + nanos(self.service(&mut services));
            free.push(Reverse(done));
            kept += u32::from(done - nanos(now) <= slo);
        }
        f64::from(kept) >= self.quantile * f64::from(REQUESTS)
    }
}

fn grid() -> Vec<Case> {
    let mut cases = Vec::new();
    for offered in [0.3, 1.5, 4.0, 13.0, 40.0] {
        for (concurrency, slo_means) in [(1, 2.0), (1, 4.0), (1, 10.0), (4, 3.0), (4, 8.0)] {
            for (scv, quantile) in [(0.0, 0.95), (0.25, 0.99), (0.5, 0.95), (1.0, 0.95), (2.0, 0.9)]
            {
                for shape in [Shape::Lognormal, Shape::Phases] {
                    cases.push(Case { offered, concurrency, scv, shape, slo_means, quantile });
                }
            }
        }
    }
    cases
}

/// The smallest number of replicas that keeps the promise in the simulation.
fn smallest(case: &Case) -> u32 {
    (1..1000).find(|&replicas| case.holds(replicas)).unwrap()
}

#[test]
fn the_model_chooses_what_the_simulation_finds() {
    let mut off_by: BTreeMap<u32, Vec<(Case, Need)>> = BTreeMap::new();
    for case in grid() {
        let need = needed(&case.load(), &case.promise());
        // No number of replicas keeps such a promise, so there is no smallest to find.
        if !matches!(need.binding, Binding::ServiceExceedsSlo { .. }) {
            let off = need.replicas.0.abs_diff(smallest(&case));
            off_by.entry(off).or_default().push((case, need));
        }
    }
    let judged: usize = off_by.values().map(Vec::len).sum();
    let exact = off_by.remove(&0).map_or(0, |cases| cases.len());
    let by_one = off_by.remove(&1).map_or(0, |cases| cases.len());
    assert!(judged >= 200, "only {judged} cases were within reach of the SLO");
    assert!((exact + by_one) * 100 >= judged * 95, "{judged} judged, far off: {off_by:#?}");
    // Being off by one forgives much at these sizes; this is what tells a wrong model from a right one.
    assert!(exact * 100 >= judged * 92, "{exact} of {judged} exact, {by_one} off by one");
}
