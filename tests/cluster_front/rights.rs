//! A front that may do less than it wants to.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::{
    front::{Front, PATIENCE, Rights},
    world::World,
};

#[tokio::test(flavor = "multi_thread")]
async fn a_front_that_may_not_see_nodes_serves_without() {
    let mut world = World::new().await;
    world.service("resnet", json!({})).await;
    let node = world.node("a").await;
    let flags = [&["--service=resnet", "--kubernetes-nodes=false"][..], &["--service=resnet"]];
    for flags in flags {
        let front = Front::start(&world, Rights::SlicesOnly, flags).await;
        let pod = world.pod("resnet", &node).await;
        assert_eq!(front.post("/").await.0, 200);
        assert_eq!(front.readyz().await.0, 200);
        if flags.len() == 1 {
            let failures = r#"spotscale_front_watch_failures_total{resource="nodes",namespace=""}"#;
            until_more_than(&front, failures, 0.0).await;
        }
        pod.gone().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_front_that_may_list_but_not_watch_comes_back_ever_more_slowly() {
    let mut world = World::new().await;
    world.service("resnet", json!({})).await;
    let node = world.node("a").await;
    let flags = ["--service=resnet", "--kubernetes-nodes=false"];
    let start = Instant::now();
    let front = Front::start(&world, Rights::ListOnly, &flags).await;
    let pod = world.pod("resnet", &node).await;
    let failures = format!(
        r#"spotscale_front_watch_failures_total{{resource="endpointslices",namespace="{}"}}"#,
        world.namespace
    );
    until_more_than(&front, &failures, 5.0).await;
    // 100 ms, 200, 400, 800, 1600 between them.
    assert!(start.elapsed() > Duration::from_secs(3), "six lists in {:?}", start.elapsed());
    assert_eq!(front.post("/").await, (200, pod.name.clone()), "it has lists, after all");
}

async fn until_more_than(front: &Front, metric: &str, value: f64) {
    let more = async {
        while front.metric(metric).await <= value {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(PATIENCE, more).await.unwrap_or_else(|_| panic!("{metric} stays"));
}
