//! Machines at risk: the advice to leave them, how often it is followed, where who leaves goes, and what is done where a
//! machine is to be closed and not emptied.

use std::{collections::BTreeMap, time::Duration};

use jiff::Timestamp;
use spotscale_autoscaler::NoticeKind;
use spotscale_test_cluster::{
    cloud::events,
    provider::{Instance, State},
};

use super::{SCOPE, Stage};
use crate::ground::{proxy::Act, queue::NOTICE, usd_per_hour};

/// From a notice to the end, where nothing is done in between.
const LEAD: Duration = Duration::from_secs(20);

#[tokio::test(flavor = "multi_thread")]
async fn scenario_g_who_is_advised_to_leave_a_machine_is_not_led_to_one_of_its_kind() {
    let stage = Stage::new("elsewhere", 1).await;
    let advised = stage.machine(0);
    stage.ground.notice(&advised.node, &[NoticeKind::Rebalance]).await;
    stage.moved(std::slice::from_ref(&advised)).await;
    stage.drained(1).await;
    let heir = stage.ground.machine_of(&stage.ground.of(SCOPE)[0]);
    assert_ne!(heir.offering, advised.offering);
}

/// Scenario 3.
#[tokio::test(flavor = "multi_thread")]
async fn scenario_3_advice_closes_a_machine_and_only_an_interruption_empties_it() {
    let stage = Stage::with("closed", 1, &["--on-rebalance=cordon"]).await;
    let machine = stage.machine(0);
    let zone = &machine.offering.zone;
    stage.send(&events::rebalance(&machine.id, zone, Timestamp::now())).await;
    stage.cordoned(&machine, true).await;
    stage.assert_calm().await;
    let deadline = stage.ground.provider.interrupt(&machine.node, NOTICE).await.unwrap();
    stage.queue.interruption(&machine, deadline).await;
    stage.moved(&[machine]).await;
    stage.drained(1).await;
}

/// Scenario 9.
#[tokio::test(flavor = "multi_thread")]
async fn scenario_9_where_nothing_is_to_be_emptied_a_machine_is_closed_and_goes_with_its_pod() {
    let flags = ["--on-interruption=cordon", "--on-maintenance=cordon", "--on-rebalance=cordon"];
    let stage = Stage::with("cordon-only", 1, &flags).await;
    let machine = stage.machine(0);
    let deadline = stage.ground.provider.interrupt(&machine.node, LEAD).await.unwrap();
    stage.queue.interruption(&machine, deadline).await;
    stage.cordoned(&machine, true).await;
    stage.assert_calm().await;
    let is_gone =
        || async { Ok(!stage.ground.provider.instance(&machine.node).unwrap().is_there()) };
    stage.ground.until("the machine to go", is_gone).await;
    assert!(Timestamp::now() >= deadline, "it was given back");
    for act in [Act::Surge, Act::Evict] {
        assert_eq!(stage.daemon.proxy.count(act), 0, "{:?}", stage.daemon.proxy.acts());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn scenario_f_advice_that_comes_again_is_followed_once_an_hour() {
    let stage = Stage::new("advice", 1).await;
    let advised = stage.machine(0);
    // What it cost before the advice is no part of the alarm's cost.
    let age = || advised.launched.duration_until(Timestamp::now()).as_secs_f64();
    stage.ground.until("the machine to be of some age", || async { Ok(age() > 15.0) }).await;
    // Where nothing else can be had, the replacement is of the kind that was advised against.
    stage.ground.only(&advised.offering);
    stage.ground.notice(&advised.node, &[NoticeKind::Rebalance]).await;
    stage.moved(std::slice::from_ref(&advised)).await;
    stage.drained(1).await;
    let heir = stage.ground.machine_of(&stage.ground.of(SCOPE)[0]);
    assert_eq!(heir.offering, advised.offering);
    stage.ground.notice(&heir.node, &[NoticeKind::Rebalance]).await;
    let is_refused = || async {
        let shown = stage.daemon.state().await;
        let refused = shown["plan"]["refused"].as_array().cloned().unwrap_or_default();
        let notices = shown["snapshot"]["seen"]["notices"].as_array().cloned().unwrap_or_default();
        let is_seen = notices.iter().any(|notice| notice["node"] == heir.node.as_str());
        Ok(is_seen && refused.iter().any(|reason| reason.to_string().contains("left-lately")))
    };
    stage.ground.until("the second advice to be refused", is_refused).await;
    assert_eq!(stage.daemon.proxy.count(Act::Surge), 1, "{:?}", stage.daemon.proxy.acts());
    assert_cost(&stage, &advised).await;
}

/// What a false alarm cost is told of one machine, and of no other: from when it was closed to its end.
async fn assert_cost(stage: &Stage, advised: &Instance) {
    /// Looks at the cluster are a little apart, and a launch is told in whole seconds.
    const SECONDS: f64 = 5.0;
    let (ground, daemon) = (&stage.ground, &stage.daemon);
    let is_ended = || async { Ok(!ground.provider.instance(&advised.node).unwrap().is_there()) };
    ground.until("the machine to be given back", is_ended).await;
    let told = || async { anyhow::Ok(daemon.books().await?.totals().on_advice.as_usd()) };
    let is_told = || async { Ok(told().await? > 0.0) };
    ground.until("the false alarm to be told", is_told).await;
    let State::Ended { at: ended, .. } = ground.provider.instance(&advised.node).unwrap().state
    else {
        panic!("it lives");
    };
    let writes = daemon.proxy.writes();
    let closed = writes.iter().find(|write| write.act() == Some(Act::Cordon)).unwrap().at;
    // A minute is billed at least.
    let billed = ended.max(advised.launched + Duration::from_mins(1));
    let per_second = usd_per_hour(&advised.offering) / 3600.0;
    let by_hand = closed.duration_until(billed).as_secs_f64() * per_second;
    let csv = daemon.process.text("/ledger.csv").await;
    let rows = csv::Reader::from_reader(csv.as_bytes());
    let rows = rows.into_deserialize::<BTreeMap<String, String>>().map(Result::unwrap);
    let usd = |row: BTreeMap<String, String>| {
        let usd: f64 = row["x_OnAdviceCost"].parse().unwrap();
        assert!(usd == 0.0 || row["ResourceId"] == advised.id, "{row:?}");
        usd
    };
    let by_rows: f64 = rows.map(usd).sum();
    for told in [told().await.unwrap(), by_rows] {
        assert!((told - by_hand).abs() < SECONDS * per_second, "{told}, by hand {by_hand}");
    }
    let told = daemon.explained(&["explain", "cost", "--nodes"]);
    let sum = format!("False alarms: ${by_rows:.6} of it");
    assert!(told.contains(&sum) && told.contains("  left on advice at "), "{sum}: {told}");
    println!("a false alarm: by hand ${by_hand:.6}, by the daemon ${by_rows:.6}");
}
