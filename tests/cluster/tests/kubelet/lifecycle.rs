//! From a Deployment to a process, and back.

use kube::api::DeleteParams;
use serde_json::json;

use crate::world::{World, get};

#[tokio::test]
async fn a_deployment_runs_is_found_and_drains() {
    let world = World::new("life").await;
    world.deploy(2, |_| {}).await;
    let pods = world.ready(2).await;
    world.endpoints_are(&[&pods[0], &pods[1]]).await;
    for pod in &pods {
        assert!([world.machine(0), world.machine(1)].contains(&pod.machine), "{pod:?}");
        assert_eq!(get(pod, "/").await.unwrap(), format!("{}:8080", pod.ip));
    }

    // A request that runs when its pod is deleted is answered.
    let slow = tokio::spawn({
        let pod = pods[0].clone();
        async move { get(&pod, "/slow/2").await }
    });
    let arrived = || async { Ok(get(&pods[0], "/gone/tmp/slow").await.is_err()) };
    world.until("the request to arrive", arrived).await;
    world.pods().delete(&pods[0].name, &DeleteParams::default()).await.unwrap();
    assert_eq!(slow.await.unwrap().unwrap(), "slow");
    world
        .until("the old pod's object to go", || async {
            Ok(world.pods().get_opt(&pods[0].name).await?.is_none())
        })
        .await;
    let now = world.ready(2).await;
    assert!(now.iter().all(|pod| pod.name != pods[0].name), "it was deleted");
    world.endpoints_are(&[&now[0], &now[1]]).await;
}

#[tokio::test]
async fn the_grace_period_ends_what_will_not() {
    let world = World::new("grace").await;
    world
        .deploy(1, |spec| {
            spec["terminationGracePeriodSeconds"] = json!(1);
            spec["containers"][0]["lifecycle"] = json!({ "preStop": { "exec": {
                "command": ["sh", "-c", "test -e /etc/hosts && sleep 600"] } } });
        })
        .await;
    let pod = world.ready(1).await.remove(0);
    world.deploy(0, |_| {}).await;
    world
        .until("the pod's object to go", || async {
            Ok(world.pods().get_opt(&pod.name).await?.is_none())
        })
        .await;
    assert!(get(&pod, "/").await.is_err(), "its process is gone too");
}
