//! Nodes that fell silent, and nodes that somebody else gives back.

use super::*;
use crate::{
    cluster::{CordonCause, NodePhase},
    testing::world::{BOOT_SECS, START_SECS},
};

const UP: u32 = (BOOT_SECS + START_SECS + 3) as u32;
/// Long after any machine should have become ready.
const OLD: u32 = 1200;

impl Story {
    /// The first node that is there, and how far it is from now on.
    fn first_is(&mut self, phase: NodePhase) {
        let alive = self.world.now.nodes.iter_mut().find(|node| node.is_alive());
        alive.unwrap().phase = phase;
    }
}

#[test]
fn a_node_that_served_and_is_not_heard_of_for_a_minute_is_kept_and_nothing_is_held_against_it() {
    let mut story = Story::two_pools(1);
    story.run(OLD);
    let silent = story.second();
    story.first_is(NodePhase::Unready { since: at(silent) });
    story.run(60);
    story.first_is(NodePhase::Ready);
    story.run(60);
    assert_eq!(story.since(silent), []);
    assert_eq!(story.memory.marks, Memory::default().marks);
    assert_eq!(story.world.ready(), 1);
}

#[test]
fn a_node_that_is_not_heard_of_any_more_is_given_back_once_it_is_empty() {
    let mut story = Story::two_pools(1);
    story.run(OLD);
    let silent = story.second();
    story.first_is(NodePhase::Unready { since: at(silent) });
    story.run(600);
    assert_eq!(story.world.alive().count(), 1, "its pod is there still");
    story.world.now.pods.clear();
    let emptied = story.second();
    story.run(2);
    assert_eq!(story.since(emptied), [(1, "terminate")]);
    let given_back = story.told.iter().find(|(_, step)| step.action.kind() == "terminate");
    assert_eq!(given_back.unwrap().1.reasons[0].kind(), "not-heard-of");
    assert_eq!(story.memory.marks, Memory::default().marks, "it had served");
}

#[test]
fn a_machine_that_never_comes_is_held_against_its_offering_once_however_often_it_is_given_back() {
    let mut story = Story::two_pools(1);
    story.world.stuck.insert(spot("a"));
    story.run(UP);
    let (begins, mut snapshot, mut memory) =
        (story.second(), story.snapshot(), story.memory.clone());
    let look = |minute: i64| {
        snapshot.seen.at = at(begins + 60 * minute);
        let plan;
        (plan, memory) = super::plan(&story.policy, &snapshot, std::mem::take(&mut memory));
        plan.steps.into_iter().find(|step| step.action.kind() == "terminate")
    };
    let terminate = (1..20).find_map(look).unwrap();
    let marked = memory.marks.clone();
    assert_ne!(marked, story.memory.marks);
    let mut dropped = memory;
    dropped.dropped(&terminate.action);
    let (second, memory) = plan(&story.policy, &snapshot, dropped);
    assert!(second.steps.iter().any(|step| step.action == terminate.action));
    assert_eq!(memory.marks, marked);
}

#[test]
fn a_node_that_is_being_given_back_is_not_counted_on_nor_given_back_again() {
    let mut story = Story::two_pools(1);
    story.run(OLD);
    story.first_is(NodePhase::Leaving);
    story.world.now.nodes[0].cordoned = Some(CordonCause::Surplus);
    story.world.now.pods.clear();
    let leaving = story.second();
    let plan = story.act();
    assert_eq!(story.since(leaving - 1), []);
    assert_eq!(plan.split.spot, 1, "it is wanted elsewhere");
    assert!(story.memory.fleet.gap_since.is_some(), "and missing here: {:?}", story.memory.fleet);
}
