//! Signals that lie, age or are gone, and an HPA that does not do as it is told.

use spotscale_decide::{
    freshness::Standing,
    replicas::{Reason, Signal},
    units::{Millis, Replicas},
};

use super::world::World;

/// Seven replicas where two would have done for longer than the shrink window.
fn too_many(mut world: World) -> World {
    world.load(50.0).decide();
    world.load(10.0);
    world
}

#[test]
fn x05_without_the_gpu_signal_nothing_shrinks_and_the_reason_stays() {
    for age_secs in [None, Some(46), Some(61), Some(600)] {
        let mut world = too_many(World::new().with_gpu());
        for _ in 0..400 {
            if let Some(secs) = age_secs {
                world.gpu(20);
                world.signals.gpu.as_mut().unwrap().at =
                    world.now.saturating_sub(Millis::from_secs(secs));
            }
            assert_eq!(world.run(1), [7], "{age_secs:?}");
        }
        assert!(world.told("shrink_without") && !world.told("not_fresh"), "{:?}", world.last);
    }
    let mut fresh = too_many(World::new().with_gpu());
    for _ in 0..400 {
        fresh.gpu(20).run(1);
    }
    assert_eq!(fresh.decide(), Some(2), "with the signal it shrinks");
}

#[test]
fn x06_a_price_ten_times_as_high_for_a_minute_changes_nothing_and_is_told() {
    let mut world = World::new().with_price();
    world.policy.warm = Replicas(3);
    world.price(30).run(400);
    world.load(50.0).price(30).decide();
    world.load(10.0).price(30).run(120);
    assert_eq!(world.price(300).run(60), [7]);
    let lasted = Millis::from_secs(59);
    let told = world.last.reasons.iter().find(|reason| reason.kind() == "price_spike").unwrap();
    assert!(matches!(told, Reason::PriceSpike { lasted: is, .. } if *is == lasted), "{told:?}");
    assert!(told.to_string().starts_with("the price is 300 % of on-demand"), "{told}");
    assert_eq!(world.price(30).run(1), [7]);
    assert!(!world.told("price_spike"));
    assert_eq!(world.load(0.0).price(30).run(800).last(), Some(&3), "the floor is kept");
}

#[test]
fn x06_a_price_that_is_missing_or_old_changes_no_number_and_is_told() {
    let numbers = |price: Option<u64>| {
        let mut world = too_many(World::new().with_price());
        let mut numbers = Vec::new();
        for _ in 0..400 {
            if let Some(age_secs) = price {
                world.price(30);
                let at = world.now.saturating_sub(Millis::from_secs(age_secs));
                world.signals.price.as_mut().unwrap().at = at;
            }
            numbers.extend(world.run(1));
        }
        (numbers, world.last.reasons)
    };
    let (fresh, reasons) = numbers(Some(0));
    assert!(reasons.iter().all(|reason| reason.kind() != "not_fresh"), "{reasons:?}");
    assert_eq!(fresh.last(), Some(&2));
    for age_secs in [None, Some(1_000), Some(8_000)] {
        let (without, reasons) = numbers(age_secs);
        assert_eq!(without, fresh, "{age_secs:?}");
        let told = reasons.iter().find_map(|reason| match reason {
            Reason::NotFresh { signal: Signal::Price, standing } => Some(*standing),
            _ => None,
        });
        assert_eq!(told == Some(Standing::Missing), age_secs.is_none(), "{reasons:?}");
        assert!(told.is_some(), "{reasons:?}");
    }
}

#[test]
fn x18_each_signal_fails_by_its_own_policy() {
    let mut world = too_many(World::new().with_gpu().with_price());
    for _ in 0..400 {
        world.price(30).run(1);
    }
    assert_eq!(world.decide(), Some(7), "no shrink without the GPUs, whatever the price says");
    assert!(world.told("shrink_without"));
    assert_eq!(world.load(80.0).decide_only(), Some(10), "growth needs neither");
    assert!(world.told("not_fresh"), "{:?}", world.last);
}

#[test]
fn a_step_that_the_hpas_dead_band_swallows_is_told_until_it_is_taken() {
    let mut world = World::new();
    world.policy.min = Replicas(10);
    assert_eq!(world.decide(), Some(10));
    assert!(!world.told("hpa_dead_band"));
    world.policy.min = Replicas(11);
    for _ in 0..3 {
        assert_eq!(world.decide_only(), Some(11));
        let told = world.last.reasons.iter().find(|reason| reason.kind() == "hpa_dead_band");
        let rule = "11 is within 10 % of 10: held back by the HPA dead band unless tolerance is 0";
        assert_eq!(told.unwrap().to_string(), rule);
    }
    // A tolerance of 0: it came.
    world.decide();
    assert_eq!(world.decide_only(), Some(11));
    assert!(!world.told("hpa_dead_band"));
}

#[test]
fn a_shrink_by_one_of_ten_is_told_too_and_by_one_of_nine_is_not() {
    for (from, told) in [(10, true), (9, false)] {
        let mut world = World::new();
        world.policy.min = Replicas(from);
        world.run(400);
        world.policy.min = Replicas(from - 1);
        assert_eq!(world.decide_only(), Some(from - 1));
        assert_eq!(world.told("hpa_dead_band"), told, "{from}");
    }
}

#[test]
fn replicas_that_only_have_not_come_yet_are_not_held_back() {
    let mut world = World::new();
    world.policy.min = Replicas(10);
    world.decide();
    world.policy.min = Replicas(20);
    assert_eq!(world.decide_only(), Some(20));
    // Nineteen of the twenty are there, and the HPA has all of them.
    world.demand.as_mut().unwrap().endpoints = Replicas(19);
    assert_eq!(world.decide_only(), Some(20));
    assert!(!world.told("hpa_dead_band") && world.told("cold_start"), "{:?}", world.last);
}
