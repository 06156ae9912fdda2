//! Known timelines against sums worked out by hand, and what must not change a sum.

mod advice;
mod days;
mod detour;
mod workloads;

use proptest::prelude::*;

use super::*;
use crate::{
    cluster::{EndedBy, NodePhase, Notice, NoticeKind},
    prices::PriceChange,
    testing::{at, node, on_demand, pod, seen, spot, workload},
    units::UsdPerHour,
};

fn prices() -> PriceBook {
    [
        (spot("a"), at(0), "0.36"),
        (spot("a"), at(100), "0.72"),
        (on_demand("a"), at(0), "0.526"),
        (on_demand("b"), at(0), "0.526"),
    ]
    .map(|(offering, at, price)| (offering, PriceChange { at, price: price.parse().unwrap() }))
    .into_iter()
    .collect()
}

fn baseline(nodes: Option<u32>) -> Baseline {
    Baseline { instance_type: "g4dn.xlarge".parse().unwrap(), pods_max: 1, nodes }
}

fn ended(mut node: Node, at: Timestamp, by: EndedBy) -> Node {
    node.phase = NodePhase::Ended { at, by };
    node
}

fn totals(ledger: &Ledger, second: i64) -> Totals {
    ledger.totals(&baseline(Some(0)), &prices(), at(second))
}

fn spent_this_month(ledger: &Ledger, prices: &PriceBook, now: Timestamp) -> MicroUsd {
    ledger.spent_this_month(prices, now)
}

#[test]
fn a_known_timeline_costs_the_sum_worked_out_by_hand() {
    let (one, two) = (node("one", spot("a"), at(0)), node("two", on_demand("a"), at(30)));
    let mut ledger = Ledger::default();
    ledger.observe(&seen(at(40), vec![one.clone(), two.clone()]), &prices());
    // one: 40 s at 0.36 = 4000; two: 10 s at 0.526 = 1461.11
    assert_eq!(totals(&ledger, 40).spend, MicroUsd(5461));

    let end = Millis(250_400).after(at(0));
    let one = ended(one, end, EndedBy::Us);
    let two = ended(two, at(50), EndedBy::Us);
    ledger.observe(&seen(at(300), vec![one, two]), &prices());
    // one: 100 s at 0.36 = 10000, 151 s (its last second began) at 0.72 = 30200
    // two: 20 s are billed as 60 s at 0.526 = 8766.67
    let sums = totals(&ledger, 300);
    assert_eq!(sums.spend, MicroUsd(48_967));
    assert_eq!(sums.refund, MicroUsd::ZERO);
    assert_eq!(sums.offerings[&spot("a")].spend, MicroUsd(40_200));
    assert_eq!(sums.offerings[&on_demand("a")].spend, MicroUsd(8767));
}

#[test]
fn the_first_hour_is_free_only_when_the_provider_took_a_spot_node() {
    let refund = |offering, lived, by| {
        let node = ended(node("n", offering, at(0)), at(lived), by);
        let mut ledger = Ledger::default();
        ledger.observe(&seen(at(lived), vec![node]), &prices());
        let sums = totals(&ledger, lived);
        assert!(sums.refund == MicroUsd::ZERO || sums.refund == sums.spend);
        sums.refund.0
    };
    // 100 s at 0.36 and 3499 s at 0.72
    assert_eq!(refund(spot("a"), 3599, EndedBy::Provider), 709_800);
    assert_eq!(refund(spot("a"), 3600, EndedBy::Provider), 0);
    assert_eq!(refund(spot("a"), 3599, EndedBy::Us), 0);
    assert_eq!(refund(on_demand("a"), 3599, EndedBy::Provider), 0);
}

#[test]
fn a_node_that_vanishes_is_refunded_only_after_its_deadline() {
    let vanished = |deadline, noticed_missing: i64| {
        let mut first = seen(at(10), vec![node("n", spot("a"), at(0))]);
        let kind = NoticeKind::Interruption { deadline: at(deadline) };
        first.notices = vec![Notice { node: "n".parse().unwrap(), kind }];
        let mut ledger = Ledger::default();
        ledger.observe(&first, &prices());
        ledger.observe(&seen(at(noticed_missing), vec![]), &prices());
        let sums = totals(&ledger, 1000);
        (sums.spend.0, sums.refund.0)
    };
    assert_eq!(vanished(90, 95), (9000, 9000));
    // It was seen at 10 for the last time: no second more is invented, but a minute is billed at least.
    assert_eq!(vanished(120, 95), (6000, 0));
}

#[test]
fn a_node_missing_from_one_list_by_mistake_lives_on() {
    let one = node("one", spot("a"), at(0));
    let mut ledger = Ledger::default();
    for nodes in [vec![one.clone()], vec![], vec![one]] {
        ledger.observe(&seen(at(70), nodes), &prices());
    }
    assert_eq!(totals(&ledger, 80).spend, MicroUsd(8000));
}

#[test]
fn an_end_that_was_told_by_mistake_is_taken_back_unless_the_look_is_late() {
    let spend_after = |second| {
        let one = node("one", spot("a"), at(0));
        let mut ledger = Ledger::default();
        ledger.observe(&seen(at(70), vec![one.clone()]), &prices());
        ledger.observe(&seen(at(70), vec![ended(one.clone(), at(70), EndedBy::Us)]), &prices());
        ledger.observe(&seen(at(second), vec![one]), &prices());
        totals(&ledger, 80).spend
    };
    assert_eq!(spend_after(71), MicroUsd(8000));
    assert_eq!(spend_after(69), MicroUsd(7000), "whoever told of the end knew more");
    assert_eq!(spend_after(5), MicroUsd(8000), "the clock was set back");
}

#[test]
fn a_name_used_twice_is_two_lives() {
    let mut ledger = Ledger::default();
    let first = ended(node("n", spot("a"), at(0)), at(60), EndedBy::Us);
    ledger.observe(&seen(at(65), vec![first]), &prices());
    ledger.observe(&seen(at(70), vec![node("n", spot("a"), at(70))]), &prices());
    assert_eq!(totals(&ledger, 80).spend, MicroUsd(6000 + 1000));
}

#[test]
fn a_clock_set_forward_and_back_leaves_no_trace() {
    let one = node("one", spot("a"), at(0));
    let mut ledger = Ledger::default();
    for second in [10, 900_000, 20, 5] {
        ledger.observe(&seen(at(second), vec![one.clone()]), &prices());
    }
    assert_eq!(totals(&ledger, 30).spend, MicroUsd(3000));
    assert_eq!(totals(&ledger, -30).spend, MicroUsd(0));
}

#[test]
fn what_is_settled_stays_in_the_sum_and_leaves_the_memory() {
    let one = ended(node("one", spot("a"), at(0)), at(90), EndedBy::Provider);
    let mut ledger = Ledger::default();
    ledger.observe(&seen(at(90), vec![one]), &prices());
    let before = totals(&ledger, 90);
    ledger.observe(&seen(at(100_000), vec![]), &prices());
    assert!(ledger.lives.is_empty());
    assert_eq!(totals(&ledger, 100_000), before);
}

#[test]
fn a_node_without_a_price_is_named() {
    let mut ledger = Ledger::default();
    ledger.observe(&seen(at(0), vec![node("odd", spot("z"), at(0))]), &prices());
    let sums = totals(&ledger, 50);
    assert_eq!(sums.unpriced, ["odd".parse().unwrap()]);
    assert_eq!(sums.spend, MicroUsd::ZERO);
}

#[test]
fn the_baseline_is_a_fleet_that_never_shrinks() {
    let mut ledger = Ledger::default();
    let mut busy = seen(at(0), vec![]);
    busy.workloads = vec![workload(2)];
    busy.pods = ["a", "b", "c"].map(|name| pod(name, "n")).to_vec();
    ledger.observe(&busy, &prices());
    ledger.observe(&seen(at(3600), vec![]), &prices());
    let sums = |nodes| ledger.totals(&baseline(nodes), &prices(), at(3600));
    assert_eq!(sums(None).baseline, MicroUsd(2 * 526_000), "a surge does not size the fleet");
    assert_eq!(sums(Some(4)).baseline, MicroUsd(4 * 526_000));
    assert!(
        sums(None).baseline_is.starts_with("2 x g4dn.xlarge on demand, day and night since 20")
    );
}

#[test]
fn a_peak_makes_the_baseline_no_dearer_than_it_was_before() {
    const HOUR: i64 = 3600;
    let mut ledger = Ledger::default();
    for (hour, serving) in [(0, 0), (1, 1), (2, 3), (4, 0)] {
        let mut look = seen(at(hour * HOUR), vec![]);
        look.workloads = vec![workload(serving)];
        look.pods = (0..serving).map(|n| pod(&format!("p{n}"), "n")).collect();
        ledger.observe(&look, &prices());
    }
    let sums = |ledger: &Ledger| ledger.totals(&baseline(None), &prices(), at(5 * HOUR));
    // Two hours of one, and three of three.
    assert_eq!(sums(&ledger).baseline, MicroUsd((2 + 3 * 3) * 526_000));
    assert!(sums(&ledger).baseline_is.starts_with("3 x g4dn.xlarge"));
    let saved = serde_json::to_value(&ledger).unwrap();
    let kept: Ledger = serde_json::from_value(saved.clone()).unwrap();
    assert_eq!(kept, ledger);
    let mut highest = saved;
    highest["serving_max"] = 3.into();
    let former: Ledger = serde_json::from_value(highest).unwrap();
    assert_eq!(sums(&former).baseline, MicroUsd(5 * 3 * 526_000));
    // A clock that was set ahead has seen the highest load.
    let mut ahead = seen(at(90 * HOUR), vec![]);
    ahead.workloads = vec![workload(9)];
    ahead.pods = (0..9).map(|n| pod(&format!("p{n}"), "n")).collect();
    ledger.observe(&ahead, &prices());
    ledger.observe(&seen(at(5 * HOUR), vec![]), &prices());
    assert!(sums(&ledger).baseline_is.starts_with("3 x g4dn.xlarge"));
}

proptest! {
    #[test]
    fn when_it_was_looked_at_changes_nothing(
        lives in prop::collection::vec((0..5000_i64, 1..5000_i64, any::<bool>()), 1..6),
        mut looks in prop::collection::vec(-100..12_000_i64, 0..20),
    ) {
        let look = |second: i64| {
            let nodes = lives.iter().enumerate().filter(|(_, life)| life.0 <= second);
            let nodes = nodes.map(|(n, &(from, span, taken))| {
                let node = node(&format!("n{n}"), spot("a"), at(from));
                let by = if taken { EndedBy::Provider } else { EndedBy::Us };
                if from + span <= second { ended(node, at(from + span), by) } else { node }
            });
            seen(at(second), nodes.collect())
        };
        let (mut often, mut once) = (Ledger::default(), Ledger::default());
        looks.push(12_000);
        for second in looks {
            often.observe(&look(second), &prices());
            often.observe(&look(second), &prices());
        }
        once.observe(&look(12_000), &prices());
        let json = serde_json::to_string(&often).unwrap();
        let often: Ledger = serde_json::from_str(&json).unwrap();
        prop_assert_eq!(totals(&often, 12_000), totals(&once, 12_000).clone_with_baseline(&often));
    }
}

impl Totals {
    /// The baseline depends on when the ledger was opened, by definition.
    fn clone_with_baseline(&self, ledger: &Ledger) -> Self {
        let baseline_is = totals(ledger, 12_000).baseline_is;
        Self { baseline_is, ..self.clone() }
    }
}

#[test]
fn a_price_beyond_all_measure_does_not_overflow() {
    let change = PriceChange { at: at(0), price: UsdPerHour(u64::MAX) };
    let book = PriceBook::from_iter([(spot("a"), change)]);
    let mut ledger = Ledger::default();
    ledger.observe(&seen(at(0), vec![node("n", spot("a"), Timestamp::MIN)]), &book);
    assert_eq!(ledger.totals(&baseline(None), &book, Timestamp::MAX).spend, MicroUsd(i64::MAX));
}

/// What a node costs that is listed again after so many hours, after another hour; and how many lives are known just before.
fn listed_again_after(hours: i64, node: &Node) -> (MicroUsd, usize) {
    const HOUR: i64 = 3600;
    let mut ledger = Ledger::default();
    ledger.observe(&seen(at(HOUR), vec![node.clone()]), &prices());
    for hour in 2..hours {
        ledger.observe(&seen(at(hour * HOUR), vec![]), &prices());
    }
    let lives = ledger.lives.len();
    for hour in [hours, hours + 1] {
        ledger.observe(&seen(at(hour * HOUR), vec![node.clone()]), &prices());
    }
    (totals(&ledger, (hours + 1) * HOUR).spend, lives)
}

#[test]
fn a_node_that_is_not_listed_for_days_and_then_again_is_billed_once() {
    let node = node("n", on_demand("a"), at(0));
    assert_eq!(listed_again_after(72, &node), (MicroUsd(73 * 526_000), 1));
}

#[test]
fn a_node_that_was_seen_to_leave_is_settled_after_a_day() {
    let leaving = Node { phase: NodePhase::Leaving, ..node("n", on_demand("a"), at(0)) };
    assert_eq!(listed_again_after(72, &leaving).1, 0);
}

#[test]
fn a_life_without_any_price_is_let_go_a_week_after_its_end() {
    const HOUR: i64 = 3600;
    let mut ledger = Ledger::default();
    ledger.observe(&seen(at(0), vec![node("n", spot("unpriced"), at(0))]), &prices());
    for hour in 1..=7 * 24 {
        ledger.observe(&seen(at(hour * HOUR), vec![]), &prices());
    }
    assert_eq!(totals(&ledger, 0).unpriced.len(), 1, "it is named");
    for hour in 7 * 24 + 1..=8 * 24 + 1 {
        ledger.observe(&seen(at(hour * HOUR), vec![]), &prices());
    }
    assert_eq!(totals(&ledger, 0).unpriced, []);
}

#[test]
fn prices_are_needed_of_every_type_that_is_not_settled_since_its_oldest_life_began() {
    const HOUR: i64 = 3600;
    let other = Offering { instance_type: "m5.large".parse().unwrap(), ..spot("a") };
    let nodes = [
        node("young", spot("a"), at(900)),
        node("old", on_demand("b"), at(300)),
        node("other", other.clone(), at(600)),
    ];
    let mut ledger = Ledger::default();
    ledger.observe(&seen(at(1000), nodes.to_vec()), &prices());
    let since = |ledger: &Ledger| -> Vec<(String, Timestamp)> {
        let since = ledger.types_since().into_iter();
        since.map(|(instance_type, at)| (instance_type.to_string(), at)).collect()
    };
    let (usual, besides) = ("g4dn.xlarge".to_owned(), "m5.large".to_owned());
    assert_eq!(since(&ledger), [(usual.clone(), at(300)), (besides.clone(), at(600))]);
    for hour in 1..=48 {
        ledger.observe(&seen(at(1000 + hour * HOUR), nodes.to_vec()), &prices());
    }
    // What has no price cannot be settled.
    assert_eq!(since(&ledger), [(usual, at(1000 + 24 * HOUR)), (besides, at(600))]);
}
