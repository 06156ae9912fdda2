//! A dumped plan is made again from the dump alone.

use spotscale_decide::{
    cluster::{CapacityType, Observation, Offering, Workload},
    fleet::FleetPolicy,
    offers::{Machine, OfferPolicy, Throughput},
    planner::{Memory, Policy, Snapshot, plan},
    units::{MicroUsd, Millis, Replicas, UsdPerHour},
};
use spotscale_simulate::{generate::BEGINS_AT, replay::Dump};

fn policy(floor: u32) -> Policy {
    let throughput = Throughput::try_from(40.0).unwrap();
    let machine = Machine { instance_type: "g".parse().unwrap(), throughput, pods_max: 1 };
    let offers = OfferPolicy { machines: vec![machine], ..OfferPolicy::default() };
    let fleet = FleetPolicy { on_demand_floor: floor, ..FleetPolicy::default() };
    Policy { offers, fleet, ..Policy::default() }
}

/// The second of two plans, which rests on what the first one left in memory.
fn dump() -> String {
    let offering = |capacity_type| Offering {
        instance_type: "g".parse().unwrap(),
        zone: "a".parse().unwrap(),
        capacity_type,
    };
    let prices = [(CapacityType::Spot, 200_000), (CapacityType::OnDemand, 526_000)];
    let seen = Observation {
        at: BEGINS_AT,
        workloads: vec![Workload { name: "w".parse().unwrap(), replicas_wanted: Replicas(2) }],
        nodes: vec![],
        pods: vec![],
        notices: vec![],
        provisioner: None,
    };
    let mut snapshot = Snapshot {
        seen,
        prices: prices.map(|(kind, micros)| (offering(kind), UsdPerHour(micros))).into(),
        price_age_ms: Some(Millis::ZERO),
        spent_this_month: Some(MicroUsd::ZERO),
        traffic: None,
    };
    let policy = policy(0);
    let (_, memory_before) = plan(&policy, &snapshot, Memory::default());
    snapshot.seen.at = Millis::from_secs(300).after(BEGINS_AT);
    let (plan, memory) = plan(&policy, &snapshot, memory_before.clone());
    let dump = serde_json::json!({
        "role": "leader",
        "policy": policy,
        "snapshot": snapshot,
        "memory_before": memory_before,
        "plan": plan,
        "memory": memory,
    });
    dump.to_string()
}

#[test]
fn the_dump_alone_gives_the_same_plan() {
    let dump = Dump::read(dump().as_bytes()).unwrap();
    assert!(!dump.plan.steps.is_empty(), "the plan does something");
    let replay = dump.replay(vec![]);
    assert!(replay.same && replay.difference.is_empty(), "{replay}");
    let forgetful = Dump { memory_before: Memory::default(), ..dump };
    assert!(!forgetful.replay(vec![]).same, "the memory before the plan counts");
}

#[test]
fn another_policy_is_told_apart_line_by_line() {
    let mut dump = Dump::read(dump().as_bytes()).unwrap();
    let changed = dump.change(&policy(1), &[policy(0)]).unwrap();
    assert_eq!(changed, ["fleet.on_demand_floor"]);
    let replay = dump.replay(changed);
    assert!(!replay.same);
    let lines = replay.to_string();
    assert!(lines.contains("- aims at 2 spot and 2 on demand"), "{lines}");
    assert!(lines.contains("+ aims at 1 spot and 2 on demand"), "{lines}");
}

#[test]
fn what_is_no_dump_is_refused() {
    assert_eq!(Dump::read(&b"{}"[..]).unwrap_err().kind(), "dump");
}
