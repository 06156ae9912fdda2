//! Activation by push.

use std::time::{Duration, Instant};

use spotscale_proto::externalscaler::external_scaler_client::ExternalScalerClient;
use tokio::time::timeout;

use crate::harness::*;

/// Longer than an edge may take on a busy machine, shorter than a repeat.
const QUIET: Duration = Duration::from_millis(1_500);

#[tokio::test]
async fn checklist_08_a_stream_opens_with_the_present_state_if_active() {
    let server = Server::start().await;
    let (mut keda, mut front) = (server.keda().await, server.front("a").await);
    front.says(vec![demand("busy", 1, 1), demand("idle", 0, 0)]).await;
    until_desired(&mut keda, &trigger("busy", &[]), |value| value >= 1.0).await;
    let opened = Instant::now();
    for _ in 0..40 {
        let mut busy = keda.stream_is_active(trigger("busy", &[])).await.unwrap().into_inner();
        assert_eq!(pushed(&mut busy, PATIENCE).await, Some(true));
    }
    // With the next decision only, it would be half a second for each.
    assert!(opened.elapsed() < Duration::from_secs(10), "{:?}", opened.elapsed());
    let mut idle = keda.stream_is_active(trigger("idle", &[])).await.unwrap().into_inner();
    assert_eq!(pushed(&mut idle, QUIET).await, None);
}

#[tokio::test]
async fn checklist_09_an_edge_is_pushed_and_a_warm_target_is_left_alone() {
    let server = Server::start().await;
    let (mut keda, mut front) = (server.keda().await, server.front("a").await);
    front.says(vec![demand("resnet", 0, 0)]).await;
    let mut stream = keda.stream_is_active(trigger("resnet", &[])).await.unwrap().into_inner();
    assert_eq!(pushed(&mut stream, Duration::from_millis(200)).await, None);
    front.says(vec![demand("resnet", 1, 1)]).await;
    assert_eq!(pushed(&mut stream, PATIENCE).await, Some(true));
    for held in [2, 5, 1, 0, 3] {
        front.says(vec![demand("resnet", held, 1)]).await;
        assert_eq!(pushed(&mut stream, QUIET / 5).await, None, "warm, and yet pushed");
    }
}

#[tokio::test]
async fn checklist_09_stranded_work_is_pushed_again_soon_and_then_after_five_seconds() {
    let server = Server::start().await;
    let (mut keda, mut front) = (server.keda().await, server.front("a").await);
    let mut stream = keda.stream_is_active(trigger("resnet", &[])).await.unwrap().into_inner();
    front.says(vec![demand("resnet", 1, 0)]).await;
    assert_eq!(pushed(&mut stream, PATIENCE).await, Some(true));
    let mut last = Instant::now();
    let mut held = 1;
    for quiet in [900, 4_900].map(Duration::from_millis) {
        let mut again = None;
        while again.is_none() && last.elapsed() < 4 * PATIENCE {
            held += 1;
            front.says(vec![demand("resnet", held, 0)]).await;
            again = pushed(&mut stream, Duration::from_millis(500)).await;
        }
        assert_eq!(again, Some(true));
        assert!(last.elapsed() >= quiet, "{:?}", last.elapsed());
        last = Instant::now();
    }
}

#[tokio::test]
async fn checklist_11_twenty_five_hundred_streams_share_one_connection_with_the_calls() {
    const STREAMS: usize = 2_500;
    let server = Server::start().await;
    let (channel, mut front) = (server.channel().await, server.front("a").await);
    let mut keda = ExternalScalerClient::new(channel);
    let names: Vec<String> = (0..STREAMS).map(|n| format!("service-{n}")).collect();
    let mut streams = Vec::new();
    for name in &names {
        let opened = timeout(PATIENCE, keda.stream_is_active(trigger(name, &[]))).await;
        streams.push(opened.expect("a stream is not let in").unwrap().into_inner());
    }
    front.says(names.iter().map(|name| demand(name, 1, 0)).collect()).await;
    for (name, stream) in names.iter().zip(&mut streams) {
        assert_eq!(pushed(stream, PATIENCE).await, Some(true), "{name}");
    }
    for name in names.iter().take(300) {
        assert!(desired(&mut keda, &trigger(name, &[])).await.unwrap() >= 1.0);
    }
}

#[tokio::test]
async fn checklist_12_the_spec_is_streamed_at_once_and_equals_the_unary_one() {
    let server = Server::start().await;
    let mut keda = server.keda().await;
    let resnet = trigger("resnet", &[]);
    let unary = keda.get_metric_spec(resnet.clone()).await.unwrap().into_inner();
    let mut stream = keda.stream_metric_spec(resnet).await.unwrap().into_inner();
    let first = timeout(PATIENCE, stream.message()).await.unwrap().unwrap().unwrap();
    assert_eq!(first, unary);
    assert!(!first.metric_specs.is_empty());
    let more = timeout(QUIET, stream.message()).await;
    assert!(more.is_err(), "the stream stays open and silent, but gave {more:?}");
}

#[tokio::test]
async fn a_stream_ends_cleanly_after_its_age() {
    let mut config = config();
    config.limits.stream_age_max = "1s".parse().unwrap();
    let server = Server::start_with(config).await;
    let mut keda = server.keda().await;
    let mut stream = keda.stream_is_active(trigger("resnet", &[])).await.unwrap().into_inner();
    let ended = timeout(PATIENCE, stream.message()).await.unwrap();
    assert_eq!(ended.unwrap(), None, "an end with status OK");
}

#[tokio::test]
async fn checklist_09_an_edge_does_not_wait_for_the_tick() {
    let server = Server::start().await;
    let (mut keda, mut front) = (server.keda().await, server.front("a").await);
    let mut took = Duration::ZERO;
    for n in 0..20 {
        let name = format!("resnet-{n}");
        front.says(vec![demand(&name, 0, 0)]).await;
        let mut stream = keda.stream_is_active(trigger(&name, &[])).await.unwrap().into_inner();
        assert_eq!(pushed(&mut stream, Duration::from_millis(100)).await, None);
        let edge = Instant::now();
        front.says(vec![demand(&name, 1, 0)]).await;
        assert_eq!(pushed(&mut stream, PATIENCE).await, Some(true));
        took += edge.elapsed();
    }
    // By the tick alone it would be most of a second for each.
    assert!(took < Duration::from_secs(8), "{took:?}");
}
