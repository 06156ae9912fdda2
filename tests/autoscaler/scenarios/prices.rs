//! Prices by AWS' own SDK, and days without them.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use spotscale_test_cluster::cloud::{Failure, Market, moto::environment};

use super::{BOOT, Stage};
use crate::ground::{
    Ground,
    objects::TYPE,
    proxy::Act,
    queue::{NOTICE, Queue},
};

/// In seconds. Prices are asked for every second.
const OLD: f64 = 6.0;
const FLAGS: [&str; 4] =
    ["--market=aws", "--price-refresh=1s", "--price-stale-after=4s", "--price-expired-after=1h"];

/// Scenario H.
#[tokio::test(flavor = "multi_thread")]
async fn scenario_h_without_prices_decisions_go_on_by_the_last_ones_and_nothing_flaps() {
    let (ground, queue) = tokio::join!(Ground::new("no-prices", BOOT), Queue::start());
    let market = Market::start(&queue.moto).await.unwrap();
    let since = Timestamp::now() - SignedDuration::from_hours(1);
    for (zone, usd) in [("us-east-1a", "0.16"), ("us-east-1b", "0.20")] {
        market.spot_price(TYPE, zone, usd, since);
    }
    market.on_demand_price(TYPE, "0.526");
    let stage = Stage::on(ground, queue, 2, &FLAGS, &environment(market.endpoint())).await;
    stage.daemon.leads().await;
    let is_priced = || async {
        let shown = stage.daemon.state().await;
        let prices = shown["snapshot"]["prices"].as_array().map_or(0, Vec::len);
        Ok(prices >= 3 && stage.daemon.proxy.count(Act::Steer) > 0)
    };
    stage.ground.until("the prices to be known and told", is_priced).await;
    let known = stage.daemon.state().await["snapshot"]["prices"].clone();
    let failure = Failure { status: 503, code: "Unavailable", times: usize::MAX };
    for action in ["DescribeSpotPriceHistory", "GetProducts"] {
        market.fail(action, failure.clone());
    }
    let is_old = || async {
        let age = stage.daemon.process.metric("spotscale_price_age_seconds").await?;
        Ok(age > OLD)
    };
    stage.ground.until("the prices to be old", is_old).await;
    let shown = stage.daemon.state().await;
    assert_eq!(shown["snapshot"]["prices"], known, "the last ones count");
    assert!(shown["plan"]["refused"].to_string().contains("old-prices"), "{}", shown["plan"]);
    stage.assert_calm().await;
    let victim = stage.machine(0);
    let deadline = stage.ground.provider.interrupt(&victim.node, NOTICE).await.unwrap();
    stage.queue.interruption(&victim, deadline).await;
    stage.moved(std::slice::from_ref(&victim)).await;
    stage.drained(1).await;
    // It comes back by itself.
    for action in ["DescribeSpotPriceHistory", "GetProducts"] {
        market.fail(action, Failure { times: 0, ..failure.clone() });
    }
    let is_fresh = || async {
        let age = stage.daemon.process.metric("spotscale_price_age_seconds").await?;
        Ok(Duration::from_secs_f64(age) < Duration::from_secs(4))
    };
    stage.ground.until("the prices to be fresh", is_fresh).await;
}
