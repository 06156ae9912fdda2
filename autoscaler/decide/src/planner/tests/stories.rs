//! The main paths, told.

use super::*;
use crate::{
    cluster::{CapacityType, Pod},
    testing::{
        pod,
        world::{BOOT_SECS, START_SECS},
    },
};

const UP: u32 = (BOOT_SECS + START_SECS + 2) as u32;

fn kinds(story: &Story) -> Vec<String> {
    story.world.alive().map(|node| node.offering.to_string()).collect()
}

#[test]
fn from_nothing_the_cheapest_spot_machines_are_bought_and_given_back() {
    let mut story = Story::new(2);
    story.run(1);
    assert_eq!(story.since(0), [(1, "launch"), (1, "launch")]);
    assert_eq!(kinds(&story), ["spot g4dn.xlarge in a", "spot g4dn.xlarge in a"]);
    assert!(story.told[0].1.reasons.contains(&Reason::NoRoom { pods: 2 }));
    story.run(UP);
    assert_eq!(story.world.ready(), 2);
    let idle = story.second();
    story.wants(0).run(100);
    // ten seconds of grace, then a minute of standing empty
    assert_eq!(story.since(idle), [(71, "terminate"), (71, "terminate")]);
    assert_eq!(story.world.alive().count(), 0);
}

#[test]
fn a_notice_is_met_by_a_replacement_before_the_pod_goes() {
    let mut story = Story::new(1);
    story.run(UP);
    let doomed = story.notice(0, Some(120)).unwrap();
    let noticed = story.second();
    story.run(2);
    assert_eq!(story.since(noticed), [(1, "cordon"), (1, "surge"), (1, "launch")]);
    assert_eq!(story.world.ready(), 1, "the old pod serves on");
    let replacement = story.world.alive().last().unwrap();
    assert_eq!(replacement.offering, spot("b"), "not where it was just lost");
    story.run(60);
    let steps = story.since(noticed);
    assert_eq!(steps[3..], [(BOOT_SECS + START_SECS + 1, "evict")]);
    assert!(matches!(story.told.last().unwrap().1.reasons[1], Reason::Replaced { .. }));
    // The machine is left for the provider to take: it is in its first hour, which is then free.
    let plan = story.tick();
    assert!(plan.refused.iter().any(|reason| reason.kind() == "refund-ahead"), "{plan:?}");
    story.run(120);
    assert!(story.world.alive().all(|node| node.name != doomed));
    assert!(!story.since(noticed).iter().any(|(_, kind)| *kind == "terminate"));
    assert_eq!(story.world.killed, []);
}

#[test]
fn a_node_past_its_first_hour_is_given_back_when_it_is_empty() {
    let mut story = Story::new(1);
    story.run(3700);
    story.notice(0, Some(120));
    let noticed = story.second();
    story.run(115);
    let steps: Vec<_> = story.since(noticed).into_iter().map(|(_, kind)| kind).collect();
    assert_eq!(steps, ["cordon", "surge", "launch", "evict", "terminate"]);
}

#[test]
fn a_short_deadline_forces_the_pod_out_in_time_and_says_so() {
    let mut story = Story::new(1);
    story.run(UP);
    story.notice(0, Some(30));
    let noticed = story.second();
    story.run(40);
    // the deadline less ten seconds of grace and five of margin
    assert_eq!(story.since(noticed)[3], (15, "evict"));
    let (_, step) = &story.told[story.told.len() - 1];
    let deadline = at(noticed + 30);
    assert_eq!(step.reasons[1], Reason::DeadlineForces { deadline, left: 0, wanted: 1 });
    assert_eq!(story.world.killed, [], "it had its grace");
}

/// Scenario 18.
#[test]
fn what_is_critical_ends_after_the_others_on_its_node_or_in_time_for_the_deadline() {
    let replaced = BOOT_SECS + START_SECS + 1;
    for (lead, serving, critical) in [(120, replaced, replaced + 10), (30, 15, 15)] {
        let mut story = Story::new(1);
        story.run(UP);
        let node = story.notice(0, Some(lead)).unwrap();
        for (name, critical) in [("dns", true), ("agent", false)] {
            let pod = Pod { workload: None, critical, ..pod(name, node.as_str()) };
            story.world.now.pods.push(pod);
        }
        let noticed = story.second();
        let plan = story.tick();
        assert!(plan.refused.iter().any(|reason| reason.kind() == "critical-last"), "{plan:?}");
        story.run(100);
        let evicted = |name: &str| {
            let is_it = |step: &Step| matches!(&step.action, Action::Evict { pod, .. } if pod.as_str() == name);
            let (second, _) = story.told.iter().find(|(_, step)| is_it(step)).unwrap();
            second - noticed
        };
        let seconds = ["agent", "pod-1", "dns"].map(evicted);
        assert_eq!(seconds, [1, serving, critical], "with {lead} s of notice");
    }
}

#[test]
fn a_deadline_that_is_past_ends_the_pods_at_once() {
    let mut story = Story::new(1);
    story.run(UP);
    story.notice(0, Some(-5));
    let snapshot = story.snapshot();
    let (plan, _) = plan(&story.policy, &snapshot, story.memory.clone());
    let evict = plan.steps.iter().find(|step| step.action.kind() == "evict").unwrap();
    assert_eq!(evict.reasons[0].kind(), "past-deadline");
}

#[test]
fn a_notice_about_a_foreign_node_does_nothing_and_is_named() {
    let mut story = Story::new(0);
    story.run(1);
    let node: NodeName = "not-ours".parse().unwrap();
    let kind = NoticeKind::Interruption { deadline: at(100) };
    story.world.now.notices = vec![Notice { node: node.clone(), kind }];
    let (plan, _) = plan(&story.policy, &story.snapshot(), Memory::default());
    assert_eq!((plan.steps, plan.noticed), (vec![], vec![]));
    assert_eq!(plan.refused, [Reason::UnknownNode { node }]);
}

#[test]
fn the_same_notice_twice_is_one_notice() {
    let mut story = Story::new(1);
    story.run(UP);
    story.notice(0, Some(120));
    story.notice(0, Some(120));
    assert_eq!(story.tick().noticed.len(), 1);
    assert_eq!(story.tick().noticed, []);
}

#[test]
fn a_rebalance_recommendation_moves_one_node_at_a_time_and_forces_nothing() {
    let mut story = Story::new(2);
    story.run(UP);
    (0..2).for_each(|nth| drop(story.notice(nth, None)));
    let noticed = story.second();
    let plan = story.tick();
    assert_eq!(plan.noticed.len(), 2);
    assert!(plan.refused.iter().any(|reason| reason.kind() == "drain-budget"), "{plan:?}");
    story.run(200);
    let cordons = story.since(noticed).into_iter().filter(|(_, kind)| *kind == "cordon");
    assert_eq!(cordons.count(), 2);
    assert_eq!(story.world.ready(), 2);
    let zones = story.world.alive().map(|node| node.offering.zone.as_str().to_owned());
    assert_eq!(zones.collect::<Vec<_>>(), ["b", "b"], "the recommended zone is left");
}

#[test]
fn when_spot_stays_away_on_demand_takes_over_and_gives_back_one_by_one() {
    let mut story = Story::new(2);
    let spot_prices: Vec<_> =
        [spot("a"), spot("b")].map(|offering| (offering, UsdPerHour(0))).into();
    for (offering, _) in &spot_prices {
        story.prices.remove(offering);
    }
    story.run(UP);
    assert_eq!(kinds(&story), ["on-demand g4dn.xlarge in a", "on-demand g4dn.xlarge in a"]);
    assert!(story.told[0].1.reasons.contains(&Reason::NoSpotOffer));
    story.prices.extend(spot_prices);
    story.run(UP);
    assert_eq!(kinds(&story).len(), 4, "spot is bought beside it");
    story.run(290);
    assert_eq!(kinds(&story).len(), 4, "and is not trusted yet");
    story.run(120);
    assert_eq!(kinds(&story), ["spot g4dn.xlarge in a", "spot g4dn.xlarge in a"]);
    assert_eq!(story.world.ready(), 2);
}

#[test]
fn a_machine_that_never_becomes_ready_is_given_back_and_held_against_its_offering() {
    let mut story = Story::new(1);
    story.policy.launch_timeout_ms = Millis::from_secs(BOOT_SECS as u64 - 10);
    story.run(BOOT_SECS as u32);
    let offerings: Vec<_> = story
        .told
        .iter()
        .filter_map(|(_, step)| match &step.action {
            Action::Launch { offering, .. } => Some(offering.clone()),
            _ => None,
        })
        .collect();
    assert_eq!(offerings, [spot("a"), spot("b")]);
    assert!(story.told.iter().any(|(_, step)| step.reasons[0].kind() == "never-ready"));
}

#[test]
fn the_node_limit_holds() {
    let mut story = Story::new(5);
    story.policy.nodes_max = 3;
    let plan = story.tick();
    assert_eq!(plan.steps.len(), 3);
    assert!(plan.refused.contains(&Reason::NodeLimit { nodes_max: 3 }));
}

#[test]
fn an_offering_without_capacity_is_passed_over_at_once() {
    let mut story = Story::new(1);
    let (first, mut memory) = plan(&story.policy, &story.snapshot(), Memory::default());
    memory.no_capacity(&story.policy.offers, &first.steps[0].action, at(0));
    let (second, _) = plan(&story.policy, &story.snapshot(), memory);
    assert!(matches!(&second.steps[0].action,
        Action::Launch { offering, .. } if *offering == spot("b")));
    let _ = story.tick();
}

#[test]
fn a_restart_in_the_middle_of_a_drain_goes_on_where_it_was() {
    for crash_at in 1..60 {
        let mut story = Story::new(1);
        story.run(UP);
        story.notice(0, Some(120));
        let noticed = story.second();
        story.run(crash_at);
        story.memory = Memory::default();
        story.run(130);
        let done = |kind| story.since(noticed).iter().filter(|(_, done)| *done == kind).count();
        assert_eq!((done("cordon"), done("surge"), done("evict")), (1, 1, 1), "at {crash_at}");
        assert_eq!((story.world.ready(), story.world.killed.len()), (1, 0), "at {crash_at}");
    }
}

#[test]
fn on_demand_nodes_are_no_part_of_the_spot_count() {
    let mut story = Story::new(3);
    story.policy.fleet.on_demand_floor = 1;
    story.run(UP);
    let on_demand =
        story.world.alive().filter(|node| node.offering.capacity_type == CapacityType::OnDemand);
    assert_eq!(on_demand.count(), 1);
    assert_eq!(story.world.alive().count(), 3);
}

#[test]
fn a_budget_by_the_hour_buys_spot_first_and_gives_up_the_fallback() {
    let mut story = Story::new(3);
    story.policy.budget.per_hour = Some(UsdPerHour(700_000));
    story.world.stuck = [spot("a")].into();
    let mut refused = vec![];
    for _ in 0..200 {
        refused.extend(story.tick().refused);
    }
    // Three spot machines that never come cost 0.60; on demand for their pods does not fit beside them.
    assert_eq!(story.world.alive().count(), 3, "{:?}", kinds(&story));
    assert!(refused.iter().any(|reason| reason.kind() == "hourly-budget"), "{refused:?}");
    assert!(refused.iter().any(|reason| reason.kind() == "hourly-budget-near"));
}

#[test]
fn a_month_that_is_spent_buys_replacements_only() {
    let mut story = Story::new(1);
    story.run(UP);
    story.policy.budget.per_month = Some(crate::units::MicroUsd(1000));
    story.spent_this_month = Some(crate::units::MicroUsd(1000));
    story.prices.insert(spot("b"), "0.20".parse().unwrap());
    let refused = story.wants(2).tick().refused;
    assert!(refused.iter().any(|reason| reason.kind() == "monthly-budget"), "{refused:?}");
    assert_eq!(story.world.alive().count(), 1);
    story.wants(1).run(1);
    story.notice(0, Some(120));
    story.run(119);
    assert_eq!((story.world.ready(), story.world.killed.len()), (1, 0), "replaced all the same");
    story.run(30);
    assert_eq!(story.world.alive().count(), 1);
}
