//! The main paths, told in seconds.

use spotscale_decide::{
    freshness::Freshness,
    replicas::{Fallback, Memory},
    units::{Millis, Ratio, Replicas, Requests},
};

use super::world::{QUIET, World};

#[test]
fn the_first_held_request_wakes_a_service_at_once() {
    let mut world = World::new();
    assert_eq!(world.run(5), [0]);
    assert_eq!(world.hold(1).decide_only(), Some(1));
    assert!(world.last.scale.unwrap().active);
    assert!(
        world.told("backlog") && world.told("service_time_guessed") && world.told("cold_start")
    );
}

#[test]
fn a_service_grows_at_once_shrinks_after_the_window_and_ends_at_zero() {
    let mut world = World::new();
    world.load(10.0);
    assert_eq!(world.decide(), Some(2));
    assert_eq!(world.load(50.0).decide(), Some(7));
    assert_eq!(world.load(10.0).run(299), [7]);
    assert_eq!(world.run(20).last(), Some(&2));
    assert_eq!(world.load(0.0).run(59), [2]);
    assert_eq!(world.run(1), [0]);
    assert!(world.told("idle") && !world.last.scale.unwrap().active);
}

#[test]
fn one_busy_moment_starts_the_window_again() {
    let mut world = World::new();
    world.load(50.0).decide();
    assert_eq!(world.load(10.0).run(250), [7]);
    world.load(50.0).decide();
    assert_eq!(world.load(10.0).run(250), [7]);
    assert!(world.told("stabilising"));
    assert_eq!(world.run(60), [7, 2]);
}

#[test]
fn a_shrink_needs_its_margin() {
    let last = |margin| {
        let mut world = World::new();
        world.policy.shrink_margin = Ratio::from_percent(margin);
        world.load(20.0).decide();
        world.load(14.0).run(400).last().copied()
    };
    // Two keep the promise for fourteen a second, but not for fourteen and a margin.
    assert_eq!((last(15), last(0)), (Some(3), Some(2)));
}

#[test]
fn a_running_request_keeps_the_service_awake() {
    let mut world = World::new();
    world.demand = Some(spotscale_decide::demand::Demand { in_flight: Requests(3), ..QUIET });
    assert_eq!(world.run(600), [3]);
    assert!(world.told("running"));
    world.demand = Some(QUIET);
    assert_eq!(world.run(61).last(), Some(&0));
}

#[test]
fn a_floor_is_kept_when_idle_and_a_ceiling_when_busy() {
    let mut world = World::new();
    (world.policy.warm, world.policy.max) = (Replicas(2), Replicas(5));
    assert_eq!(world.run(400), [2]);
    assert!(world.told("floor"));
    assert_eq!(world.load(500.0).decide(), Some(5));
    assert!(world.told("ceiling"));
}

#[test]
fn growth_needs_no_prometheus_but_shrinking_does() {
    let mut world = World::new().with_gpu();
    assert_eq!(world.load(50.0).decide(), Some(7));
    assert_eq!(world.load(10.0).run(600), [7]);
    assert!(world.told("shrink_without"));
    assert_eq!(world.gpu(20).run(2), [2]);
    // An hour without it: nothing changes, and growth still works.
    assert_eq!(world.load(5.0).run(3600), [2]);
    assert_eq!(world.load(50.0).decide(), Some(7));
}

#[test]
fn a_policy_may_ask_for_the_gpu_signal_before_growth_too_but_not_before_waking() {
    let mut world = World::new().with_gpu();
    world.policy.gpu.as_mut().unwrap().without.growth = Fallback::Hold;
    assert_eq!(world.load(10.0).decide(), Some(2));
    assert_eq!(world.load(50.0).decide(), Some(2));
    assert!(world.told("growth_without"));
    assert_eq!(world.gpu(95).decide(), Some(7));
}

#[test]
fn busy_gpus_veto_a_shrink_as_far_as_they_must() {
    let mut world = World::new().with_gpu();
    world.load(50.0).decide();
    world.load(10.0).run(400);
    // Seven at 50 % are as much work as four at 88 %; the same old sample says no more about the four.
    assert_eq!(world.gpu(50).run(40), [4]);
    assert!(world.told("gpu_busy"));
    // The four, measured anew, may go on to two at 90 %.
    assert_eq!(world.gpu(45).run(40), [2]);
    assert_eq!(world.load(50.0).decide(), Some(7));
    for _ in 0..400 {
        world.load(10.0).gpu(95).run(1);
    }
    assert_eq!(world.decide(), Some(7));
}

#[test]
fn a_queue_before_idle_gpus_is_told() {
    let mut world = World::new().with_gpu();
    world.load(10.0).decide();
    world.hold(50).gpu(2).decide();
    assert!(world.told("queue_with_idle_gpu"));
    world.gpu(80).decide();
    assert!(!world.told("queue_with_idle_gpu"));
}

#[test]
fn a_price_spike_moves_nothing_and_a_lasting_one_hurries_the_shrink() {
    let mut world = World::new().with_price();
    world.load(50.0).price(30).decide();
    world.load(10.0).price(30).run(200);
    assert_eq!(world.price(1000).run(60), [7]);
    assert_eq!(world.price(30).run(30), [7]);
    assert!(!world.told("price_dear"));

    let mut dear = World::new().with_price();
    dear.load(50.0).price(95).run(300);
    assert_eq!(dear.load(10.0).price(95).run(115), [7]);
    assert_eq!(dear.run(15), [7, 2]);
    assert!(dear.told("price_dear"));
}

#[test]
fn a_lasting_price_lowers_the_warm_floor_never_the_need() {
    let mut world = World::new().with_price();
    world.policy.warm = Replicas(6);
    world.policy.price.as_mut().unwrap().warm_when_dear = Replicas(1);
    assert_eq!(world.load(10.0).price(40).run(400), [6]);
    assert_eq!(world.price(120).run(1000).last(), Some(&2));
}

#[test]
fn a_price_nobody_knows_changes_nothing_unless_the_policy_says_so() {
    let mut world = World::new().with_price();
    world.load(50.0).decide();
    assert_eq!(world.load(10.0).run(310), [7, 2]);
    world.policy.price.as_mut().unwrap().without.shrink = Fallback::Hold;
    world.load(50.0).decide();
    assert_eq!(world.load(10.0).run(400), [7]);
    assert!(world.told("shrink_without"));
}

#[test]
fn a_restarted_scaler_keeps_what_serves_until_it_has_watched_a_window() {
    let mut world = World::new();
    world.load(50.0).decide();
    world.load(10.0).run(30);
    world.memory = Memory::default();
    assert_eq!(world.run(299), [7]);
    assert!(world.told("history_short"));
    assert_eq!(world.run(5), [7, 2]);
}

#[test]
fn a_restarted_scaler_that_sees_nothing_waits_before_it_says_zero() {
    let mut world = World::new();
    world.demand.as_mut().unwrap().endpoints = Replicas(1);
    assert_eq!(world.run(60), [1]);
    assert!(world.told("not_yet_idle"));
    assert_eq!(world.run(1), [0]);
}

#[test]
fn what_was_ordered_later_is_not_overdue_with_what_was_ordered_first() {
    let mut world = World::new();
    world.load(10.0).decide_only();
    world.now = world.now.saturating_add(Millis::from_secs(59));
    world.load(50.0).decide_only();
    world.now = world.now.saturating_add(Millis::from_secs(59));
    world.decide_only();
    assert!(world.told("cold_start") && !world.told("overdue"));
}

#[test]
fn unknown_demand_gives_no_number_and_starts_the_window_again() {
    let mut world = World::new();
    world.load(50.0).decide();
    world.load(10.0).run(250);
    let demand = world.demand.take();
    assert_eq!(world.run(5), [7]);
    world.run(6);
    assert_eq!(world.last.scale, None);
    assert!(world.told("demand_unknown"));
    world.demand = demand;
    assert_eq!(world.run(299), [7]);
    assert_eq!(world.run(5), [7, 2]);
}

#[test]
fn a_time_in_which_nobody_asked_is_no_evidence() {
    let mut world = World::new();
    world.load(50.0).decide();
    world.load(10.0).run(250);
    world.now = world.now.saturating_add(Millis::from_secs(100));
    assert_eq!(world.run(299), [7]);
    assert_eq!(world.run(5), [7, 2]);
}

#[test]
fn stale_demand_may_still_wake_but_not_shrink() {
    let mut world = World::new();
    world.load(50.0).decide();
    world.load(10.0).run(290);
    world.policy.demand = Freshness { warn: Millis(0), expired: Millis::from_secs(60) };
    world.demand = None;
    assert_eq!(world.run(30), [7]);
    assert!(world.told("shrink_without"));
}

#[test]
fn what_waits_for_a_cold_start_does_not_order_ever_more() {
    let mut world = World::new();
    let mut most = 0;
    for second in 0..=60 {
        let waiting = world.load(20.0).hold(20 * second);
        let demand = waiting.demand.as_mut().unwrap();
        demand.oldest_held = Millis::from_secs(second);
        most = most.max(world.decide_only().unwrap());
        world.now = world.now.saturating_add(Millis::from_secs(1));
    }
    // Three for the arrivals alone; clearing 1,200 requests in ten seconds would have ordered fourteen.
    assert_eq!(most, 4);
    assert!(world.told("cold_start") && !world.told("overdue"));
    world.now = world.now.saturating_add(Millis::from_secs(60));
    world.decide_only();
    assert!(world.told("overdue") && !world.told("cold_start"));
}

#[test]
fn service_slower_than_the_slo_is_told_and_scaled_by_utilisation() {
    let mut world = World::new();
    world.policy.promise.slo = Millis(100);
    assert_eq!(world.load(40.0).decide(), Some(5));
    assert!(world.told("service_exceeds_slo"));
}
