//! Accepts HTTP/1.1 connections, a bounded number of them, and lets the open ones finish at the
//! end.

use std::{convert::Infallible, sync::Arc, time::Duration};

use axum::{Router, body::Body, extract::Request};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    server::graceful::GracefulShutdown,
};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Semaphore,
};
use tokio_util::sync::CancellationToken;
use tower::ServiceExt as _;

/// A client that does not finish a request's head within this is cut off; idle connections are
/// closed by it too.
const HEAD_TIMEOUT: Duration = Duration::from_secs(75);
/// Pause after an accept that failed, for the process may have no file descriptors left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Serves until `shutdown`, then until the open requests are answered.
pub(crate) async fn serve(
    listener: TcpListener,
    router: Router,
    connections_max: usize,
    shutdown: CancellationToken,
) {
    let connections = Arc::new(Semaphore::new(connections_max));
    let graceful = GracefulShutdown::new();
    let accept = async || {
        // The listener's own backlog holds whoever is beyond the limit.
        let permit = Arc::clone(&connections).acquire_owned().await.ok()?;
        let (stream, _) = listener.accept().await.ok()?;
        Some((stream, permit))
    };
    loop {
        let accepted = tokio::select! {
            accepted = accept() => accepted,
            () = shutdown.cancelled() => break,
        };
        let Some((stream, permit)) = accepted else {
            tokio::time::sleep(ACCEPT_PAUSE).await;
            continue;
        };
        let connection = graceful.watch(connect(stream, router.clone()));
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "connection ended early");
            }
            drop(permit);
        });
    }
    drop(listener);
    graceful.shutdown().await;
}

fn connect(
    stream: TcpStream,
    router: Router,
) -> http1::Connection<
    TokioIo<TcpStream>,
    impl hyper::service::Service<
        Request<Incoming>,
        Response = axum::response::Response,
        Error = Infallible,
        Future: Send,
    >,
> {
    // Answers are small and single; waiting to fill a packet only delays them.
    let _ = stream.set_nodelay(true);
    let call = move |request: Request<Incoming>| router.clone().oneshot(request.map(Body::new));
    http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .serve_connection(TokioIo::new(stream), service_fn(call))
}
