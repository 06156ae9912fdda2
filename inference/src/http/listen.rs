//! Serves HTTP/1.1 connections, and lets the open ones finish at the end.

use std::{convert::Infallible, time::Duration};

use axum::{Router, extract::Request};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    server::graceful::GracefulShutdown,
};
use tokio_util::sync::CancellationToken;

use super::unread;
use crate::accept::{Connection, Connections};

/// A client that does not finish a request's head within this is cut off; idle connections are
/// closed by it too.
const HEAD_TIMEOUT: Duration = Duration::from_secs(75);

/// Serves until `shutdown`, then until the open requests are answered.
pub(crate) async fn serve(connections: Connections, router: Router, shutdown: CancellationToken) {
    let graceful = GracefulShutdown::new();
    while let Some(connection) = shutdown.run_until_cancelled(connections.next()).await {
        let connection = graceful.watch(connect(connection, router.clone()));
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "connection ended early");
            }
        });
    }
    drop(connections);
    graceful.shutdown().await;
}

fn connect(
    connection: Connection,
    router: Router,
) -> http1::Connection<
    TokioIo<Connection>,
    impl hyper::service::Service<
        Request<Incoming>,
        Response = axum::response::Response,
        Error = Infallible,
        Future: Send,
    >,
> {
    let call = move |request: Request<Incoming>| unread::answer(router.clone(), request);
    http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .serve_connection(TokioIo::new(connection), service_fn(call))
}
