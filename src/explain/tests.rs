//! What is printed of a state and of books that are known to the cent.

use std::io::Write as _;

use flate2::{Compression, write::GzEncoder};
use jiff::Timestamp;
use spotscale_autoscaler::{
    Action, Baseline, Books, CapacityType, Decision, EndedBy, Node, NodePhase, Observation,
    Offering, Outcome, Plan, Pod, PodPhase, PriceBook, PriceChange, Reason, Role, State, Step,
    Workload,
};
use spotscale_decide::{
    ledger::Ledger,
    planner::{Memory, Snapshot},
    units::{Millis, Replicas},
};

use super::{cost::Cost, feed, plan};

fn at(second: i64) -> Timestamp {
    "2027-01-15T08:00:00Z".parse::<Timestamp>().unwrap() + jiff::Span::new().seconds(second)
}

fn offering(capacity_type: CapacityType) -> Offering {
    let (instance_type, zone) = ("g4dn.xlarge".parse().unwrap(), "us-east-1a".parse().unwrap());
    Offering { instance_type, zone, capacity_type }
}

fn node(name: &str, capacity_type: CapacityType) -> Node {
    Node {
        name: name.parse().unwrap(),
        instance: Some(format!("i-{name}").parse().unwrap()),
        offering: offering(capacity_type),
        phase: NodePhase::Ready,
        cordoned: None,
        protected: false,
        pool: Some("gpu".parse().unwrap()),
        launched_at: at(0),
        pods_max: 1,
    }
}

fn seen(second: i64, nodes: Vec<Node>) -> Observation {
    let name: spotscale_decide::units::WorkloadName = "vision/resnet".parse().unwrap();
    let pod = Pod {
        name: "vision/resnet-1".parse().unwrap(),
        workload: Some(name.clone()),
        node: Some("one".parse().unwrap()),
        phase: PodPhase::Ready,
        surged: false,
        grace_ms: Millis::ZERO,
        critical: false,
    };
    let workloads = vec![Workload { name, replicas_wanted: Replicas(2) }];
    let (pods, notices, provisioner) = (vec![pod], vec![], None);
    Observation { at: at(second), workloads, nodes, pods, notices, provisioner }
}

fn prices() -> PriceBook {
    [
        (CapacityType::Spot, 0, "0.36"),
        (CapacityType::Spot, 1800, "0.72"),
        (CapacityType::OnDemand, 0, "3.60"),
    ]
    .map(|(kind, second, price)| {
        (offering(kind), PriceChange { at: at(second), price: price.parse().unwrap() })
    })
    .into_iter()
    .collect()
}

/// An hour of a spot node that serves from its half on, half an hour of one that is taken then, and a node of which no
/// price is known.
fn books() -> Books {
    let odd_type =
        Offering { instance_type: "x9.huge".parse().unwrap(), ..offering(CapacityType::Spot) };
    let odd = Node { offering: odd_type, ..node("odd", CapacityType::Spot) };
    let taken = Node {
        phase: NodePhase::Ended { at: at(1800), by: EndedBy::Provider },
        ..node("taken", CapacityType::Spot)
    };
    let (mut ledger, prices) = (Ledger::default(), prices());
    for second in [1800, 3600] {
        let nodes = vec![node("one", CapacityType::Spot), taken.clone(), odd.clone()];
        ledger.observe(&seen(second, nodes), &prices);
    }
    let baseline =
        Baseline { instance_type: "g4dn.xlarge".parse().unwrap(), pods_max: 1, nodes: Some(2) };
    Books { at: at(3600), baseline, ledger, prices }
}

#[test]
fn cost_tells_where_each_dollar_went() {
    let told = Cost::of(&books(), false).text();
    let expected = "\
Up to 2027-01-15T09:00:00Z the nodes cost $0.720000.
Not billed of it: $0.180000 (spot nodes taken in their first hour).
Paid: $0.540000.
Baseline: $3.600000, for 2 x g4dn.xlarge on demand, day and night since 2027-01-15T08:30:00Z (as configured).
Saved: 85.0 % of the baseline.
Without a known price, and in no sum: odd.

workload           spend  not billed       paid
idle           $0.360000   $0.180000  $0.180000
vision/resnet  $0.360000   $0.000000  $0.360000

pool      spend  not billed       paid
gpu   $0.720000   $0.180000  $0.540000

offering                            spend  not billed       paid
spot g4dn.xlarge in us-east-1a  $0.720000   $0.180000  $0.540000";
    assert_eq!(told, expected);
}

#[test]
fn cost_tells_each_node_with_its_prices() {
    let told = Cost::of(&books(), true).text();
    let nodes = told.split("Node by node").nth(1).unwrap();
    let expected = "; what ended more than a day ago is in the sums only
odd (i-odd): spot x9.huge in us-east-1a, pool gpu, from 2027-01-15T08:00:00Z, runs at 2027-01-15T09:00:00Z: \
no known price
one (i-one): spot g4dn.xlarge in us-east-1a, pool gpu, from 2027-01-15T08:00:00Z, runs at 2027-01-15T09:00:00Z: \
$0.540000
  2027-01-15T08:00:00Z to 2027-01-15T08:30:00Z at $0.360000 an hour
  2027-01-15T08:30:00Z to 2027-01-15T09:00:00Z at $0.720000 an hour
taken (i-taken): spot g4dn.xlarge in us-east-1a, pool gpu, from 2027-01-15T08:00:00Z, taken by the provider at \
2027-01-15T08:30:00Z: $0.180000, of which $0.180000 is not billed
  2027-01-15T08:00:00Z to 2027-01-15T08:30:00Z at $0.360000 an hour";
    let lines: Vec<&str> = nodes.lines().collect();
    assert_eq!(lines, expected.lines().collect::<Vec<_>>());
}

/// The second node was closed on advice after half of its half hour.
#[test]
fn cost_tells_what_a_false_alarm_cost() {
    let left = Node {
        cordoned: Some(spotscale_autoscaler::CordonCause::Notice),
        ..node("left", CapacityType::Spot)
    };
    let (mut ledger, prices) = (Ledger::default(), prices());
    for (second, phase) in
        [(900, NodePhase::Ready), (1800, NodePhase::Ended { at: at(1800), by: EndedBy::Us })]
    {
        let mut seen = seen(second, vec![Node { phase, ..left.clone() }]);
        let kind = spotscale_autoscaler::NoticeKind::Rebalance;
        seen.notices = vec![spotscale_autoscaler::Notice { node: left.name.clone(), kind }];
        ledger.observe(&seen, &prices);
    }
    let told = Cost::of(&Books { at: at(3600), ledger, prices, ..books() }, true).text();
    for part in [
        "\nFalse alarms: $0.090000 of it, for nodes that were left on advice and not taken, from then to their end.\n",
        "given back at 2027-01-15T08:30:00Z: $0.180000\n  left on advice at 2027-01-15T08:15:00Z and not taken: \
         $0.090000 from then on\n",
    ] {
        assert!(told.contains(part), "{told}");
    }
}

#[test]
fn cost_is_told_to_programs_too() {
    let told = serde_json::to_value(Cost::of(&books(), true)).unwrap();
    assert_eq!(
        (&told["spend"], &told["refund"], &told["paid"]),
        (&720_000.into(), &180_000.into(), &540_000.into())
    );
    assert_eq!(told["nodes"].as_array().unwrap().len(), 3);
    assert_eq!(told["unpriced"][0], "odd");
}

fn state(role: Role) -> State {
    let deadline = at(120);
    let node_one = || "one".parse().unwrap();
    let cordon =
        Action::Cordon { node: node_one(), cause: spotscale_autoscaler::CordonCause::Notice };
    let reasons = vec![Reason::Interruption { node: node_one(), deadline }];
    let step = Step { action: cordon.clone(), assumes: vec![], reasons: reasons.clone() };
    let outcome = Outcome::Failed { error: "forbidden".to_owned() };
    State {
        role,
        policy: spotscale_decide::planner::Policy::default(),
        memory_before: Memory::default(),
        snapshot: Snapshot {
            seen: seen(0, vec![node("one", CapacityType::Spot)]),
            prices: prices().all_at(at(0)),
            price_age_ms: Some(Millis::from_secs(35)),
            spent_this_month: Some(spotscale_decide::units::MicroUsd(12_340_000)),
            traffic: None,
        },
        plan: Plan {
            steps: vec![step],
            refused: vec![Reason::NodeLimit { nodes_max: 3 }],
            wait_until: Some(deadline),
            ..Plan::default()
        },
        memory: Memory::default(),
        decisions: [Decision { at: at(-1), action: cordon, reasons, outcome }].into(),
    }
}

#[test]
fn a_plan_is_told_in_sentences() {
    let expected = "\
This autoscaler leads. It looked at 2027-01-15T08:00:00Z.

Seen
  nodes: 1 spot
  vision/resnet: 2 replicas wanted, 1 ready
  2 prices, confirmed 35 s before
  $12.34 spent this month, refunds taken off

Decided
  to hold room for 0 pods on spot and 0 on demand
  cordon one: the provider takes one at 2027-01-15T08:02:00Z

In the way
  there may be no more than 3 nodes

Waits
  until 2027-01-15T08:02:00Z, when time alone changes what is to be done; for any change before

Last decisions
  2027-01-15T07:59:59Z cordon one: the provider takes one at 2027-01-15T08:02:00Z (failed: forbidden)";
    assert_eq!(plan::text(&state(Role::Leader)), expected);
}

#[test]
fn who_does_not_lead_names_no_money() {
    let told = plan::text(&state(Role::Standby));
    assert!(told.starts_with("This autoscaler does not lead"), "{told}");
    assert!(!told.contains('$'), "{told}");
}

const FEED: &str = "\
#Version: 1.0
#Fields: Timestamp UsageType Operation InstanceID MyBidID MyMaxPrice MarketPrice Charge Version
2027-01-15 08:29:59 UTC\tSpotUsage:g4dn.xlarge\tRunInstances:SV001\ti-one\tsir-1\t0.526 USD\t0.360 USD\t0.180 USD\t1
2027-01-15 08:59:59 UTC\tSpotUsage:g4dn.xlarge\tRunInstances:SV001\ti-one\tsir-1\t0.526 USD\t0.720 USD\t0.360 USD\t1
2027-01-15 08:30:00 UTC\tSpotUsage:g5.xlarge\tRunInstances:SV001\ti-other\tsir-2\t1.006 USD\t0.400 USD\t0.012 USD\t1
";

#[test]
fn a_feed_is_read_packed_or_not_and_held_against_the_ledger() {
    let folder = tempfile::tempdir().unwrap();
    let [plain, packed] = ["feed.txt", "feed.gz"].map(|name| folder.path().join(name));
    std::fs::write(&plain, FEED).unwrap();
    let mut gzip = GzEncoder::new(std::fs::File::create(&packed).unwrap(), Compression::default());
    gzip.write_all(FEED.as_bytes()).unwrap();
    gzip.finish().unwrap();
    let rows = feed::read(std::slice::from_ref(&plain)).unwrap();
    assert_eq!(feed::read(&[packed]).unwrap(), rows);
    assert_eq!(feed::read(&[plain.clone(), plain]).unwrap().len(), 2 * rows.len());
    let told = feed::text(rows.len(), &books().reconcile(&rows));
    let expected = "\
3 rows of the feed, held against the lives that are still told one by one.
Of the machines and hours that both know the ledger has $0.540000, the feed $0.540000.
  i-other is charged with $0.012000 and is none of the lives that are still told one by one
  i-odd (odd) ran in these hours and is not charged";
    assert_eq!(told, expected);
}

#[test]
fn a_line_that_is_none_of_the_feeds_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("feed.txt");
    for (from, to, complaint) in [
        ("\t1\n", "\n", "feed.txt, line 3: it has not nine fields"),
        ("08:29:59 UTC", "08:29:59", "feed.txt, line 3: its time is not spelled"),
        ("0.720 USD", "cheap", "feed.txt, line 4: its price is not spelled"),
        ("0.012 USD", "-1 USD", "feed.txt, line 5: its charge is not spelled"),
    ] {
        std::fs::write(&file, FEED.replacen(from, to, 1)).unwrap();
        let error = feed::read(std::slice::from_ref(&file)).unwrap_err().to_string();
        assert!(error.contains(complaint), "{error}");
    }
    let error = feed::read(&[folder.path().join("none")]).unwrap_err().to_string();
    assert!(error.contains("none: "), "{error}");
}
