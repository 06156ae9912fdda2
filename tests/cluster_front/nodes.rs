//! Nodes that are about to go.

use serde_json::json;

use crate::{
    front::{Front, Rights},
    world::World,
};

#[tokio::test(flavor = "multi_thread")]
async fn a_pod_on_a_node_under_notice_gets_nothing_new_unless_all_are() {
    let mut world = World::new().await;
    world.service("resnet", json!({})).await;
    let (a, b) = (world.node("a").await, world.node("b").await);
    let front = Front::start(&world, Rights::All, &["--service=resnet"]).await;
    let (on_a, on_b) = (world.pod("resnet", &a).await, world.pod("resnet", &b).await);
    let both = || vec![on_a.address.to_string(), on_b.address.to_string()];
    front.until_ready("resnet", both()).await;

    world.taint(&a, Some("example.com/maintenance")).await;
    world.taint(&b, Some("spotscale.dev/interruption")).await;
    front.until_ready("resnet", vec![on_a.address.to_string()]).await;
    let before = on_b.requests();
    for _ in 0..20 {
        assert_eq!(front.post("/").await, (200, on_a.name.clone()));
    }
    assert_eq!(on_b.requests(), before);

    world.taint(&a, Some("karpenter.sh/disrupted")).await;
    front.until_ready("resnet", both()).await;
    assert_eq!(front.post("/").await.0, 200);

    world.taint(&b, None).await;
    front.until_ready("resnet", vec![on_b.address.to_string()]).await;
}
