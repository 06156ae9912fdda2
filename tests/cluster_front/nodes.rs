//! Nodes that are about to go.

use std::sync::Arc;

use serde_json::json;

use crate::{
    front::{Front, Rights},
    load::Load,
    pod::Pod,
    world::World,
};

/// One request at a time for each Pod, so that one request makes it busy.
async fn world() -> World {
    let world = World::new().await;
    world.service("resnet", json!({ "spotscale.dev/concurrency": "1" })).await;
    world
}

fn addresses(pods: &[&Pod]) -> Vec<String> {
    pods.iter().map(|pod| pod.address.to_string()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pod_on_a_node_under_notice_gets_only_what_no_other_has_a_slot_for() {
    let mut world = world().await;
    let (a, b) = (world.node("a").await, world.node("b").await);
    let front = Front::start(&world, Rights::All, &["--service=resnet"]).await;
    let (on_a, on_b) = (world.pod("resnet", &a).await, world.pod("resnet", &b).await);
    front.until_ready("resnet", addresses(&[&on_a, &on_b])).await;

    world.taint(&a, Some("example.com/maintenance")).await;
    world.taint(&b, Some("spotscale.dev/interruption")).await;
    front.until_leaving("resnet", addresses(&[&on_b])).await;
    let before = on_b.requests();
    for _ in 0..20 {
        assert_eq!(front.post("/").await, (200, on_a.name.clone()));
    }
    assert_eq!(on_b.requests(), before);

    let busy = on_a.requests() + 1;
    on_a.hold();
    let (held, ()) = tokio::join!(front.post("/"), async {
        on_a.until_requests(busy).await;
        for _ in 0..5 {
            assert_eq!(front.post("/").await, (200, on_b.name.clone()), "the other one is full");
        }
        on_a.let_go();
    });
    assert_eq!(held, (200, on_a.name.clone()));

    world.taint(&a, Some("karpenter.sh/disrupted")).await;
    front.until_leaving("resnet", addresses(&[&on_a, &on_b])).await;
    assert_eq!(front.post("/").await.0, 200, "all are");
    world.taint(&b, None).await;
    front.until_leaving("resnet", addresses(&[&on_a])).await;
    assert_eq!(front.post("/").await, (200, on_b.name.clone()), "it stays after all");
}

#[tokio::test(flavor = "multi_thread")]
async fn most_nodes_may_be_under_notice_at_once_and_no_request_is_lost() {
    let mut world = world().await;
    let (mut nodes, mut pods) = (Vec::new(), Vec::new());
    for name in ["a", "b", "c", "d"] {
        let node = world.node(name).await;
        pods.push(world.pod("resnet", &node).await);
        nodes.push(node);
    }
    let front = Arc::new(Front::start(&world, Rights::All, &["--service=resnet"]).await);
    front.until_ready("resnet", addresses(&pods.iter().collect::<Vec<_>>())).await;
    // One Pod that stays would take one of the eight requests that are there at any time.
    let load = Load::start(&front);
    load.pass(50).await;
    for node in &nodes[1..] {
        world.taint(node, Some("spotscale.dev/interruption")).await;
    }
    let leaving: Vec<&Pod> = pods[1..].iter().collect();
    front.until_leaving("resnet", addresses(&leaving)).await;
    let before: Vec<usize> = leaving.iter().map(|pod| pod.requests()).collect();
    load.pass(200).await;
    for (pod, before) in leaving.iter().zip(before) {
        assert!(pod.requests() > before, "{} has slots, and requests wait", pod.name);
    }
    for pod in &leaving {
        pod.delete().await;
    }
    front.until_ready("resnet", addresses(&[&pods[0]])).await;
    for pod in &leaving {
        pod.gone().await;
    }
    load.pass(50).await;
    let (answered, lost) = load.end().await;
    assert!(lost.is_empty(), "{} lost beside {answered}: {lost:?}", lost.len());
}
