//! A month's budget while what was spent of it is not known.

use super::*;
use crate::{
    testing::world::{BOOT_SECS, START_SECS},
    units::MicroUsd,
};

const UP: u32 = (BOOT_SECS + START_SECS + 3) as u32;
const MONTH: MicroUsd = MicroUsd(1000);

fn is_told(plan: &Plan) -> bool {
    plan.refused.contains(&Reason::SpendUnknown { most: MONTH })
}

#[test]
fn while_the_spend_is_not_known_only_replacements_are_bought() {
    let mut story = Story::new(1);
    story.run(UP);
    story.policy.budget.per_month = Some(MONTH);
    story.spent_this_month = None;
    assert!(is_told(&story.wants(2).tick()));
    story.run(10);
    assert_eq!(story.world.alive().count(), 1);
    story.spent_this_month = Some(MicroUsd(999));
    assert!(!is_told(&story.run(1).tick()));
    assert_eq!(story.world.alive().count(), 2);
}

#[test]
fn pools_are_closed_while_there_are_as_many_nodes_as_there_may_be() {
    let mut story = Story::two_pools(2);
    story.policy.nodes_max = 3;
    story.run(600);
    let closed = |story: &Story| {
        let pools = story.world.now.provisioner.iter().flat_map(|it| &it.pools);
        pools.map(|pool| pool.closed).collect::<Vec<_>>()
    };
    assert_eq!((story.world.alive().count(), closed(&story)), (2, vec![false, false]));
    story.wants(3).run(600);
    assert_eq!((story.world.alive().count(), closed(&story)), (3, vec![true, true]));
    story.wants(4).run(600);
    assert_eq!(story.world.alive().count(), 3, "nothing more is bought");
    assert!(story.tick().refused.contains(&Reason::NodeLimit { nodes_max: 3 }));
    story.policy.nodes_max = 4;
    story.run(600);
    assert_eq!(story.world.alive().count(), 4);
}

#[test]
fn while_the_spend_is_not_known_pools_stay_as_they_are() {
    let mut story = Story::two_pools(1);
    let closed = |story: &mut Story, spent| {
        story.spent_this_month = spent;
        story.run(600);
        let pools = story.world.now.provisioner.iter().flat_map(|it| &it.pools);
        pools.map(|pool| pool.closed).collect::<Vec<_>>()
    };
    story.policy.budget.per_month = Some(MONTH);
    assert_eq!(closed(&mut story, Some(MicroUsd(0))), [false, false]);
    assert_eq!(closed(&mut story, None), [false, false], "nothing says that it is spent");
    assert_eq!(closed(&mut story, Some(MONTH)), [true, true]);
    assert_eq!(closed(&mut story, None), [true, true], "nothing says that there is more");
    assert!(is_told(&story.tick()));
    assert_eq!(closed(&mut story, Some(MicroUsd(0))), [false, false]);
}
