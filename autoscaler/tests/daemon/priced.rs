//! Nodes of types that may not be bought: what they cost is counted, and nothing else follows from their prices.

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use spotscale_autoscaler::{FileMarket, Playback};
use spotscale_decide::units::MicroUsd;

use crate::support::{AskedMarket, Running, SERIES, ScriptedCluster, SharedVault, With};

const OTHERS: &str = "\
2024-01-01T00:00:00Z,m5.large,a,spot,0.036
2024-01-01T00:00:00Z,m5.large,a,on-demand,0.096
";
const FLAGS: &[&str] = &["--price-refresh=1h", "--price-stale-after=2h"];
const AGE: SignedDuration = SignedDuration::from_mins(10);

fn market(starts_at: Timestamp) -> Arc<AskedMarket> {
    let series = format!("{SERIES}{OTHERS}");
    let playback = Playback { starts_at, speed: 1 };
    AskedMarket::new(FileMarket::parse(&series, playback).unwrap())
}

fn seconds(cluster: &ScriptedCluster, market: &AskedMarket) -> Vec<i64> {
    let since = |at: &Timestamp| at.duration_since(cluster.origin).as_secs();
    market.asked().iter().map(|(at, _)| since(at)).collect()
}

#[tokio::test(start_paused = true)]
async fn a_node_of_a_type_that_may_not_be_bought_is_soon_counted_and_the_type_is_never_bought() {
    let cluster = ScriptedCluster::new(1);
    let market = market(cluster.origin);
    cluster.joins("m5.large", AGE);
    let with = With { market: Some(market.clone()), flags: FLAGS, ..With::default() };
    let running = Running::with(&cluster, with);
    running.after(2).await;
    assert_eq!(running.totals().unpriced.len(), 1, "the first question was not about it");
    assert_eq!(running.totals().spend, MicroUsd::ZERO);
    let state = running.after(18).await;
    assert_eq!(running.totals().unpriced, []);
    // 10 minutes and 20 seconds at 0.036 $/h.
    assert_eq!(running.totals().spend, MicroUsd(6200));
    let launch = cluster.origin - AGE;
    assert_eq!(market.asked()[1].1, [("m5.large".parse().unwrap(), launch)].into());
    assert_eq!(state.snapshot.prices.len(), 5);
    let offers = state.plan.ranking.offers.iter().map(|offer| &offer.offering);
    assert!(offers.clone().all(|offering| offering.instance_type.as_str() == "g4dn.xlarge"));
    assert_eq!(offers.count(), 3);
    cluster.wants(2);
    let state = running.after(60).await;
    let types = state.snapshot.seen.nodes.iter().map(|node| node.offering.instance_type.as_str());
    assert_eq!(types.collect::<Vec<_>>(), ["m5.large", "g4dn.xlarge"]);
}

#[tokio::test(start_paused = true)]
async fn a_type_that_the_market_does_not_know_is_asked_about_no_oftener_than_the_others() {
    let cluster = ScriptedCluster::new(1);
    let market = market(cluster.origin);
    cluster.joins("x9.huge", AGE);
    let with = With { market: Some(market.clone()), flags: FLAGS, ..With::default() };
    let running = Running::with(&cluster, with);
    running.after(1800).await;
    assert_eq!(running.totals().unpriced.len(), 1, "it is named");
    assert_eq!(seconds(&cluster, &market), [0, 15]);
    // Two that join at once are one question, after a pause.
    cluster.joins("m5.large", AGE);
    cluster.joins("x8.huge", AGE);
    running.after(20).await;
    assert_eq!(seconds(&cluster, &market)[2..], [1801]);
    assert_eq!(running.totals().unpriced.len(), 2);
}

#[tokio::test(start_paused = true)]
async fn what_ended_unpriced_while_nobody_looked_is_counted_after_a_restart() {
    let (cluster, vault) = (ScriptedCluster::new(1), Arc::new(SharedVault::default()));
    cluster.joins("m5.large", AGE);
    let with = || With { vault: Some(vault.clone()), ..With::default() };
    let first = Running::with(&cluster, with());
    first.after(5).await;
    assert_eq!(first.totals().unpriced.len(), 1, "its series does not have it");
    first.kill().await;
    cluster.lose();
    let market = market(cluster.origin);
    let second = Running::with(&cluster, With { market: Some(market), flags: FLAGS, ..with() });
    let state = second.after(30).await;
    assert!(state.snapshot.seen.nodes.is_empty());
    assert_eq!(second.totals().unpriced, []);
    // Billed until it was seen last as far as that was saved, which was at the first look.
    assert_eq!(second.totals().spend, MicroUsd(6000));
    assert_eq!(state.snapshot.prices.len(), 3, "nothing is there that would have the other price");
}

/// More types than a fleet has are not asked about, and those that are go on to be.
#[tokio::test(start_paused = true)]
async fn no_more_types_are_asked_about_than_a_market_takes() {
    let cluster = ScriptedCluster::new(1);
    let market = market(cluster.origin);
    cluster.joins("m5.large", AGE);
    let with = With { market: Some(market.clone()), flags: FLAGS, ..With::default() };
    let running = Running::with(&cluster, with);
    running.after(60).await;
    (0..300).for_each(|n| cluster.joins(&format!("a{n}.huge"), AGE));
    running.after(60).await;
    let (_, besides) = market.asked().last().unwrap().clone();
    assert_eq!(besides.len(), 200);
    assert!(besides.contains_key(&"m5.large".parse().unwrap()));
    assert_eq!(market.asked().len(), 3);
}
