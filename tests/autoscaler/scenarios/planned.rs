//! Maintenance that is announced, and called off.

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::Pod;
use kube::{Api, api::DeleteParams};
use spotscale_autoscaler::kubernetes::NOTICES;
use spotscale_test_cluster::cloud::events;

use super::{SCOPE, Stage};
use crate::ground::proxy::Act;

/// Scenario 6.
#[tokio::test(flavor = "multi_thread")]
async fn scenario_6_maintenance_that_is_called_off_gives_the_machine_back_to_its_pods() {
    let stage = Stage::with("called-off", 1, &["--on-maintenance=cordon"]).await;
    let machine = stage.machine(0);
    let tomorrow = Timestamp::now() + SignedDuration::from_hours(24);
    let tell = |status| events::maintenance(&machine.id, status, tomorrow, Timestamp::now());
    stage.send(&tell("upcoming")).await;
    stage.cordoned(&machine, true).await;
    stage.send(&tell("closed")).await;
    stage.cordoned(&machine, false).await;
    stage.read().await;
    let left = stage.annotation(&machine, NOTICES).await.unwrap_or_default();
    assert!(!left.contains("maintenance"), "{left}");
    let acts = stage.daemon.proxy.acts();
    assert!(!acts.contains(&Act::Surge) && !acts.contains(&Act::Evict), "{acts:?}");
    // A new pod finds its place there, and nothing is bought for it.
    let pods: Api<Pod> = Api::namespaced(stage.ground.client.clone(), &stage.ground.namespace);
    pods.delete(&stage.pods[0].name, &DeleteParams::default()).await.unwrap();
    let is_back = || async {
        let pods = stage.ground.of(SCOPE);
        Ok(pods.len() == 1 && pods[0].ready && pods[0].name != stage.pods[0].name)
    };
    stage.ground.until("a new pod", is_back).await;
    assert_eq!(stage.ground.machines().len(), 1);
}
