//! The gRPC port with a model that the test plays: how many may connect, and for how long a message may arrive.

use std::{convert::Infallible, net::SocketAddr};

use bytes::Bytes;
use futures::stream;
use http_body_util::StreamBody;
use hyper::body::Frame;
use hyper_util::{client::legacy::Client, rt::TokioExecutor};
use spotscale_proto::inference::grpc_inference_service_client::GrpcInferenceServiceClient;
use tokio::{net::TcpListener, time::timeout};
use tonic::transport::Channel;

use super::*;
use crate::testing::{PATIENCE, Stage};

/// Long enough for a call on an idle machine; on a busy one the test only sees less.
const A_WHILE: Duration = Duration::from_millis(300);

struct Port {
    address: SocketAddr,
    stage: Stage,
    shutdown: CancellationToken,
}

impl Port {
    async fn open(connections_max: usize, flags: &[&str]) -> Self {
        let (stage, shutdown) = (Stage::set(flags).await, CancellationToken::new());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let connections = Connections::new(listener, connections_max);
        tokio::spawn(serve(connections, Arc::clone(&stage.service), shutdown.clone()));
        Self { address, stage, shutdown }
    }

    async fn client(&self) -> GrpcInferenceServiceClient<Channel> {
        GrpcInferenceServiceClient::connect(format!("http://{}", self.address)).await.unwrap()
    }
}

impl Drop for Port {
    fn drop(&mut self) {
        self.shutdown.cancel();
    }
}

#[tokio::test]
async fn one_connection_too_many_waits_until_there_is_a_place() {
    let port = Port::open(1, &[]).await;
    let mut first = port.client().await;
    first.server_live(ServerLiveRequest {}).await.unwrap();
    let mut second = port.client().await;
    let mut asked = tokio::spawn(async move { second.server_live(ServerLiveRequest {}).await });
    assert!(timeout(A_WHILE, &mut asked).await.is_err(), "served beyond the limit");
    first.server_live(ServerLiveRequest {}).await.unwrap();
    drop(first);
    let answer = timeout(PATIENCE, asked).await.expect("never served").unwrap();
    assert!(answer.unwrap().into_inner().live);
}

#[tokio::test]
async fn a_message_that_does_not_arrive_is_not_waited_for() {
    let port = Port::open(8, &["--request-timeout=50ms", "--max-requests=1"]).await;
    let client = Client::builder(TokioExecutor::new()).http2_only(true).build_http();
    // A message of eight bytes is announced, and none comes.
    let announced = Bytes::from_static(&[0, 0, 0, 0, 8]);
    let first = stream::once(async { Ok::<_, Infallible>(Frame::data(announced)) });
    let body = StreamBody::new(futures::StreamExt::chain(first, stream::pending()));
    let request = hyper::Request::post(format!(
        "http://{}/inference.GRPCInferenceService/ModelInfer",
        port.address
    ))
    .header("content-type", "application/grpc")
    .header("te", "trailers")
    .body(Box::pin(body))
    .unwrap();
    let answer = timeout(PATIENCE, client.request(request)).await.expect("no answer").unwrap();
    assert_eq!(answer.headers()["grpc-status"], (Code::DeadlineExceeded as i32).to_string());
    assert_eq!(port.stage.service.requests.available_permits(), 1, "its place is not free");
}
