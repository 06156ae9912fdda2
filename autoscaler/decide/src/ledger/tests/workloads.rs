//! Who it was spent for, lives that are told one by one, and what a restart must not change.

use super::*;
use crate::{
    cluster::Pod,
    units::{InstanceId, WorkloadName},
};

fn serving(node: &str, workloads: &[&str]) -> Vec<Pod> {
    let pods = workloads.iter().enumerate().map(|(n, workload)| {
        let mut pod = pod(&format!("{node}-{n}"), node);
        pod.workload = Some(workload.parse().unwrap());
        pod
    });
    pods.collect()
}

/// What was seen of a node that these workloads' pods serve on.
fn look(second: i64, node: &Node, workloads: &[&str]) -> Observation {
    let mut seen = seen(at(second), vec![node.clone()]);
    seen.pods = serving(node.name.as_str(), workloads);
    seen
}

fn by_workload(sums: &Totals) -> Vec<(&str, i64)> {
    let name = |line: &SpendLine| line.workload.clone();
    let named = |name: Option<&'static str>| name.unwrap_or("idle");
    let known = ["resnet", "bert"];
    let of = |line: &SpendLine| {
        let known = known.into_iter().find(|it| name(line) == it.parse::<WorkloadName>().ok());
        (named(known), line.spend.0)
    };
    sums.lines.iter().map(of).collect()
}

#[test]
fn a_node_is_paid_by_whom_it_serves_and_idle_time_is_told_apart() {
    let node = Node { pool: Some("gpu".parse().unwrap()), ..node("n", spot("a"), at(0)) };
    let mut ledger = Ledger::default();
    let story: [(i64, &[&str]); 5] = [
        (10, &[]),
        (20, &["resnet"]),
        (50, &["resnet", "bert", "bert"]),
        (80, &["bert"]),
        (90, &[]),
    ];
    for (second, workloads) in story {
        ledger.observe(&look(second, &node, workloads), &prices());
    }
    // At 0.36 $/h a second is 100 micro-dollars: idle 20 + 10 s, resnet 30 + 10 s, bert 20 + 10 s.
    let sums = totals(&ledger, 100);
    assert_eq!(by_workload(&sums), [("idle", 3000), ("bert", 3000), ("resnet", 4000)]);
    assert_eq!(sums.spend, MicroUsd(10_000));
    assert!(sums.lines.iter().all(|line| line.pool == Some("gpu".parse().unwrap())));
}

#[test]
fn a_refund_goes_to_whom_the_node_served() {
    let node = node("n", spot("a"), at(0));
    let mut ledger = Ledger::default();
    ledger.observe(&look(0, &node, &["resnet"]), &prices());
    ledger.observe(&look(90, &ended(node, at(90), EndedBy::Provider), &[]), &prices());
    let lines = totals(&ledger, 90).lines;
    assert_eq!(lines.len(), 1, "{lines:?}");
    assert_eq!((lines[0].spend, lines[0].refund), (MicroUsd(9000), MicroUsd(9000)));
}

#[test]
fn what_comes_late_or_twice_changes_nothing() {
    let node = node("n", spot("a"), at(0));
    let story: [(i64, &[&str]); 3] = [(10, &["resnet"]), (40, &["bert"]), (60, &["bert"])];
    let mut plain = Ledger::default();
    let mut odd = Ledger::default();
    for (second, workloads) in story {
        plain.observe(&look(second, &node, workloads), &prices());
        odd.observe(&look(second, &node, workloads), &prices());
        odd.observe(&look(second, &node, workloads), &prices());
        odd.observe(&look(second - 5, &node, &["resnet"]), &prices());
        // Nor does an old list without the node end it.
        odd.observe(&seen(at(second - 3), vec![]), &prices());
    }
    assert_eq!(odd, plain);
}

#[test]
fn a_clock_that_was_days_ahead_for_a_while_leaves_the_spend_as_it_is() {
    let node = node("n", spot("a"), at(0));
    let mut ledger = Ledger::default();
    ledger.observe(&look(10, &node, &["resnet"]), &prices());
    for second in [900_000, 900_001, 20, 30] {
        ledger.observe(&look(second, &node, &["resnet"]), &prices());
    }
    let sums = totals(&ledger, 50);
    assert_eq!(sums.spend, MicroUsd(5000));
    ledger.observe(&look(60, &node, &["bert"]), &prices());
    assert_eq!(totals(&ledger, 70).lines.last().unwrap().spend.0, 2000 + 1000 * 2 + 1000);
}

#[test]
fn a_machine_that_is_given_another_name_is_one_life() {
    let instance: InstanceId = "i-1".parse().unwrap();
    let claim = Node { instance: Some(instance.clone()), ..node("claim", spot("a"), at(0)) };
    let named = Node { instance: Some(instance), ..node("ip-10-0-0-1", spot("a"), at(7)) };
    let mut ledger = Ledger::default();
    ledger.observe(&seen(at(5), vec![claim]), &prices());
    for second in [10, 20] {
        ledger.observe(&seen(at(second), vec![named.clone()]), &prices());
    }
    assert_eq!(totals(&ledger, 80).spend, MicroUsd(8000));
    let lives: Vec<_> = ledger.lives(&prices(), at(80)).collect();
    assert_eq!((lives.len(), lives[0].from, lives[0].node.as_str()), (1, at(0), "ip-10-0-0-1"));
}

/// A ledger that saw a node at 70 s, and at a later moment no more.
fn vanished(noticed_missing: i64) -> (Ledger, InstanceId) {
    let instance: InstanceId = "i-1".parse().unwrap();
    let node = Node { instance: Some(instance.clone()), ..node("n", spot("a"), at(0)) };
    let mut ledger = Ledger::default();
    ledger.observe(&seen(at(70), vec![node]), &prices());
    let json = serde_json::to_string(&ledger).unwrap();
    let mut ledger: Ledger = serde_json::from_str(&json).unwrap();
    ledger.observe(&seen(at(noticed_missing), vec![]), &prices());
    (ledger, instance)
}

#[test]
fn a_node_that_went_while_nobody_looked_is_billed_to_when_it_was_seen_until_somebody_knows_better()
{
    let (mut ledger, instance) = vanished(3000);
    let end = ledger.lives(&prices(), at(3000)).next().unwrap().end.unwrap();
    assert_eq!((end.at, end.at_latest, end.inferred), (at(70), at(3000), true));
    assert_eq!(totals(&ledger, 3000).spend, MicroUsd(7000));
    assert_eq!(ledger.open_ends().collect::<Vec<_>>(), [&instance]);
    assert_eq!(ledger.end(&instance, Some(at(90)), EndedBy::Provider), Some(&spot("a")));
    assert_eq!(ledger.open_ends().count(), 0, "and is asked about no more");
    assert_eq!(
        ledger.end(&instance, Some(at(95)), EndedBy::Us),
        None,
        "what was told is not told anew"
    );
    ledger.observe(&seen(at(3001), vec![]), &prices());
    let sums = totals(&ledger, 3001);
    assert_eq!((sums.spend, sums.refund), (MicroUsd(9000), MicroUsd(9000)));
}

#[test]
fn a_refund_without_a_time_takes_an_end_that_was_within_the_hour_at_the_latest() {
    for (noticed_missing, refund) in [(3599, 7000), (3600, 0)] {
        let (mut ledger, instance) = vanished(noticed_missing);
        ledger.end(&instance, None, EndedBy::Provider);
        let sums = totals(&ledger, noticed_missing);
        assert_eq!((sums.spend, sums.refund), (MicroUsd(7000), MicroUsd(refund)));
    }
    let (mut ledger, instance) = vanished(3599);
    ledger.end(&instance, None, EndedBy::Us);
    assert_eq!(totals(&ledger, 3599).refund, MicroUsd(0));
}

#[test]
fn a_node_that_was_launched_before_the_ledger_opened_is_billed_from_its_launch() {
    let mut ledger = Ledger::default();
    ledger.observe(&seen(at(90), vec![node("n", spot("a"), at(0))]), &prices());
    assert_eq!(totals(&ledger, 90).spend, MicroUsd(9000));
}

#[test]
fn a_life_is_told_price_by_price() {
    let mut ledger = Ledger::default();
    ledger.observe(&seen(at(130), vec![node("n", spot("a"), at(40))]), &prices());
    let life = ledger.lives(&prices(), at(130)).next().unwrap();
    let told: Vec<_> = life.stretches.iter().map(|it| (it.from, it.to, it.price.0)).collect();
    assert_eq!(told, [(at(40), at(100), 360_000), (at(100), at(130), 720_000)]);
    assert_eq!((life.cost, life.earlier), (Some(MicroUsd(12_000)), MicroUsd(0)));
}

#[test]
fn the_month_begins_anew_and_counts_what_goes_on() {
    let day = 24 * 3600;
    // at(0) is the 15th of January 2027, 08:00 UTC.
    let first = 16 * day + 16 * 3600;
    let book = PriceBook::from_iter([(
        spot("a"),
        PriceChange { at: at(0), price: "0.36".parse().unwrap() },
    )]);
    let node = node("n", spot("a"), at(first - 100));
    let mut ledger = Ledger::default();
    ledger.observe(&seen(at(first - 50), vec![node.clone()]), &book);
    assert_eq!(spent_this_month(&ledger, &book, at(first - 50)), MicroUsd(5000));
    ledger.observe(&seen(at(first + 5), vec![node.clone()]), &book);
    assert_eq!(spent_this_month(&ledger, &book, at(first + 5)), MicroUsd(500));
    ledger.observe(&seen(at(first + 70), vec![ended(node, at(first + 70), EndedBy::Us)]), &book);
    assert_eq!(spent_this_month(&ledger, &book, at(first + 1000)), MicroUsd(7000));
}

proptest! {
    #[test]
    fn the_parts_add_up_to_the_whole(
        changes in prop::collection::vec((1..20_000_i64, 0..4_usize, 0..4_usize), 0..40),
        zones in 1..4_usize,
    ) {
        let nodes: Vec<_> = (0..zones)
            .map(|n| node(&format!("n{n}"), [spot("a"), on_demand("a"), on_demand("b")][n].clone(), at(n as i64)))
            .collect();
        let (mut ledger, mut second) = (Ledger::default(), 0);
        for (wait, resnets, berts) in changes {
            second += wait;
            let mut looked = seen(at(second), nodes.clone());
            let workloads = [vec!["resnet"; resnets], vec!["bert"; berts]].concat();
            let pods = nodes.iter().flat_map(|node| serving(node.name.as_str(), &workloads));
            looked.pods = pods.collect();
            ledger.observe(&looked, &prices());
        }
        let sums = totals(&ledger, second);
        prop_assert_eq!(sums.lines.iter().map(|line| line.spend.0).sum::<i64>(), sums.spend.0);
        let spans = nodes.iter().filter(|_| second > 0).map(|node| {
            let stretches = prices();
            let exact = stretches.stretches(&node.offering, node.launched_at, at(second));
            exact.map(|(span, price)| u128::from(span.0) * u128::from(price.0)).sum::<u128>()
        });
        let whole = spans.sum::<u128>();
        prop_assert_eq!(sums.spend.0 as u128, (whole + 1_800_000) / 3_600_000);
        let size = serde_json::to_string(&ledger).unwrap().len();
        prop_assert!(size < 3000 + 200 * 40 * zones, "{}", size);
    }
}

#[test]
fn a_long_life_with_many_changes_stays_small_and_exact() {
    let node = node("n", spot("a"), at(0));
    let mut ledger = Ledger::default();
    let month = 30 * 24 * 3600;
    for second in (0..month).step_by(600) {
        let workloads: &[&str] = if second % 1200 == 0 { &["resnet"] } else { &[] };
        ledger.observe(&look(second, &node, workloads), &prices());
    }
    let size = serde_json::to_string(&ledger).unwrap().len();
    // A day of changes every ten minutes, and two sums for each day before.
    assert!(size < 150 * 65 + 30 * 2 * 220, "{size}");
    let sums = totals(&ledger, month);
    // 100 s at 0.36 $/h and the rest at 0.72.
    assert_eq!(sums.spend.0, 10_000 + 200 * (month - 100));
    let lives: Vec<_> = ledger.lives(&prices(), at(month)).collect();
    let stretches = lives[0].stretches.iter();
    let later: i64 = stretches.map(|it| it.price.cost(Millis::between(it.from, it.to)).0).sum();
    assert_eq!(lives[0].earlier.0 + later, sums.spend.0);
}
