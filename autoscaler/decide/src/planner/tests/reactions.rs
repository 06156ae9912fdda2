//! What is done about the provider's notices, as the policy has it.

use super::{provisioned::BOTH, *};
use crate::{
    cluster::CordonCause,
    disruption::{OnInterruption, Reaction},
    testing::provisioner::pool,
};

/// Before the free hour of the first node is over, and after.
const YOUNG: u32 = 100;
const OLD: u32 = 3700;

/// What is done within 100 seconds of a notice about a node of that age.
fn done(policy: impl FnOnce(&mut Policy), age: u32, kind: NoticeKind) -> Vec<&'static str> {
    let mut story = Story::provisioned(1, vec![pool("any", &BOTH, Some(10))]);
    policy(&mut story.policy);
    story.run(age);
    let node = story.world.alive().next().unwrap().name.clone();
    story.world.now.notices.push(Notice { node, kind });
    let noticed = story.second();
    story.run(100);
    let steps = story.since(noticed).into_iter().map(|(_, kind)| kind);
    steps.filter(|kind| *kind != "overlay").collect()
}

fn in_120_seconds(age: u32) -> jiff::Timestamp {
    at(i64::from(age) + 120)
}

fn maintained(policy: impl FnOnce(&mut Policy)) -> Vec<&'static str> {
    done(policy, OLD, NoticeKind::Maintenance { deadline: in_120_seconds(OLD) })
}

const WHOLE: [&str; 4] = ["cordon", "surge", "evict", "terminate"];

#[test]
fn an_interruption_may_be_met_by_a_cordon_alone() {
    let interrupted = |reaction| {
        let kind = NoticeKind::Interruption { deadline: in_120_seconds(OLD) };
        done(|policy| policy.disruption.on_interruption = reaction, OLD, kind)
    };
    assert_eq!(interrupted(OnInterruption::Drain), WHOLE);
    assert_eq!(interrupted(OnInterruption::Cordon), ["cordon"]);
}

#[test]
fn advice_and_maintenance_may_be_met_by_a_cordon_alone_or_ignored() {
    let advised = |reaction| {
        let policy = |policy: &mut Policy| policy.disruption.on_rebalance = reaction;
        done(policy, OLD, NoticeKind::Rebalance)
    };
    let maintained = |reaction| maintained(|policy| policy.disruption.on_maintenance = reaction);
    assert_eq!(advised(Reaction::Ignore), [""; 0]);
    assert_eq!(maintained(Reaction::Ignore), [""; 0]);
    assert_eq!(advised(Reaction::Cordon), ["cordon"]);
    assert_eq!(maintained(Reaction::Cordon), ["cordon"]);
    assert_eq!(advised(Reaction::Drain), WHOLE);
    assert_eq!(maintained(Reaction::Drain), WHOLE);
}

#[test]
fn each_kind_of_notice_has_a_reaction_of_its_own() {
    let cordons = |policy: &mut Policy| {
        policy.disruption.on_interruption = OnInterruption::Cordon;
        policy.disruption.on_rebalance = Reaction::Cordon;
    };
    assert_eq!(maintained(cordons), WHOLE);
    let ignores = |policy: &mut Policy| {
        policy.disruption.on_maintenance = Reaction::Ignore;
        policy.disruption.on_rebalance = Reaction::Ignore;
    };
    let interruption = NoticeKind::Interruption { deadline: in_120_seconds(OLD) };
    assert_eq!(done(ignores, OLD, interruption), WHOLE);
}

#[test]
fn a_node_that_was_cordoned_for_what_is_ignored_now_is_good_again() {
    let mut story = Story::provisioned(1, vec![pool("any", &BOTH, Some(10))]);
    story.policy.disruption.on_rebalance = Reaction::Cordon;
    story.run(OLD);
    story.notice(0, None);
    story.run(2);
    assert_eq!(story.world.alive().next().unwrap().cordoned, Some(CordonCause::Notice));
    story.policy.disruption.on_rebalance = Reaction::Ignore;
    story.run(20);
    assert_eq!(story.world.alive().next().unwrap().cordoned, None);
}

#[test]
fn a_free_hour_is_waited_for_unless_nobody_wants_it() {
    let interrupted = |wait: u64| {
        let kind = NoticeKind::Interruption { deadline: in_120_seconds(YOUNG) };
        done(|policy| policy.refund_wait_ms = Millis::from_secs(wait), YOUNG, kind)
    };
    assert_eq!(interrupted(300), ["protect", "cordon", "surge", "evict"]);
    assert_eq!(interrupted(0), WHOLE);
}

#[test]
fn maintenance_frees_no_hour_and_nothing_waits_for_one() {
    let kind = NoticeKind::Maintenance { deadline: in_120_seconds(YOUNG) };
    assert_eq!(done(|_| {}, YOUNG, kind), WHOLE);
}

#[test]
fn advice_that_comes_back_is_not_followed_again_within_the_hour() {
    let mut story = Story::provisioned(1, vec![pool("any", &BOTH, Some(10))]);
    let cordoned = |story: &Story| story.world.alive().next().unwrap().cordoned;
    story.run(OLD);
    let node = story.notice(0, None).unwrap();
    story.run(1);
    assert_eq!(cordoned(&story), Some(CordonCause::Notice));
    story.world.now.notices.clear();
    story.run(20);
    assert_eq!(cordoned(&story), None);
    story.notice(0, None);
    let refused = story.tick().refused;
    let lately =
        |reason: &Reason| matches!(reason, Reason::SurgedLately { node: one, .. } if *one == node);
    assert!(refused.iter().any(lately), "{refused:?}");
    story.run(3500);
    assert_eq!(cordoned(&story), None);
    story.run(120);
    assert!(story.world.alive().next().unwrap().name != node || cordoned(&story).is_some());
}

#[test]
fn a_recommendation_weighs_what_the_policy_says() {
    let spot_prices = |mark: f64| {
        let mut story = Story::provisioned(1, vec![pool("any", &BOTH, Some(10))]);
        story.policy.offers.rebalance_mark = mark;
        story.run(OLD);
        story.notice(0, None);
        story.tick().ranking.offers.iter().filter(|offer| offer.offering == spot("a")).count()
    };
    assert_eq!(spot_prices(0.75), 0, "it is left alone");
    assert_eq!(spot_prices(0.25), 1);
}
