//! One HTTP/1.1 request to one of our own ports on loopback, bounded in time and size. Not for load: each call connects.

use std::{net::SocketAddr, time::Duration};

use bytes::Bytes;
use http::{Method, Request, StatusCode, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::{net::TcpStream, time::timeout};

const TIMEOUT: Duration = Duration::from_secs(30);
const BODY_BYTES_MAX: usize = 16 << 20;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CallError {
    /// No connection.
    #[error("cannot connect to {0}: {1}")]
    Connect(SocketAddr, std::io::Error),
    /// The request cannot be put in words, such as a path with a space.
    #[error(transparent)]
    Request(#[from] http::Error),
    /// The exchange broke.
    #[error(transparent)]
    Exchange(#[from] hyper::Error),
    /// The body broke off, or is too long.
    #[error("the answer's body: {0}")]
    Body(Box<dyn std::error::Error + Send + Sync>),
    /// Nothing came in time.
    #[error("no answer from {0} within 30 s")]
    TimedOut(SocketAddr),
}

/// `GET`.
pub(crate) async fn get(address: SocketAddr, path: &str) -> Result<(StatusCode, Bytes), CallError> {
    send(address, request(address, Method::GET, path, Bytes::new())?).await
}

/// `POST` of raw bytes.
pub(crate) async fn post(
    address: SocketAddr,
    path: &str,
    body: Bytes,
) -> Result<(StatusCode, Bytes), CallError> {
    send(address, request(address, Method::POST, path, body)?).await
}

fn request(
    address: SocketAddr,
    method: Method,
    path: &str,
    body: Bytes,
) -> Result<Request<Full<Bytes>>, http::Error> {
    Request::builder()
        .method(method)
        .uri(path)
        .header(header::HOST, address.to_string())
        .body(Full::new(body))
}

async fn send(
    address: SocketAddr,
    request: Request<Full<Bytes>>,
) -> Result<(StatusCode, Bytes), CallError> {
    let exchange = async {
        let stream =
            TcpStream::connect(address).await.map_err(|e| CallError::Connect(address, e))?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        let answer = async {
            let response = sender.send_request(request).await?;
            let status = response.status();
            let body = Limited::new(response.into_body(), BODY_BYTES_MAX).collect().await;
            drop(sender);
            Ok((status, body.map_err(CallError::Body)?.to_bytes()))
        };
        // The connection must be polled for the answer to arrive; its own end says nothing more than the answer does.
        tokio::join!(answer, connection).0
    };
    timeout(TIMEOUT, exchange).await.unwrap_or(Err(CallError::TimedOut(address)))
}
