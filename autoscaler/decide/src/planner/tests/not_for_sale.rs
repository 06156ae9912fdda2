//! What has a price and may not be bought: a node of such a type is counted, and nothing is decided for its price's sake.

use super::{provisioned::BOTH, *};
use crate::testing::world::{BOOT_SECS, START_SECS};

const UP: u32 = (BOOT_SECS + START_SECS + 3) as u32;

#[test]
fn a_price_of_what_may_not_be_bought_changes_nothing() {
    let told = |with_another: bool| {
        let mut story = Story::two_pools(2);
        for capacity_type in BOTH.into_iter().filter(|_| with_another) {
            let instance_type = "t3.nano".parse().unwrap();
            let offering = Offering { instance_type, capacity_type, ..spot("a") };
            story.prices.insert(offering, UsdPerHour(1000));
        }
        story.policy.budget.per_hour = Some(UsdPerHour(900_000));
        story.run(UP + 60).wants(4).run(130);
        let offers = story.tick().ranking.offers;
        (story.weights(), story.told(), story.kinds(), offers)
    };
    let (with, without) = (told(true), told(false));
    assert!(without.0.iter().all(|pool| pool.2), "both pools are too dear: {:?}", without.0);
    assert_eq!(with, without);
}
