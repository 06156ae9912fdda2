//! What holds for any policy, any signals, any memory.

use std::num::NonZeroU32;

use proptest::prelude::*;
use spotscale_decide::{
    capacity::{Load, Promise, ServiceTime, needed},
    demand::{Demand, MeasuredService},
    freshness::{Aged, Freshness},
    replicas::{
        Decision, Fallback, GpuPolicy, Memory, Policy, PricePolicy, Signals, Without, decide,
    },
    units::{Millis, PerSecond, PriceRatio, Ratio, Replicas, Requests},
};

fn ratio() -> impl Strategy<Value = Ratio> {
    (0.0..=1.0).prop_map(|share| Ratio::try_from(share).unwrap())
}

fn rate() -> impl Strategy<Value = PerSecond> {
    let exponent = prop_oneof![Just(None), (-3.0..9.0).prop_map(Some)];
    exponent.prop_map(|e| PerSecond::try_from(e.map_or(0.0, |e| 10f64.powf(e))).unwrap())
}

fn service() -> impl Strategy<Value = ServiceTime> {
    (-6.0..4.9, 0.0..=100.0).prop_map(|(e, scv)| ServiceTime::new(10f64.powf(e), scv).unwrap())
}

fn slots() -> impl Strategy<Value = NonZeroU32> {
    prop_oneof![Just(1), 1..100u32, Just(u32::MAX)].prop_map(|n| NonZeroU32::new(n).unwrap())
}

fn span() -> impl Strategy<Value = Millis> {
    prop_oneof![Just(0), 0..1000u64, 0..10_000_000u64, Just(u64::MAX)].prop_map(Millis)
}

fn count() -> impl Strategy<Value = u64> {
    prop_oneof![Just(0), 0..1000u64, any::<u64>()]
}

fn freshness() -> impl Strategy<Value = Freshness> {
    (span(), span()).prop_map(|(warn, expired)| Freshness { warn, expired })
}

fn without() -> impl Strategy<Value = Without> {
    let fallback = || prop_oneof![Just(Fallback::Hold), Just(Fallback::Ignore)];
    (fallback(), fallback()).prop_map(|(growth, shrink)| Without { growth, shrink })
}

fn promise() -> impl Strategy<Value = Promise> {
    (span(), ratio(), ratio(), span()).prop_map(|(slo, quantile, utilisation_max, drain)| Promise {
        slo,
        quantile,
        utilisation_max,
        drain,
    })
}

fn load() -> impl Strategy<Value = Load> {
    (rate(), service(), slots(), count(), span()).prop_map(
        |(arrivals, service, concurrency, held, age)| Load {
            arrivals,
            service,
            concurrency,
            backlog: Requests(held),
            backlog_age: age,
        },
    )
}

fn policy() -> impl Strategy<Value = Policy> {
    let limits = (0..5u32, 0..50u32, 0..10u32, slots(), service());
    let spans = (span(), span(), ratio(), span(), freshness());
    let gpu = (freshness(), without(), ratio(), ratio())
        .prop_map(|(freshness, without, busy, idle)| GpuPolicy { freshness, without, busy, idle });
    let price = (freshness(), without(), 0..300u16, span(), (span(), 0..5u32)).prop_map(
        |(freshness, without, dear, dear_after, (window, warm))| PricePolicy {
            freshness,
            without,
            dear: PriceRatio::from_percent(dear),
            dear_after,
            stabilisation_when_dear: window,
            warm_when_dear: Replicas(warm),
        },
    );
    (limits, promise(), spans, prop::option::of(gpu), prop::option::of(price)).prop_map(
        |(limits, promise, spans, gpu, price)| Policy {
            min: Replicas(limits.0),
            max: Replicas(limits.1),
            warm: Replicas(limits.2),
            concurrency: limits.3,
            service_prior: limits.4,
            promise,
            idle_after: spans.0,
            stabilisation: spans.1,
            shrink_margin: spans.2,
            cold_start: spans.3,
            demand: spans.4,
            gpu,
            price,
        },
    )
}

fn demand() -> impl Strategy<Value = Demand> {
    let measured =
        (service(), 0.0..1000.0).prop_map(|(time, samples)| MeasuredService { time, samples });
    let gauges = (count(), count(), span(), 0..50u32, prop::option::of(slots()));
    let flow = (rate(), rate(), prop::option::of(span()), prop::option::of(measured));
    (gauges, flow).prop_map(|(gauges, flow)| Demand {
        held: Requests(gauges.0),
        in_flight: Requests(gauges.1),
        oldest_held: gauges.2,
        endpoints: Replicas(gauges.3),
        concurrency: gauges.4,
        arrivals_per_second_stable: flow.0,
        arrivals_per_second_burst: flow.1,
        last_arrival_at: flow.2,
        service: flow.3,
        fronts: 1,
    })
}

fn aged<T: std::fmt::Debug>(
    of: impl Strategy<Value = T>,
) -> impl Strategy<Value = Option<Aged<T>>> {
    prop::option::weighted(0.9, (of, span()).prop_map(|(value, at)| Aged { value, at }))
}

fn signals() -> impl Strategy<Value = Signals> {
    let price = (0..2000u16).prop_map(PriceRatio::from_percent);
    (aged(demand()), aged(ratio()), aged(price)).prop_map(|(demand, gpu, price)| Signals {
        demand,
        gpu,
        price,
    })
}

/// Moments at which something was decided, the last of them the one that counts.
fn history() -> impl Strategy<Value = Vec<(Millis, Signals)>> {
    prop::collection::vec((span(), signals()), 1..6)
}

fn play(policy: &Policy, history: &[(Millis, Signals)]) -> (Decision, Memory) {
    let start = (Decision { scale: None, reasons: Vec::new() }, Memory::default());
    history.iter().fold(start, |(_, memory), (now, signals)| decide(*now, policy, signals, memory))
}

proptest! {
    #[test]
    fn a_need_is_finite_and_never_falls_when_load_rises(
        load in load(), promise in promise(), more in 1.0..10.0f64, held in count(),
    ) {
        let least = needed(&load, &promise);
        let arrivals = PerSecond::over(load.arrivals.get() * more, Millis(1000));
        let backlog = load.backlog.saturating_add(Requests(held));
        let most = needed(&Load { arrivals, backlog, ..load }, &promise);
        prop_assert!(least.replicas <= most.replicas, "{:?} then {:?}", least, most);
        prop_assert!((load.offered() > 0.0 || load.backlog > Requests(0)) == (least.replicas > Replicas(0)));
    }

    #[test]
    fn a_number_stays_within_its_bounds(policy in policy(), history in history()) {
        let (decision, _) = play(&policy, &history);
        prop_assert!(!decision.reasons.iter().any(|reason| reason.to_string().contains("NaN")));
        if let Some(scale) = decision.scale {
            prop_assert!(scale.desired <= policy.max);
            prop_assert_eq!(scale.active, scale.desired > Replicas::ZERO);
            let demand = history.last().unwrap().1.demand.unwrap().value;
            let busy = demand.held > Requests(0) || demand.in_flight > Requests(0);
            prop_assert!(!busy || scale.active || policy.max == Replicas::ZERO);
        }
    }

    #[test]
    fn deciding_twice_changes_nothing(policy in policy(), history in history()) {
        let (first, memory) = play(&policy, &history);
        let (now, signals) = history.last().unwrap();
        let (second, after) = decide(*now, &policy, signals, memory.clone());
        prop_assert_eq!(first, second);
        prop_assert_eq!(memory, after);
    }

    #[test]
    fn a_dump_reads_back_the_same(policy in policy(), history in history()) {
        let whole = (&policy, &history, play(&policy, &history));
        let text = serde_json::to_string(&whole).unwrap();
        let back: (Policy, Vec<(Millis, Signals)>, (Decision, Memory)) = serde_json::from_str(&text).unwrap();
        prop_assert_eq!((&back.0, &back.1, back.2.clone()), whole);
    }

    #[test]
    fn more_demand_never_means_fewer(
        policy in policy(), history in history(), more in 1.0..10.0f64, extra in count(),
    ) {
        let (now, signals) = history.last().unwrap();
        let (_, memory) = play(&policy, &history[..history.len() - 1]);
        let mut raised = signals.clone();
        if let Some(demand) = raised.demand.as_mut().map(|demand| &mut demand.value) {
            let raise = |rate: PerSecond| PerSecond::over(rate.get() * more, Millis(1000));
            demand.arrivals_per_second_stable = raise(demand.arrivals_per_second_stable);
            demand.arrivals_per_second_burst = raise(demand.arrivals_per_second_burst);
            demand.held = demand.held.saturating_add(Requests(extra));
            demand.in_flight = demand.in_flight.saturating_add(Requests(extra));
        }
        let fewer = decide(*now, &policy, signals, memory.clone()).0.scale;
        let most = decide(*now, &policy, &raised, memory).0.scale;
        prop_assert_eq!(fewer.is_some(), most.is_some());
        prop_assert!(fewer.map(|s| s.desired) <= most.map(|s| s.desired), "{:?} then {:?}", fewer, most);
    }

    #[test]
    fn a_price_never_changes_what_the_load_needs(
        policy in policy(), history in history(), percent in 0..2000u16,
    ) {
        let policy = Policy { warm: Replicas(0), min: Replicas(0), ..policy };
        let (now, signals) = history.last().unwrap();
        let price = Some(Aged { value: PriceRatio::from_percent(percent), at: *now });
        let with = |price| {
            let signals = Signals { price, ..signals.clone() };
            decide(*now, &Policy { price: None, ..policy.clone() }, &signals, Memory::default())
        };
        prop_assert_eq!(with(price), with(None));
    }
}
