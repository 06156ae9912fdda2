//! Pods that come, become ready or not, and go.

use std::sync::Arc;

use serde_json::json;

use crate::{
    front::{Front, Rights},
    load::Load,
    world::World,
};

#[tokio::test(flavor = "multi_thread")]
async fn ready_pods_are_used_and_others_are_not() {
    let mut world = World::new().await;
    world.service("resnet", json!({})).await;
    let node = world.node("a").await;
    let front = Front::start(&world, Rights::All, &["--service=NS/resnet"]).await;
    let service = format!("{}/resnet", world.namespace);
    let one = world.pod("resnet", &node).await;
    let (held, ()) = tokio::join!(front.post("/"), async {
        front.until_ready(&service, vec![one.address.to_string()]).await;
    });
    assert_eq!(held, (200, one.name.clone()), "held until there was a pod");
    let two = world.pod("resnet", &node).await;
    front.until_ready(&service, vec![one.address.to_string(), two.address.to_string()]).await;
    one.ready(false);
    front.until_ready(&service, vec![two.address.to_string()]).await;
    let left_out = |why: &str| {
        format!(r#"spotscale_front_left_out_pods{{service="{service}",reason="{why}"}}"#)
    };
    assert!((front.metric(&left_out("not_ready")).await - 1.0).abs() < f64::EPSILON);
    one.ready(true);
    front.until_ready(&service, vec![one.address.to_string(), two.address.to_string()]).await;
    one.delete().await;
    front.until_ready(&service, vec![two.address.to_string()]).await;
    assert!((front.metric(&left_out("terminating")).await - 1.0).abs() < f64::EPSILON);
    let before = one.requests();
    for _ in 0..20 {
        assert_eq!(front.post("/").await, (200, two.name.clone()));
    }
    assert_eq!(one.requests(), before);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_terminating_pod_finishes_what_it_has() {
    let mut world = World::new().await;
    world.service("resnet", json!({})).await;
    let node = world.node("a").await;
    let front = Front::start(&world, Rights::All, &["--service=resnet"]).await;
    let one = world.pod("resnet", &node).await;
    front.until_ready("resnet", vec![one.address.to_string()]).await;
    one.hold();
    let (running, heir) = tokio::join!(front.post("/"), async {
        one.until_requests(1).await;
        let heir = world.pod("resnet", &node).await;
        one.delete().await;
        front.until_ready("resnet", vec![heir.address.to_string()]).await;
        assert_eq!(front.post("/").await, (200, heir.name.clone()));
        one.let_go();
        heir
    });
    assert_eq!(running, (200, one.name.clone()));
    assert_eq!((one.requests(), heir.requests()), (1, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn pods_that_are_replaced_under_load_lose_no_request() {
    let mut world = World::new().await;
    world.service("resnet", json!({ "spotscale.dev/concurrency": "4" })).await;
    let node = world.node("a").await;
    // Nothing here may be sent twice: a request on a Pod that ends would be lost.
    let front = Arc::new(Front::start(&world, Rights::All, &["--service=resnet"]).await);
    let mut old = world.pod("resnet", &node).await;
    let load = Load::start(&front);
    load.pass(50).await;
    for _ in 0..3 {
        let new = world.pod("resnet", &node).await;
        front.until_ready("resnet", vec![old.address.to_string(), new.address.to_string()]).await;
        old.delete().await;
        front.until_ready("resnet", vec![new.address.to_string()]).await;
        old.gone().await;
        load.pass(50).await;
        old = new;
    }
    let (answered, lost) = load.end().await;
    assert!(lost.is_empty(), "{} lost beside {answered}: {lost:?}", lost.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn two_services_are_the_tiers_of_one() {
    let mut world = World::new().await;
    world.service("gpu", json!({})).await;
    world.service("cpu", json!({ "spotscale.dev/tier": "cpu" })).await;
    let node = world.node("a").await;
    let flags = ["--service=resnet", "--kubernetes-service=gpu:http,NS/cpu:8000"];
    let front = Front::start(&world, Rights::All, &flags).await;
    let cpu = world.pod("cpu", &node).await;
    assert_eq!(front.post("/").await, (200, cpu.name.clone()));
    let gpu = world.pod("gpu", &node).await;
    front.until_ready("resnet", vec![cpu.address.to_string(), gpu.address.to_string()]).await;
    for _ in 0..10 {
        assert_eq!(front.post("/").await, (200, gpu.name.clone()));
    }
}
