//! Replicas: one that serves, and one that breaks in a chosen way at the level of the socket.

use std::{
    convert::Infallible,
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use futures::StreamExt;
use http::{Request, Response};
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::{
    body::{Frame, Incoming},
    service::service_fn,
};
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::{Semaphore, mpsc},
};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;

/// A replica and what it has seen.
pub(crate) struct Replica {
    pub(crate) address: SocketAddr,
    pub(crate) seen: Arc<Seen>,
    dead: CancellationToken,
}

/// Counts of requests other than probes.
#[derive(Default)]
pub(crate) struct Seen {
    pub(crate) requests: AtomicUsize,
    paths: Mutex<Vec<String>>,
    now: AtomicUsize,
    at_once_max: AtomicUsize,
}

/// How a broken replica treats a request.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Fault {
    /// Closes the connection after it has read the head.
    CloseBeforeResponse,
    /// Closes in the middle of a body of known length.
    DieMidBody,
    /// Closes in the middle of a chunked body.
    DieMidChunks,
    /// Never answers.
    Hang,
    /// Answers something else than HTTP.
    Garbage,
    /// Sends a body that only the end of the connection ends.
    Unframed,
}

impl Replica {
    /// Answers with what it was asked: `METHOD path body`, after it got a permit.
    pub(crate) async fn echo(permits: Arc<Semaphore>) -> Self {
        Self::at("127.0.0.1:0".parse().unwrap(), permits).await
    }

    /// Answers at once.
    pub(crate) async fn quick() -> Self {
        Self::echo(Arc::new(Semaphore::new(Semaphore::MAX_PERMITS))).await
    }

    pub(crate) async fn at(address: SocketAddr, permits: Arc<Semaphore>) -> Self {
        let (listener, replica) = Self::bind(address).await;
        let (seen, dead) = (Arc::clone(&replica.seen), replica.dead.clone());
        tokio::spawn(replica.dead.clone().run_until_cancelled_owned(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (seen, permits) = (Arc::clone(&seen), Arc::clone(&permits));
                let service = service_fn(move |request| {
                    echo(request, Arc::clone(&seen), Arc::clone(&permits))
                });
                let serving = async move {
                    let http = auto::Builder::new(TokioExecutor::new());
                    let _ = http.serve_connection(TokioIo::new(stream), service).await;
                };
                tokio::spawn(dead.clone().run_until_cancelled_owned(serving));
            }
        }));
        replica
    }

    /// Answers probes, and everything else with a fault.
    pub(crate) async fn faulty(fault: Fault) -> Self {
        let (listener, replica) = Self::bind("127.0.0.1:0".parse().unwrap()).await;
        let seen = Arc::clone(&replica.seen);
        tokio::spawn(replica.dead.clone().run_until_cancelled_owned(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(misbehave(stream, fault, Arc::clone(&seen)));
            }
        }));
        replica
    }

    /// Dies as by SIGKILL: nothing listens any more, and all connections break.
    pub(crate) fn kill(&self) {
        self.dead.cancel();
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub(crate) fn with(&self, attributes: &str) -> String {
        format!("{} {attributes}", self.url())
    }

    pub(crate) fn requests(&self) -> usize {
        self.seen.requests.load(Ordering::SeqCst)
    }

    /// In the order of their arrival.
    pub(crate) fn paths(&self) -> Vec<String> {
        self.seen.paths.lock().unwrap().clone()
    }

    pub(crate) fn at_once_max(&self) -> usize {
        self.seen.at_once_max.load(Ordering::SeqCst)
    }

    async fn bind(address: SocketAddr) -> (TcpListener, Self) {
        let listener = TcpListener::bind(address).await.unwrap();
        let address = listener.local_addr().unwrap();
        let (seen, dead) = (Arc::default(), CancellationToken::new());
        (listener, Self { address, seen, dead })
    }
}

impl Drop for Replica {
    fn drop(&mut self) {
        self.kill();
    }
}

async fn echo(
    request: Request<Incoming>,
    seen: Arc<Seen>,
    permits: Arc<Semaphore>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    if request.uri().path() == "/readyz" {
        return Ok(Response::default());
    }
    seen.requests.fetch_add(1, Ordering::SeqCst);
    seen.paths.lock().unwrap().push(request.uri().path().to_owned());
    let now = seen.now.fetch_add(1, Ordering::SeqCst) + 1;
    seen.at_once_max.fetch_max(now, Ordering::SeqCst);
    let (head, body) = request.into_parts();
    let body = body.collect().await.map(http_body_util::Collected::to_bytes).unwrap_or_default();
    permits.acquire().await.unwrap().forget();
    // Long enough that requests which overlap are seen to.
    tokio::time::sleep(Duration::from_millis(1)).await;
    let said = format!("{} {} {}", head.method, head.uri.path(), String::from_utf8_lossy(&body));
    let mut response = Response::new(Full::new(said.into()));
    for (name, value) in &head.headers {
        let name = format!("x-saw-{name}").parse::<http::HeaderName>().unwrap();
        response.headers_mut().insert(name, value.clone());
    }
    seen.now.fetch_sub(1, Ordering::SeqCst);
    Ok(response)
}

async fn misbehave(mut stream: TcpStream, fault: Fault, seen: Arc<Seen>) -> std::io::Result<()> {
    let head = read_head(&mut stream).await?;
    if head.starts_with("GET /readyz") {
        let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
        return stream.write_all(answer).await;
    }
    seen.requests.fetch_add(1, Ordering::SeqCst);
    let answer: &[u8] = match fault {
        Fault::CloseBeforeResponse => b"",
        Fault::DieMidBody => b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\nonly the beginning",
        Fault::DieMidChunks => b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nthe\r\n",
        Fault::Hang => return std::future::pending().await,
        Fault::Garbage => b"SSH-2.0-OpenSSH_9.9\r\n\r\n",
        Fault::Unframed => b"HTTP/1.1 200 OK\r\n\r\nno telling where this ends",
    };
    stream.write_all(answer).await
}

async fn read_head(stream: &mut TcpStream) -> std::io::Result<String> {
    let mut head = Vec::new();
    while !head.windows(4).any(|window| window == b"\r\n\r\n") {
        if stream.read_buf(&mut head).await? == 0 {
            break;
        }
    }
    Ok(String::from_utf8_lossy(&head).into_owned())
}

/// An HTTP/2 server that answers probes and refuses every other stream.
pub(crate) async fn refuse_streams() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut connection = h2::server::handshake(stream).await.unwrap();
                while let Some(Ok((request, mut answer))) = connection.accept().await {
                    if request.uri().path() == "/readyz" {
                        answer.send_response(Response::new(()), true).unwrap();
                    } else {
                        answer.send_reset(h2::Reason::REFUSED_STREAM);
                    }
                }
            });
        }
    });
    address
}

/// A replica whose one response is made of what is sent to it, and ends with its sender.
pub(crate) async fn stream_chunks() -> (mpsc::Sender<&'static str>, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (sender, chunks) = mpsc::channel::<&'static str>(1);
    let chunks = Arc::new(Mutex::new(Some(chunks)));
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let chunks = Arc::clone(&chunks);
            let service = service_fn(move |request: Request<Incoming>| {
                let is_probe = request.uri().path() == "/readyz";
                let chunks = if is_probe { None } else { chunks.lock().unwrap().take() };
                let body = match chunks {
                    Some(chunks) => {
                        let frame = |said| Ok::<_, Infallible>(Frame::data(Bytes::from(said)));
                        BodyExt::boxed(StreamBody::new(ReceiverStream::new(chunks).map(frame)))
                    }
                    None => BodyExt::boxed(Full::new(Bytes::from("ok"))),
                };
                std::future::ready(Ok::<_, Infallible>(Response::new(body)))
            });
            let http = auto::Builder::new(TokioExecutor::new());
            tokio::spawn(async move {
                let _ = http.serve_connection(TokioIo::new(stream), service).await;
            });
        }
    });
    (sender, address)
}
