//! Streaming in both directions, and HTTP/2 on either side.

use std::{convert::Infallible, sync::Arc};

use bytes::Bytes;
use http::{Method, Request, Version};
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::Frame;
use hyper_util::{client::legacy::Client, rt::TokioExecutor};
use tokio::sync::{Semaphore, mpsc};
use tokio_stream::wrappers::ReceiverStream;

use crate::{
    replicas::{Fault, Replica, stream_chunks},
    support::{Front, whole},
};

#[tokio::test]
async fn a_response_is_passed_on_while_it_is_made() {
    let front = Front::start(&[]).await;
    let (chunks, address) = stream_chunks().await;
    front.list(&[format!("http://{address}")]);
    let request = Request::get(format!("http://{}/", front.address)).body(Full::default()).unwrap();
    let client = crate::support::client();
    let mut body = client.request(request).await.unwrap().into_body();
    for said in ["one", "two"] {
        chunks.send(said).await.unwrap();
        let frame = body.frame().await.unwrap().unwrap();
        assert_eq!(frame.into_data().unwrap(), said);
    }
    drop(chunks);
    assert!(body.frame().await.is_none());
    front.until(|services| services[0]["served_total"] == 1).await;
}

#[tokio::test]
async fn a_request_body_is_passed_on_while_it_is_sent() {
    let front = Front::start(&[]).await;
    let permits = Arc::new(Semaphore::new(9));
    let replica = Replica::echo(permits).await;
    front.list(&[replica.url()]);
    front.until_ready(1).await;
    let (chunks, body) = mpsc::channel::<Result<Frame<Bytes>, Infallible>>(1);
    let body = StreamBody::new(ReceiverStream::new(body)).boxed();
    let request = front.request(Method::POST, "/").body(body).unwrap();
    let client = Client::builder(TokioExecutor::new()).build_http();
    let answer = tokio::spawn(client.request(request));
    chunks.send(Ok(Frame::data("begin".into()))).await.unwrap();
    // Only the head and the first chunk have been sent, and the replica has it all the same.
    front.until(|services| services[0]["in_flight"] == 1).await;
    while replica.requests() == 0 {
        tokio::task::yield_now().await;
    }
    chunks.send(Ok(Frame::data(" end".into()))).await.unwrap();
    drop(chunks);
    let answer = whole(answer.await.unwrap().unwrap()).await.unwrap();
    assert_eq!(&answer.body[..], b"POST / begin end");
}

#[tokio::test]
async fn http2_is_spoken_to_clients_and_to_grpc_replicas() {
    let front = Front::start(&[]).await;
    let replica = Replica::quick().await;
    front.list(&[replica.url()]);
    let client = Client::builder(TokioExecutor::new()).http2_only(true).build_http();
    for content_type in ["application/octet-stream", "application/grpc"] {
        let request = front
            .request(Method::POST, "/x")
            .version(Version::HTTP_2)
            .header("content-type", content_type)
            .header("te", "trailers");
        let request = request.body(Full::<Bytes>::from("body")).unwrap();
        let answer = whole(client.request(request).await.unwrap()).await.unwrap();
        assert_eq!((answer.status, &answer.body[..]), (200, &b"POST /x body"[..]));
        assert_eq!(answer.header("x-saw-te"), Some("trailers"));
    }
}

#[tokio::test]
async fn an_http2_client_sees_a_response_break_off_as_a_reset() {
    let front = Front::start(&[]).await;
    let faulty = Replica::faulty(Fault::DieMidChunks).await;
    front.list(&[faulty.url()]);
    let client = Client::builder(TokioExecutor::new()).http2_only(true).build_http();
    let request = front.request(Method::GET, "/").body(Full::<Bytes>::default()).unwrap();
    let response = client.request(request).await.unwrap();
    assert_eq!(response.status(), 200);
    assert!(response.into_body().collect().await.is_err());
}

#[tokio::test]
async fn a_response_that_stalls_is_given_up() {
    let front = Front::start(&["--stream-idle", "200ms"]).await;
    let (chunks, address) = stream_chunks().await;
    front.list(&[format!("http://{address}")]);
    chunks.send("the beginning").await.unwrap();
    let request = front.request(Method::GET, "/").body(Full::default()).unwrap();
    let response = crate::support::client().request(request).await.unwrap();
    assert!(response.into_body().collect().await.is_err());
    front.until(|services| services[0]["in_flight"] == 0).await;
}
