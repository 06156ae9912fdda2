//! What no world may lose: requests, node time, money.

use proptest::prelude::*;
use spotscale_decide::{
    cluster::CapacityType,
    ledger::Baseline,
    offers::{Machine, OfferPolicy, Throughput},
    planner::Policy,
    prices::{PriceBook, PriceChange},
    units::{MicroUsd, Replicas, UsdPerHour},
};

use super::*;
use crate::{
    arrivals::Arrivals,
    availability::{Availability, Steps},
    setup::{Delays, Scaling, Service, Spot, pools},
};

const HOUR: u64 = 3600;

/// Two hours of a machine that answers eight a second, two at a time, with the world's other values as they are.
fn setup(seed: u64) -> Setup {
    let throughput = Throughput::try_from(8.0).unwrap();
    let machine = Machine { instance_type: "g".parse().unwrap(), throughput, pods_max: 1 };
    let offers = OfferPolicy { machines: vec![machine.clone()], ..OfferPolicy::default() };
    let mut service = Service { timeout: Millis::from_secs(240), ..Service::default() };
    service.policy.concurrency = std::num::NonZeroU32::new(2).unwrap();
    Setup {
        seed,
        begins_at: crate::generate::BEGINS_AT,
        lasts: Millis::from_secs(2 * HOUR),
        planner: Policy { offers, ..Policy::default() },
        baseline: Baseline { instance_type: machine.instance_type, pods_max: 1, nodes: None },
        price_refresh: Millis::from_secs(300),
        service,
        scaling: Scaling::chart(0, 20),
        delays: Delays::default(),
        spot: Spot { interruptions_per_hour: 0.0, ..Spot::default() },
        pools: pools(true).unwrap(),
    }
}

fn offering(zone: &str, capacity_type: CapacityType) -> Offering {
    let instance_type = "g".parse().unwrap();
    Offering { instance_type, zone: zone.parse().unwrap(), capacity_type }
}

/// Spot in a zone, in micro-dollars an hour from each second on; on demand everywhere at a dollar.
fn prices(spot: &[(&str, &[(u64, u64)])]) -> PriceBook {
    let change = |second, micros| PriceChange {
        at: Millis::from_secs(second).after(crate::generate::BEGINS_AT),
        price: UsdPerHour(micros),
    };
    let mut book = PriceBook::default();
    for (zone, changes) in spot {
        book.record(offering(zone, CapacityType::OnDemand), change(0, 1_000_000));
        for (second, micros) in *changes {
            book.record(offering(zone, CapacityType::Spot), change(*second, *micros));
        }
    }
    book
}

fn run(setup: &Setup, inputs: &Inputs) -> (Outcome, Millis) {
    let mut world = World::new(setup, inputs).unwrap();
    while world.now < world.lasts {
        world.step();
    }
    world.cluster.shown.seen.at = world.cluster.at(world.now);
    world.autoscaler.totals(&world.cluster);
    let now = world.cluster.shown.seen.at;
    let listed = world.autoscaler.ledger().lives(world.cluster.book(), now);
    let spans = listed.map(|life| Millis::between(life.from, life.end.map_or(now, |end| end.at)).0);
    let lived = Millis(spans.sum());
    (world.outcome(), lived)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn requests_and_node_time_are_conserved(
        seed in any::<u64>(),
        counts in prop::collection::vec(0..300_u32, 1..120),
        capacity in prop::collection::vec((0..2 * HOUR, 0..5_u32), 0..12),
        per_hour in prop::sample::select(vec![0.0, 0.5, 5.0]),
        (notice, lead) in prop::sample::select(vec![(0_u64, 0_u64), (5, 0), (120, 0), (120, 120)]),
        (retries, fallback) in any::<(bool, bool)>(),
    ) {
        let mut setup = setup(seed);
        setup.service.retries = retries;
        setup.pools = pools(fallback).unwrap();
        setup.spot.interruptions_per_hour = per_hour;
        setup.spot.notice = Millis::from_secs(notice);
        setup.spot.rebalance_lead = Millis::from_secs(lead);
        let arrivals = Arrivals::Counts { every: Millis::from_secs(60), counts };
        let mut availability = Availability::default();
        if !capacity.is_empty() {
            let steps = capacity.into_iter().map(|(second, n)| (Millis::from_secs(second), n));
            availability.set("g".parse().unwrap(), "a".parse().unwrap(), Steps::new(steps));
        }
        let prices = prices(&[("a", &[(0, 300_000)]), ("b", &[(0, 310_000), (HOUR, 290_000)])]);
        let total = arrivals.total();
        let inputs = Inputs { prices, availability, arrivals, described: vec![] };
        let (outcome, lived) = run(&setup, &inputs);

        let tally = &outcome.tally;
        prop_assert_eq!(tally.arrived, total);
        let refused: u64 = tally.refused.values().sum();
        let ended = tally.latencies.count() + refused + tally.expired + tally.lost;
        prop_assert_eq!(ended + outcome.held + outcome.in_flight, total);
        prop_assert_eq!(if retries { tally.lost } else { tally.retried }, 0);
        let spans: u64 = outcome.spans.values().map(|span| span.0).sum();
        prop_assert_eq!(Millis(spans), lived, "the ledger and the world disagree");
        let totals = &outcome.totals;
        prop_assert!(totals.unpriced.is_empty() && totals.refund <= totals.spend);
    }
}

#[test]
fn a_small_timeline_costs_what_it_does_by_hand() {
    let mut setup = setup(1);
    setup.service.policy.min = Replicas(1);
    setup.scaling = Scaling::chart(1, 20);
    // A dime an hour, and from the first hour on two.
    let prices = prices(&[("a", &[(0, 100_000), (HOUR, 200_000)])]);
    let arrivals = Arrivals::from_moments(vec![]);
    let inputs =
        Inputs { prices, availability: Availability::default(), arrivals, described: vec![] };
    let (outcome, _) = run(&setup, &inputs);
    assert_eq!(outcome.census.launched, 1);
    // KEDA keeps one from the first moment on, and a machine is bought for it in that moment.
    let spot = offering("a", CapacityType::Spot);
    assert_eq!(outcome.spans[&spot], Millis::from_secs(2 * HOUR));
    assert_eq!(outcome.totals.spend, MicroUsd(100_000 + 200_000));
    assert_eq!(outcome.totals.refund, MicroUsd::ZERO);
    assert_eq!(outcome.totals.baseline, MicroUsd(2_000_000), "one on demand for two hours");
}

#[test]
fn what_is_taken_in_its_first_hour_is_refunded() {
    let mut setup = Setup { lasts: Millis::from_secs(HOUR), ..setup(1) };
    setup.service.policy.min = Replicas(1);
    setup.scaling = Scaling::chart(1, 20);
    let mut availability = Availability::default();
    // Half an hour of spot, and then none.
    let steps = Steps::new([(Millis::ZERO, 1), (Millis::from_secs(HOUR / 2), 0)]);
    availability.set("g".parse().unwrap(), "a".parse().unwrap(), steps);
    let prices = prices(&[("a", &[(0, 100_000)])]);
    let arrivals = Arrivals::from_moments(vec![]);
    let inputs = Inputs { prices, availability, arrivals, described: vec![] };
    let (outcome, _) = run(&setup, &inputs);
    assert_eq!((outcome.census.noticed, outcome.census.taken), (1, 1));
    assert_eq!(outcome.spans[&offering("a", CapacityType::Spot)], Millis::from_secs(HOUR / 2));
    assert_eq!(outcome.totals.refund, MicroUsd(50_000), "half an hour at a dime");
    // On demand was bought at the notice, two minutes before.
    let on_demand = outcome.spans[&offering("a", CapacityType::OnDemand)];
    let bought = Millis::from_secs(HOUR).saturating_sub(on_demand);
    let notice = Millis::from_secs(HOUR / 2 - 120);
    assert!(bought >= notice && bought <= notice.saturating_add(Millis::from_secs(5)), "{bought}");
    let by_hand = 50_000 + on_demand.0 as i64 * 1_000_000 / 3_600_000;
    assert!((outcome.totals.spend.0 - by_hand).abs() <= 1, "{}", outcome.totals.spend);
}
