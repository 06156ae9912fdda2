//! The order in which a scaler stops.

use std::time::{Duration, Instant};

use spotscale_scaler::keda::BindError;
use tonic::transport::Channel;
use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};

use crate::harness::*;

const SERVING: i32 = 1;
const NOT_SERVING: i32 = 2;

#[tokio::test]
async fn checklist_10_health_turns_first_then_streams_end_with_ok_soon_after() {
    let mut server = Server::start().await;
    let (mut keda, front) = (server.keda().await, server.front("a").await);
    let mut active = keda.stream_is_active(trigger("resnet", &[])).await.unwrap().into_inner();
    let mut specs = keda.stream_metric_spec(trigger("resnet", &[])).await.unwrap().into_inner();
    specs.message().await.unwrap();
    let health = format!("http://{}", server.addresses.health);
    let health = Channel::from_shared(health).unwrap().connect().await.unwrap();
    let watch = HealthClient::new(health).watch(HealthCheckRequest::default()).await;
    let mut watch = watch.unwrap().into_inner();
    assert_eq!(watch.message().await.unwrap().unwrap().status, SERVING);

    let told = Instant::now();
    server.shutdown.cancel();
    let not_serving = async {
        let status = watch.message().await.unwrap().unwrap().status;
        (status, Instant::now())
    };
    let ended = async { (active.message().await, specs.message().await, Instant::now()) };
    let both = async { tokio::join!(not_serving, ended) };
    let both = tokio::time::timeout(PATIENCE, both).await.expect("a stream never ends");
    let ((status, turned_at), (active, specs, ended_at)) = both;
    assert_eq!(status, NOT_SERVING);
    assert_eq!((active.unwrap(), specs.unwrap()), (None, None), "ended with OK");
    assert!(turned_at < ended_at, "streams ended before health turned");
    assert!(ended_at - told < Duration::from_secs(5), "{:?}", ended_at - told);
    drop((keda, front));
    tokio::time::timeout(PATIENCE, &mut server.task).await.unwrap().unwrap().unwrap();
}

#[tokio::test]
async fn a_client_that_never_leaves_does_not_keep_the_scaler_up() {
    let mut config = config();
    config.drain_timeout = "300ms".parse().unwrap();
    let mut server = Server::start_with(config).await;
    let mut keda = server.keda().await;
    keda.get_metric_spec(trigger("resnet", &[])).await.unwrap();
    server.shutdown.cancel();
    tokio::time::timeout(PATIENCE, &mut server.task).await.unwrap().unwrap().unwrap();
}

#[tokio::test]
async fn an_address_in_use_is_named_with_its_flag() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let mut config = config();
    config.health_listen = taken.local_addr().unwrap();
    let refused: BindError = config.bind().await.unwrap_err();
    assert_eq!((refused.flag, refused.address), ("health-listen", config.health_listen));
    assert!(refused.to_string().contains("--health-listen"), "{refused}");
}
