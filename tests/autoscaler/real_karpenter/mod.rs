//! The daemon as a process and the real Karpenter with its KWOK provider: who steers whom, and that they do not fight.
//!
//! KWOK's machines are never taken by anybody: what a provider takes is tested on
//! [`spotscale_test_cluster::provider`], in `interruption` and `scenarios`.

mod field;

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use kube::{ResourceExt as _, api::DynamicObject};
use serde_json::json;
use spotscale_autoscaler::NoticeKind;
use spotscale_test_cluster::catalog::CapacityType;

use self::field::{Field, Placed};
use crate::ground::{daemon::Daemon, pace::Pace, proxy::Act};

/// Long enough for Karpenter and the daemon to do something more, if they were to.
const CALM: Duration = Duration::from_secs(5);

/// Weights may change as soon as there is reason to.
const AT_ONCE: &str = "--steering-pool-every=1s";

async fn both_pools(field: &Field) {
    field.pool(CapacityType::Spot, 10).await;
    field.pool(CapacityType::OnDemand, 1).await;
}

fn in_two_minutes() -> NoticeKind {
    NoticeKind::Interruption { deadline: Timestamp::now() + SignedDuration::from_secs(120) }
}

/// Waits until all prices that were told are taken by Karpenter, this many at least.
async fn overlays_taken(field: &Field, count: usize) {
    field
        .until("Karpenter to take the prices", || async {
            let overlays = field.overlays().await?;
            let is_taken = |overlay: &&DynamicObject| {
                let conditions = overlay.data["status"]["conditions"].as_array();
                let ready = conditions.into_iter().flatten().find(|one| one["type"] == "Ready");
                let observed = ready.and_then(|ready| ready["observedGeneration"].as_i64());
                observed.is_some() && observed == overlay.metadata.generation
            };
            let taken = overlays.iter().filter(is_taken);
            Ok(overlays.len() >= count && taken.count() == overlays.len())
        })
        .await;
}

/// Waits for the pod that replaces this one, once that is gone.
async fn heir(field: &Field, of: &Placed) -> Placed {
    field
        .until("the pod to move", || async {
            let serving = field.serving().await?;
            Ok(serving.len() == 1 && serving[0].pod != of.pod)
        })
        .await;
    field.ready(1).await.remove(0)
}

/// Everything stays as it is: nothing more is bought, given back or moved.
async fn assert_calm(field: &Field, daemon: &Daemon, bought: usize) {
    let before = (field.serving().await.unwrap(), field.machines().await.unwrap().len());
    let acts = daemon.proxy.acts();
    tokio::time::sleep(CALM).await;
    let after = (field.serving().await.unwrap(), field.machines().await.unwrap().len());
    assert_eq!((before, acts), (after, daemon.proxy.acts()));
    assert_eq!(field.bought(), bought, "{:#?}", field.machines().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn karpenter_takes_the_order_and_the_prices_that_it_is_told() {
    let field = Field::new("led").await;
    both_pools(&field).await;
    let daemon = field.daemon(&["--on-demand-floor=1", AT_ONCE]).await;
    field.workload(1, true).await;
    field.until("on demand to come first", || async { Ok(!field.is_spot_first().await?) }).await;
    // Until then it buys for no pool.
    overlays_taken(&field, 2).await;
    field.workload(1, false).await;
    assert_eq!(field.ready(1).await[0].capacity_type, "on-demand", "the floor");
    field.until("spot to come first", || async { field.is_spot_first().await }).await;
    field.workload(2, false).await;
    let spot = |placed: &Placed| placed.capacity_type == "spot";
    let bought = field.ready(2).await.into_iter().find(spot).unwrap();
    assert_eq!(bought.instance_type, "g4dn.xlarge", "the cheapest");
    let claims = field.machines().await.unwrap();
    let marked = |claim: &str| claim.contains("price-overlay-applied");
    assert!(
        claims.iter().any(|claim| claim.annotations().keys().any(|key| marked(key))),
        "{claims:#?}"
    );
    assert!(daemon.proxy.acts().iter().all(|act| *act == Act::Steer), "{:?}", daemon.proxy.acts());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_machine_that_ec2_will_take_is_left_with_one_purchase_and_karpenter_does_not_end_it() {
    let field = Field::new("taken").await;
    both_pools(&field).await;
    let daemon = field.daemon(&[]).await;
    field.workload(1, false).await;
    let lost = field.ready(1).await.remove(0);
    field.notice(&lost.node, in_two_minutes()).await;
    let heir = heir(&field, &lost).await;
    assert_ne!(heir.node, lost.node);
    // It is empty now, and in the free hour: Karpenter would end an empty machine at once.
    assert_calm(&field, &daemon, 2).await;
    assert!(field.node(&lost.node).await.unwrap().is_some(), "the free hour was given away");
    for act in [Act::Cordon, Act::Protect, Act::Surge, Act::Evict] {
        assert_eq!(daemon.proxy.count(act), 1, "{act:?}: {:?}", daemon.proxy.acts());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_machine_that_one_is_advised_to_leave_is_given_back_and_karpenter_ends_it() {
    let field = Field::new("advised").await;
    both_pools(&field).await;
    let daemon = field.daemon(&[]).await;
    field.workload(1, false).await;
    let advised = field.ready(1).await.remove(0);
    field.notice(&advised.node, NoticeKind::Rebalance).await;
    assert_eq!(advised.instance_type, "g4dn.xlarge", "the cheapest");
    let heir = heir(&field, &advised).await;
    assert_ne!(heir.node, advised.node);
    field
        .until("Karpenter to end the machine", || async {
            let is_gone = field.node(&advised.node).await?.is_none();
            Ok(is_gone && field.machines().await?.len() == 1)
        })
        .await;
    assert_calm(&field, &daemon, 2).await;
    // What was advised against is dearer to Karpenter now than all else that it could launch.
    overlays_taken(&field, 2).await;
    field.workload(2, false).await;
    let placed = field.ready(2).await;
    let newcomer = placed.iter().find(|placed| placed.node != heir.node).unwrap();
    assert_eq!(newcomer.instance_type, "g5.xlarge", "{placed:?}");
}

/// Scenario 17: nobody has said anything before, and nobody is there who would answer an eviction.
#[tokio::test(flavor = "multi_thread")]
async fn a_machine_that_ends_now_is_left_at_once_and_replaced_once() {
    let field = Field::new("ending").await;
    both_pools(&field).await;
    // Nobody else ends it here.
    let daemon = field.daemon(&["--refund-wait=0s"]).await;
    field.workload(1, false).await;
    let ending = field.ready(1).await.remove(0);
    field.notice(&ending.node, NoticeKind::Maintenance { deadline: Timestamp::now() }).await;
    heir(&field, &ending).await;
    field
        .until("Karpenter to end the machine", || async {
            Ok(field.node(&ending.node).await?.is_none() && field.machines().await?.len() == 1)
        })
        .await;
    assert_calm(&field, &daemon, 2).await;
}

/// Scenario L.
#[tokio::test(flavor = "multi_thread")]
async fn scenario_l_karpenter_is_led_back_to_spot_one_machine_a_window() {
    let field = Field::new("return").await;
    // Karpenter knows the pool, which takes it a while, and may not buy for it yet.
    field.limited_pool(CapacityType::Spot, 10, json!({ "cpu": "0" })).await;
    field.pool(CapacityType::OnDemand, 1).await;
    field.workload(2, false).await;
    let on_demand = field.ready(2).await;
    assert!(on_demand.iter().all(|placed| placed.capacity_type == "on-demand"), "{on_demand:?}");
    field.pool(CapacityType::Spot, 10).await;
    let flags = ["--return-after=2s", "--return-steady=3s", "--return-every=12s", AT_ONCE];
    let daemon = field.daemon(&flags).await;
    field
        .until("all pods to be on spot", || async {
            let serving = field.serving().await?;
            assert!(serving.len() >= 2, "one was told to end too early: {serving:?}");
            let is_spot = |placed: &Placed| placed.capacity_type == "spot";
            Ok(serving.len() == 2 && serving.iter().all(is_spot))
        })
        .await;
    field
        .until("on demand to be given back", || async { Ok(field.machines().await?.len() == 2) })
        .await;
    let pace = Pace { swaps: 2, steady_seconds: 3.0, window_seconds: 12.0 };
    pace.assert_kept(&daemon.proxy);
    assert_calm(&field, &daemon, 4).await;
}
