//! The API server goes away and comes back.

use std::sync::Arc;

use serde_json::json;

use crate::{
    front::{Front, Rights, identity},
    load::Load,
    world::World,
};

#[tokio::test(flavor = "multi_thread")]
async fn while_the_api_server_is_away_the_last_list_serves_and_nothing_is_lost() {
    let mut world = World::alone().await;
    world.service("resnet", json!({})).await;
    let node = world.node("a").await;
    let identity = identity(&world, Rights::All).await;
    let flags = ["--service=NS/resnet", "--idempotent-path=/v1/classify"];
    let front = Arc::new(Front::launch(&world, &identity, &flags).await);
    let service = format!("{}/resnet", world.namespace);
    let (stays, dies) = (world.pod("resnet", &node).await, world.pod("resnet", &node).await);
    front.until_ready(&service, vec![stays.address.to_string(), dies.address.to_string()]).await;
    let stale = format!(
        r#"spotscale_front_watch_stale_seconds{{resource="endpointslices",namespace="{}"}}"#,
        world.namespace
    );
    assert!(front.metric(&stale).await < f64::EPSILON);

    let load = Load::start(&front);
    load.pass(100).await;
    world.cluster.plane().kill_api_server().unwrap();
    load.pass(100).await;
    dies.stop();
    load.pass(100).await;
    front.until_ready(&service, vec![stays.address.to_string()]).await;
    while front.metric(&stale).await < 1.0 {
        load.pass(10).await;
    }
    assert_eq!(front.readyz().await, (200, "ok\n".to_owned()));
    let late = Front::launch(&world, &identity, &flags).await;
    assert_eq!(late.readyz().await, (503, "no list of endpoints yet\n".to_owned()));

    world.cluster.plane().restart_api_server().await.unwrap();
    dies.gone().await;
    let heir = world.pod("resnet", &node).await;
    let both = || vec![stays.address.to_string(), heir.address.to_string()];
    front.until_ready(&service, both()).await;
    late.until_ready(&service, both()).await;
    assert!(front.metric(&stale).await < f64::EPSILON);
    assert_eq!(late.readyz().await.0, 200);
    load.pass(100).await;
    let (answered, lost) = load.end().await;
    assert!(lost.is_empty(), "{} lost beside {answered}: {lost:?}", lost.len());
}
