//! A provisioner buys by prices of its own while the market has not told us any.

use super::*;
use crate::testing::world::{BOOT_SECS, START_SECS};

const UP: u32 = (BOOT_SECS + START_SECS + 3) as u32;

#[test]
fn before_the_first_price_is_known_spot_still_comes_first() {
    let mut story = Story::two_pools(0);
    story.prices.clear();
    story.price_age_ms = None;
    story.run(5);
    story.wants(3).run(UP);
    assert_eq!(story.kinds(), vec!["spot g4dn.xlarge in a"; 3]);
    assert_eq!(story.told, vec![], "nothing is told that is not known");
    let plan = story.tick();
    assert!(plan.refused.iter().any(|reason| reason.kind() == "old-prices"), "{plan:?}");
}
