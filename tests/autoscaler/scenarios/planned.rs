//! Maintenance that is announced, and called off.

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
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
    // A new pod finds its place there, and nothing is bought for it. Kubernetes has a taint of its own for a cordon.
    let is_open = || async {
        let spec = stage.node(&machine).await.and_then(|node| node.spec);
        Ok(spec.is_some_and(|spec| spec.taints.is_none()))
    };
    stage.ground.until("a node without taints", is_open).await;
    let pods: Api<Pod> = Api::namespaced(stage.ground.client.clone(), &stage.ground.namespace);
    stage.ground.scale(SCOPE, 0).await;
    let is_gone = || async { Ok(pods.get_opt(&stage.pods[0].name).await?.is_none()) };
    stage.ground.until("room on the machine", is_gone).await;
    stage.ground.scale(SCOPE, 1).await;
    stage.ground.slept(SCOPE, 1).await;
    assert_eq!(stage.ground.machines().len(), 1);
}
