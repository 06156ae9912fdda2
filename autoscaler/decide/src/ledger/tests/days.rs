//! The ledger day by day: rows that add up, a month of them and more, and what was kept before there were days.

use super::*;
use crate::{
    ledger::days::DAYS_MAX,
    units::{InstanceId, WorkloadName},
};

const HOUR: i64 = 3600;
const DAY: i64 = 24 * HOUR;

/// What was seen of nodes that this workload's pod serves on, where there is one.
fn look(second: i64, nodes: Vec<Node>, workload: Option<&str>) -> Observation {
    let mut seen = seen(at(second), nodes);
    for node in workload.into_iter().flat_map(|_| &seen.nodes) {
        let mut pod = pod(&format!("on-{}", node.name), node.name.as_str());
        pod.workload = workload.map(|name| name.parse().unwrap());
        seen.pods.push(pod);
    }
    seen
}

fn rows(ledger: &Ledger, second: i64) -> Vec<Row> {
    ledger.rows(&prices(), at(second))
}

/// The day, the node, the workload, the hours, the list price and what was billed, in its micro-units.
type Told<'a> = (String, Option<&'a str>, Option<&'a str>, Option<i64>, Option<u64>, i64);

fn told(row: &Row) -> Told<'_> {
    let day = row.from.to_string()[..10].to_owned();
    let (node, workload) = (row.node.as_ref(), row.workload.as_ref());
    let list_price = row.list_price.map(|price| price.0);
    let names = (node.map(NodeName::as_str), workload.map(WorkloadName::as_str));
    (day, names.0, names.1, row.micro_hours, list_price, row.billed.0)
}

#[test]
fn a_day_ends_at_midnight_and_idle_time_has_a_row_of_its_own() {
    // at(0) is the 15th of January 2027, 08:00 UTC: 16 hours later it is midnight.
    let instance: InstanceId = "i-1".parse().unwrap();
    let node = Node { instance: Some(instance.clone()), ..node("n", spot("a"), at(100)) };
    let mut ledger = Ledger::default();
    ledger.observe(&look(100 + HOUR, vec![node.clone()], Some("resnet")), &prices());
    let end = 16 * HOUR + 1800;
    ledger.observe(&look(end, vec![node], Some("resnet")), &prices());
    let rows = rows(&ledger, end);
    let found: Vec<_> = rows.iter().map(told).collect();
    let day = |n| format!("2027-01-{n}");
    // At 0.72 $/h: an hour of nothing, 14 hours and 3,500 seconds, and half an hour.
    assert_eq!(
        found,
        [
            (day(15), Some("n"), None, Some(1_000_000), Some(526_000), 720_000),
            (day(15), Some("n"), Some("resnet"), Some(14_972_222), Some(526_000), 10_780_000),
            (day(16), Some("n"), Some("resnet"), Some(500_000), Some(526_000), 360_000),
        ]
    );
    assert_eq!(rows[2].list, Some(MicroUsd(263_000)));
    assert_eq!(rows[2].instance, Some(instance));
    assert_eq!((rows[0].to, rows[2].from), (at(16 * HOUR), at(16 * HOUR)));
    assert_eq!(rows[0].billed_from.to_string(), "2027-01-01T00:00:00Z");
    assert_eq!(rows[0].billed_to.to_string(), "2027-02-01T00:00:00Z");
}

#[test]
fn what_is_refunded_is_billed_with_nothing_and_listed_all_the_same() {
    let taken = ended(node("n", spot("a"), at(0)), at(90), EndedBy::Provider);
    let mut ledger = Ledger::default();
    ledger.observe(&seen(at(100), vec![taken]), &prices());
    let rows = rows(&ledger, 100);
    assert_eq!((rows[0].billed, rows[0].refund), (MicroUsd(0), MicroUsd(9000)));
    assert_eq!(rows[0].list, Some(MicroUsd(13_150)), "90 s at 0.526");
}

#[test]
fn a_month_of_days_is_kept_and_what_is_older_is_one_row() {
    let node = node("n", spot("a"), at(0));
    let mut ledger = Ledger::default();
    let days = 100;
    for hour in 0..=days * 24 {
        let second = hour * HOUR;
        ledger.observe(&look(second, vec![node.clone()], Some("resnet")), &prices());
    }
    let now = days * DAY;
    let found = rows(&ledger, now);
    let settled: Vec<_> = found.iter().filter(|row| row.node.is_none()).collect();
    // The last two days are partly still the node's own.
    assert!((DAYS_MAX - 2..=DAYS_MAX).contains(&(settled.len() as i64 - 1)), "{settled:#?}");
    let (oldest, whole) = (settled[0], settled[5]);
    assert_eq!((oldest.from, oldest.to), (at(0) - jiff::Span::new().hours(8), settled[1].from));
    assert_eq!(oldest.billed_from.to_string(), "2027-01-01T00:00:00Z");
    assert_eq!((whole.micro_hours, whole.billed), (Some(24_000_000), MicroUsd(24 * 720_000)));
    assert_eq!(sum(&found, |row| row.billed.0), totals(&ledger, now).spend.0);
    let size = serde_json::to_string(&ledger).unwrap().len();
    assert!(size < 30_000, "{size}");
}

#[test]
fn nothing_is_settled_by_a_clock_that_was_set_ahead() {
    let node = node("n", spot("a"), at(0));
    let mut ledger = Ledger::default();
    for second in [0, 3000, 40 * DAY, 40 * DAY + HOUR, 40 * DAY + 2 * HOUR, 3600] {
        ledger.observe(&look(second, vec![node.clone()], None), &prices());
    }
    assert_eq!(totals(&ledger, 3600).spend, MicroUsd(10_000 + 700_000));
    assert!(rows(&ledger, 3600).iter().all(|row| row.node.is_some()));
}

#[test]
fn beyond_what_there_is_room_for_days_are_told_together() {
    let mut ledger = Ledger::default();
    for day in 0..50 {
        let served = |n: i64| {
            let launched = at(day * DAY + n);
            let node = node(&format!("n-{day}-{n}"), spot("a"), launched);
            ended(node, at(day * DAY + n + 3600), EndedBy::Us)
        };
        let nodes: Vec<_> = (0..300).map(served).collect();
        // Each serves another workload, from the first second to its end.
        let mut looked = look(day * DAY + 300, nodes.clone(), None);
        for (n, node) in nodes.iter().enumerate() {
            let mut pod = pod(&format!("pod-{n}"), node.name.as_str());
            pod.workload = Some(format!("workload-{n}").parse().unwrap());
            looked.pods.push(pod);
        }
        ledger.observe(&looked, &prices());
        ledger.observe(&seen(at(day * DAY + 2 * HOUR), nodes), &prices());
    }
    let now = 60 * DAY;
    ledger.observe(&seen(at(now), vec![]), &prices());
    let rows = rows(&ledger, now);
    assert!((7000..=8000).contains(&rows.len()), "{}", rows.len());
    assert!(rows[0].to.duration_since(rows[0].from).as_hours() > 24 * 20);
    assert_eq!(sum(&rows, |row| row.billed.0), totals(&ledger, now).spend.0);
}

fn sum(rows: &[Row], of: impl Fn(&Row) -> i64) -> i64 {
    rows.iter().map(of).sum()
}

/// As it was written before there were days: 30 s that served nobody and 60 s that served are settled, and a day of a
/// node that goes on.
const FORMER: &str = r#"{
  "opened_at": "2027-01-10T00:00:00Z", "observed_at": "2027-01-15T08:00:00Z",
  "month": {"begins": "2027-01-01T00:00:00Z", "before": 0}, "serving_max": 3,
  "lives": [[
    {"node": "n", "launched_at": "2027-01-13T08:00:00Z"},
    {
      "offering": {"instance_type": "g4dn.xlarge", "zone": "a", "capacity_type": "spot"},
      "pool": null, "instance": "i-1", "billed_from": "2027-01-13T08:00:00Z", "ended": null, "deadline": null,
      "occupancy": [{"at": "2027-01-13T08:00:00Z", "serving": {"resnet": 1}}],
      "folded": {"until": "2027-01-14T08:00:00Z", "parts": [["resnet", 31104000000000]]}
    }
  ]],
  "settled": [[
    {"pool": "gpu", "offering": {"instance_type": "g4dn.xlarge", "zone": "a", "capacity_type": "spot"}},
    {"spend": [[null, 10800000000], ["resnet", 21600000000]], "refund": [["resnet", 7200000000]]}
  ]]
}"#;

#[test]
fn a_ledger_that_was_kept_before_there_were_days_goes_on() {
    let former: FormerLedger = serde_json::from_str(FORMER).unwrap();
    let mut ledger = Ledger::from(former);
    let spend = 3000 + 6000 + 2 * 24 * 360_000;
    let sums = totals(&ledger, 0);
    assert_eq!((sums.spend, sums.refund), (MicroUsd(spend), MicroUsd(2000)));
    assert_eq!(spent_this_month(&ledger, &prices(), at(0)), MicroUsd(spend - 2000));
    let goes_on =
        Node { instance: Some("i-1".parse().unwrap()), ..node("n", spot("a"), at(-2 * DAY)) };
    ledger.observe(&look(60, vec![goes_on], Some("resnet")), &prices());
    assert_eq!(totals(&ledger, 60).spend.0, spend + 6000);
    let rows = rows(&ledger, 60);
    assert_eq!(sum(&rows, |row| row.billed.0), spend + 6000 - 2000);
    let told = |row: &Row| (row.micro_hours, row.list, row.from.to_string(), row.to.to_string());
    let earlier = ("2027-01-10T00:00:00Z".to_owned(), "2027-01-15T08:00:00Z".to_owned());
    assert_eq!(told(&rows[0]), (None, None, earlier.0, earlier.1));
}

proptest! {
    #[test]
    fn the_rows_add_up_to_the_totals(
        lives in prop::collection::vec((0..40 * DAY, 1..20 * DAY, 0..3_usize, any::<bool>()), 1..6),
        looks in prop::collection::vec((1..3 * DAY, 0..3_usize), 1..40),
        steady in any::<bool>(),
    ) {
        let offerings = [spot("a"), on_demand("a"), spot("unpriced")];
        let mut ledger = Ledger::default();
        let mut second = 0;
        let mut pauses: Vec<_> = looks;
        if steady {
            // Every half hour, so that lives that go on are settled, too.
            let each = |&(pause, workload): &(i64, usize)| vec![(1800, workload); (pause / 1800) as usize];
            pauses = pauses.iter().take(8).flat_map(each).collect();
        }
        for (pause, workload) in pauses {
            second += pause;
            let begun = lives.iter().enumerate().filter(|(_, life)| life.0 <= second);
            let nodes = begun.map(|(n, &(from, span, offering, taken))| {
                let node = node(&format!("n{n}"), offerings[offering].clone(), at(from));
                let by = if taken { EndedBy::Provider } else { EndedBy::Us };
                if from + span <= second { ended(node, at(from + span), by) } else { node }
            });
            let workload = [None, Some("resnet"), Some("bert")][workload];
            ledger.observe(&look(second, nodes.collect(), workload), &prices());
        }
        let (rows, sums) = (rows(&ledger, second), totals(&ledger, second));
        let billed = sum(&rows, |row| row.billed.0);
        prop_assert!((billed - (sums.spend.0 - sums.refund.0)).abs() <= 1, "{} and {:?}", billed, sums);
        prop_assert_eq!(sum(&rows, |row| row.refund.0), sums.refund.0);
        for row in &rows {
            // A price to a millionth of a dollar, for hours that are rounded to a millionth.
            let list = row.list_price.unwrap().0 as f64 * row.micro_hours.unwrap() as f64 / 1e6;
            prop_assert!((list - row.list.unwrap().0 as f64).abs() < 3.0, "{:?}", row);
            prop_assert!(row.from < row.to && row.billed.0 >= 0);
        }
        prop_assert!(rows.iter().all(|row| row.offering != offerings[2]));
    }
}
