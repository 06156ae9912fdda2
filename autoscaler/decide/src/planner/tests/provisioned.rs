//! The main paths where a provisioner buys, told.

use super::*;
use crate::{
    cluster::{CapacityType, CordonCause, Overlay, Pool, Provisioner},
    testing::{
        provisioner::pool,
        world::{BOOT_SECS, START_SECS},
    },
};

const UP: u32 = (BOOT_SECS + START_SECS + 3) as u32;
pub(super) const BOTH: [CapacityType; 2] = [CapacityType::Spot, CapacityType::OnDemand];

impl Story {
    /// A story in which a provisioner with these pools buys.
    pub(super) fn provisioned(replicas: u32, pools: Vec<Pool>) -> Self {
        let mut story = Self::new(replicas);
        story.world.buyer.prices = story.prices.clone();
        story.world.now.provisioner = Some(Provisioner { overlays: Some(vec![]), pools });
        story
    }

    pub(super) fn two_pools(replicas: u32) -> Self {
        let spot = pool("spot", &[CapacityType::Spot], Some(50));
        let on_demand = pool("on-demand", &[CapacityType::OnDemand], Some(10));
        Self::provisioned(replicas, vec![spot, on_demand])
    }

    fn price(&mut self, offering: &Offering, price: &str) {
        let price = price.parse().unwrap();
        self.prices.insert(offering.clone(), price);
        self.world.buyer.prices.insert(offering.clone(), price);
    }

    pub(super) fn told(&self) -> BTreeMap<Offering, u64> {
        let overlays = self.world.now.provisioner.as_ref().and_then(|it| it.overlays.clone());
        let told = overlays.into_iter().flatten();
        told.map(|Overlay { offering, price }| (offering, price.0)).collect()
    }

    pub(super) fn weights(&self) -> Vec<(String, Option<u32>, bool)> {
        let pools = self.world.now.provisioner.iter().flat_map(|it| &it.pools);
        pools.map(|pool| (pool.name.to_string(), pool.weight, pool.closed)).collect()
    }

    pub(super) fn kinds(&self) -> Vec<String> {
        self.world.alive().map(|node| node.offering.to_string()).collect()
    }

    pub(super) fn on_demand_nodes(&self) -> usize {
        let on_demand =
            |node: &&crate::cluster::Node| node.offering.capacity_type == CapacityType::OnDemand;
        self.world.alive().filter(on_demand).count()
    }

    pub(super) fn sell_out(&mut self, offerings: &[Offering]) {
        self.world.buyer.sold_out = offerings.iter().cloned().collect();
    }

    /// Seconds, holding at each that no fewer serve than are wanted.
    fn run_without_loss(&mut self, seconds: u32) {
        let wanted = self.world.now.replicas_wanted().0;
        for _ in 0..seconds {
            self.tick();
            let ready = self.world.ready();
            assert!(ready >= wanted, "{ready} of {wanted} serve at {}", self.second());
        }
    }

    fn swaps(&self) -> Vec<i64> {
        let swap = |(at, step): &(i64, Step)| match step.action {
            Action::Cordon { cause: CordonCause::Surplus, .. } => Some(*at),
            _ => None,
        };
        self.told.iter().filter_map(swap).collect()
    }
}

#[test]
fn nothing_is_launched_and_the_provisioner_is_told_what_work_costs() {
    let mut story = Story::provisioned(2, vec![pool("any", &BOTH, Some(10))]);
    story.run(UP);
    assert_eq!(story.world.ready(), 2);
    assert_eq!(story.kinds(), ["spot g4dn.xlarge in a", "spot g4dn.xlarge in a"]);
    // 0.0002 interruptions an hour of five minutes each are a sixty-thousandth of the price.
    assert_eq!(story.told(), [(spot("a"), 200_003), (spot("b"), 210_004)].into());
    assert_eq!(story.since(0), [(1, "overlay"), (1, "overlay")]);
    story.run(3600);
    assert_eq!(story.told.len(), 2, "and then there is nothing to do");
}

#[test]
fn a_machine_that_works_faster_seems_cheaper_and_one_that_is_bigger_does_not() {
    let mut story = Story::provisioned(0, vec![pool("any", &BOTH, Some(10))]);
    for (name, rate, pods_max) in [("fast", 800.0, 1), ("big", 1600.0, 4)] {
        let throughput = Throughput::try_from(rate).unwrap();
        let instance_type: crate::units::InstanceType = name.parse().unwrap();
        let machine = Machine { instance_type: instance_type.clone(), throughput, pods_max };
        story.policy.offers.machines.push(machine);
        story.price(&Offering { instance_type, ..spot("a") }, "0.30");
    }
    story.run(1);
    let told = story.told();
    let price = |name: &str| told[&Offering { instance_type: name.parse().unwrap(), ..spot("a") }];
    assert_eq!((price("fast"), price("big")), (150_003, 300_005));
}

#[test]
fn a_price_that_moves_a_little_is_not_told() {
    let mut story = Story::provisioned(0, vec![pool("any", &BOTH, Some(10))]);
    story.run(1);
    for (price, told) in [("0.2039", 200_003), ("0.2041", 204_103), ("0.2003", 204_103)] {
        story.price(&spot("a"), price);
        story.run(30);
        assert_eq!(story.told()[&spot("a")], told, "at {price}");
    }
    story.prices.remove(&spot("a"));
    story.run(1);
    assert!(!story.told().contains_key(&spot("a")), "what is gone is taken back");
}

#[test]
fn what_was_lost_seems_dearer_than_all_else_before_the_replacement_is_asked_for() {
    let mut story = Story::provisioned(1, vec![pool("any", &BOTH, Some(10))]);
    story.run(UP);
    story.notice(0, Some(120));
    let noticed = story.second();
    story.tick();
    let kinds: Vec<_> = story.since(noticed).into_iter().map(|(_, kind)| kind).collect();
    assert_eq!(kinds, ["overlay", "protect", "cordon", "surge"]);
    assert!(story.told()[&spot("a")] > 2 * 526_000, "{:?}", story.told());
    story.run_without_loss(110);
    assert_eq!(story.kinds(), ["spot g4dn.xlarge in a", "spot g4dn.xlarge in b"]);
    story.run_without_loss(20);
    assert_eq!(story.kinds(), ["spot g4dn.xlarge in b"]);
    let refund = story.told.iter().any(|(_, step)| step.action.kind() == "terminate");
    assert!(!refund, "the provider takes it, and its hour is free");
    assert_eq!(story.world.killed, []);
    story.run_without_loss(1800);
    assert!(story.told()[&spot("a")] < 526_000, "it wears off: {:?}", story.told());
}

#[test]
fn mere_advice_waits_until_the_provisioner_knows_to_look_elsewhere() {
    let mut story = Story::provisioned(2, vec![pool("any", &BOTH, Some(10))]);
    story.run(UP);
    (0..2).for_each(|nth| drop(story.notice(nth, None)));
    let noticed = story.second();
    story.run_without_loss(2);
    assert_eq!(story.since(noticed), [(1, "overlay"), (1, "cordon"), (2, "surge")]);
    story.run_without_loss(300);
    assert_eq!(story.kinds(), ["spot g4dn.xlarge in b", "spot g4dn.xlarge in b"]);
    assert_eq!(story.world.killed, []);
}

#[test]
fn advice_that_comes_again_and_again_costs_one_replacement_an_hour() {
    // There is one zone only, and prices cannot be told: the replacement comes to where the last one was.
    let mut story = Story::provisioned(1, vec![pool("any", &[CapacityType::Spot], Some(10))]);
    story.world.now.provisioner.as_mut().unwrap().overlays = None;
    story.sell_out(&[spot("b")]);
    story.run(UP);
    for _ in 0..55 {
        if story.world.now.notices.is_empty() {
            story.notice(0, None);
        }
        story.run_without_loss(60);
    }
    let surges = story.told.iter().filter(|(_, step)| step.action.kind() == "surge").count();
    assert_eq!(surges, 1);
    let refused = story.tick().refused;
    assert!(refused.iter().any(|reason| reason.kind() == "left-lately"), "{refused:?}");
}

#[test]
fn when_spot_never_gets_ready_on_demand_is_tried_first_and_then_returned_from_one_by_one() {
    let mut story = Story::two_pools(3);
    story.world.stuck = [spot("a"), spot("b")].into();
    story.run(125);
    let first = |story: &Story| story.weights().into_iter().max_by_key(|pool| pool.1).unwrap().0;
    assert_eq!((first(&story), story.on_demand_nodes()), ("on-demand".to_owned(), 0));
    // The machines that bar the way are given up at twice the wait.
    story.run(125 + UP);
    assert_eq!((story.world.ready(), story.on_demand_nodes()), (3, 3));
    story.world.stuck.clear();
    story.run_without_loss(3600);
    assert_eq!(story.on_demand_nodes(), 0, "{:?}", story.kinds());
    let swaps = story.swaps();
    assert_eq!(swaps.len(), 3);
    assert!(swaps.windows(2).all(|pair| pair[1] - pair[0] >= 600), "{swaps:?}");
    let evictions = story.told.iter().filter(|(_, step)| step.action.kind() == "evict");
    for ((evicted, _), swapped) in evictions.zip(&swaps) {
        // The machine, the pod, and two minutes of standing the test.
        assert!(evicted - swapped >= BOOT_SECS + START_SECS + 120, "{swapped} {evicted}");
    }
    assert_eq!(story.world.killed, []);
}

#[test]
fn a_return_that_lands_on_demand_again_is_not_tried_in_a_loop() {
    let mut story = Story::provisioned(2, vec![pool("any", &BOTH, Some(10))]);
    story.sell_out(&[spot("a"), spot("b")]);
    story.run(UP);
    assert_eq!(story.on_demand_nodes(), 2);
    story.run_without_loss(6 * 3600);
    let swaps = story.swaps();
    assert!((3..=5).contains(&swaps.len()), "{swaps:?}");
    assert!(swaps.windows(2).all(|pair| pair[1] - pair[0] >= 1800), "{swaps:?}");
    story.sell_out(&[]);
    story.run_without_loss(12 * 3600);
    assert_eq!(story.on_demand_nodes(), 0);
    assert_eq!(story.world.killed, []);
}

#[test]
fn the_floor_stays_on_demand() {
    let mut story = Story::two_pools(3);
    story.policy.fleet.on_demand_floor = 1;
    story.sell_out(&[spot("a"), spot("b")]);
    story.run(UP);
    story.sell_out(&[]);
    story.run_without_loss(3 * 3600);
    assert_eq!(story.on_demand_nodes(), 1, "{:?}", story.kinds());
}

#[test]
fn where_prices_cannot_be_told_the_pool_with_the_best_offer_is_tried_first() {
    let zones = |name: &str, zone: &str, weight| Pool {
        zones: Some([zone.parse().unwrap()].into()),
        ..pool(name, &[CapacityType::Spot], Some(weight))
    };
    let mut story = Story::provisioned(0, vec![zones("a", "a", 1), zones("b", "b", 2)]);
    story.world.now.provisioner.as_mut().unwrap().overlays = None;
    story.run(60);
    let first = |story: &Story| story.weights().into_iter().max_by_key(|pool| pool.1).unwrap().0;
    assert_eq!(first(&story), "a");
    let steered = story.told.len();
    for price in ["0.211", "0.209", "0.2061", "0.213"] {
        story.price(&spot("a"), price);
        story.run(60);
    }
    assert_eq!((story.told.len(), first(&story)), (steered, "a".to_owned()), "within the band");
    for price in ["0.30", "0.20"].into_iter().cycle().take(20) {
        story.price(&spot("a"), price);
        story.run(10);
    }
    let weighed = story.told[steered..].iter().filter(|(_, step)| match &step.action {
        Action::Weigh { pool, .. } => pool.as_str() == "a",
        _ => false,
    });
    assert!(weighed.count() <= 4, "once a minute at most");
}

#[test]
fn a_pool_without_a_weight_is_closed_while_it_is_not_its_turn() {
    let mut story = Story::two_pools(0);
    story.world.now.provisioner.as_mut().unwrap().pools[1].weight = None;
    story.run(1);
    assert_eq!(story.weights()[1], ("on-demand".to_owned(), None, true));
    story.wants(2).run(UP + 60);
    let lost = [spot("a"), spot("b")];
    story.sell_out(&lost);
    for offering in &lost {
        story.prices.remove(offering);
    }
    story.wants(3).run(2);
    assert!(!story.weights()[1].2, "with no spot for sale it opens");
    story.run(UP);
    assert_eq!((story.world.ready(), story.on_demand_nodes()), (3, 1));
}

#[test]
fn a_day_without_prices_changes_nothing_and_notices_are_still_heeded() {
    let mut story = Story::two_pools(2);
    story.sell_out(&[spot("a"), spot("b")]);
    story.run(UP);
    story.sell_out(&[]);
    let quiet = story.told.len();
    story.price_age_ms = Some(Millis::from_secs(3601));
    story.price(&spot("a"), "0.01");
    story.run_without_loss(3 * 3600);
    assert_eq!(&story.told[quiet..], &[], "neither a return nor a new price");
    let refused = story.tick().refused;
    assert!(matches!(refused[0], Reason::OldPrices { expired: false, .. }), "{refused:?}");
    story.price_age_ms = Some(Millis::from_secs(86_401));
    let refused = story.tick().refused;
    assert!(matches!(refused[0], Reason::OldPrices { expired: true, .. }), "{refused:?}");
    story.notice(0, Some(120));
    story.run_without_loss(130);
    assert!(story.told.iter().any(|(_, step)| step.action.kind() == "evict"));
    assert_eq!(story.world.killed, []);
}

#[test]
fn a_budget_closes_the_pools_that_it_cannot_pay_and_opens_them_again() {
    let mut story = Story::two_pools(2);
    story.policy.budget.per_hour = Some(UsdPerHour(900_000));
    story.run(UP + 60);
    let closed = |story: &Story| story.weights().iter().map(|pool| pool.2).collect::<Vec<_>>();
    assert_eq!(closed(&story), [false, true], "two spot machines, and no room for 0.526 an hour");
    story.wants(4).run(130);
    assert_eq!(closed(&story), [true, true], "0.80 an hour");
    story.wants(5).run(130);
    assert_eq!(story.kinds().len(), 4, "what runs goes on, and no more is bought");
    story.wants(1).run(300);
    assert_eq!(closed(&story), [false, false]);
}
