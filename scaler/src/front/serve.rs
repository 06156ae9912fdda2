//! Client connections: accepted, bounded, spoken to in HTTP/1.1 or HTTP/2 as they begin, and let finish on shutdown.

use std::{convert::Infallible, io, net::SocketAddr, sync::Arc, time::Duration};

use http::Request;
use hyper::{body::Incoming, service::service_fn};
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::{
        conn::auto,
        graceful::{GracefulShutdown, Watcher},
    },
};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Semaphore,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{config::Bounds, proxy::Proxy};

/// Out of file descriptors, most likely: trying again at once would only spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// At the end, what an accepted connection has already sent may still be on its way to us.
const LAST_WORDS: Duration = Duration::from_millis(100);
/// HTTP/2 streams of one connection. Each counts against the same hold queue.
const STREAMS_MAX: u32 = 1000;
const PING_INTERVAL: Duration = Duration::from_secs(20);

/// The connections of one listener.
pub(super) struct Server {
    proxy: Arc<Proxy>,
    http: auto::Builder<TokioExecutor>,
    head_timeout: Duration,
    free: Arc<Semaphore>,
    open: TaskTracker,
    graceful: GracefulShutdown,
    kill: CancellationToken,
}

impl Server {
    pub(super) fn new(proxy: Arc<Proxy>, bounds: &Bounds) -> Self {
        let mut http = auto::Builder::new(TokioExecutor::new());
        http.http1()
            .timer(TokioTimer::new())
            .header_read_timeout(bounds.head_timeout)
            .max_buf_size(bounds.head_bytes);
        http.http2()
            .timer(TokioTimer::new())
            .keep_alive_interval(PING_INTERVAL)
            .max_concurrent_streams(STREAMS_MAX)
            .max_header_list_size(u32::try_from(bounds.head_bytes).unwrap_or(u32::MAX));
        Self {
            proxy,
            http,
            head_timeout: bounds.head_timeout,
            free: Arc::new(Semaphore::new(bounds.connections)),
            open: TaskTracker::new(),
            graceful: GracefulShutdown::new(),
            kill: CancellationToken::new(),
        }
    }

    /// Accepts until `shutdown`. Past the bound, clients wait in the kernel's backlog.
    pub(super) async fn accept(&self, listener: TcpListener, shutdown: &CancellationToken) {
        while let Some(accepted) = shutdown.run_until_cancelled(self.next(&listener)).await {
            match accepted {
                Ok((stream, client, permit)) => {
                    let connection = self.connection(stream, client, shutdown.clone());
                    let kill = self.kill.clone();
                    self.open.spawn(async move {
                        kill.run_until_cancelled(connection).await;
                        drop(permit);
                    });
                }
                Err(error) => {
                    tracing::warn!(%error, "cannot accept a connection");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    /// Lets what is under way finish; true when it did in time.
    pub(super) async fn drain(self, timeout: Duration, stop: impl FnOnce()) -> bool {
        self.open.close();
        let finish = async {
            self.graceful.shutdown().await;
            self.open.wait().await;
        };
        tokio::pin!(finish);
        if tokio::time::timeout(timeout, &mut finish).await.is_ok() {
            return true;
        }
        // Whoever is still held gets an answer; whoever is in the middle of a response is cut.
        stop();
        let _ = tokio::time::timeout(Duration::from_secs(1), finish).await;
        self.kill.cancel();
        false
    }

    async fn next(
        &self,
        listener: &TcpListener,
    ) -> io::Result<(TcpStream, SocketAddr, tokio::sync::OwnedSemaphorePermit)> {
        let permit = Arc::clone(&self.free).acquire_owned().await.map_err(io::Error::other)?;
        let (stream, client) = listener.accept().await?;
        Ok((stream, client, permit))
    }

    fn connection(
        &self,
        stream: TcpStream,
        client: SocketAddr,
        shutdown: CancellationToken,
    ) -> impl Future<Output = ()> + use<> {
        let (http, proxy) = (self.http.clone(), Arc::clone(&self.proxy));
        let (watcher, head_timeout) = (self.graceful.watcher(), self.head_timeout);
        async move {
            let _ = stream.set_nodelay(true);
            // hyper's timeout for a request's head starts only when the first byte has told the HTTP version.
            let mut first = [0];
            let begins = tokio::time::timeout(head_timeout, stream.peek(&mut first));
            let stops = async {
                shutdown.cancelled().await;
                tokio::time::sleep(LAST_WORDS).await;
            };
            let began = tokio::select! {
                begun = begins => matches!(begun, Ok(Ok(1))),
                () = stops => false,
            };
            if began {
                speak(http, proxy, stream, (client, watcher)).await;
            }
        }
    }
}

async fn speak(
    http: auto::Builder<TokioExecutor>,
    proxy: Arc<Proxy>,
    stream: TcpStream,
    (client, watcher): (SocketAddr, Watcher),
) {
    let service = service_fn(move |request: Request<Incoming>| {
        let proxy = Arc::clone(&proxy);
        async move { Ok::<_, Infallible>(proxy.answer(request, client.ip()).await) }
    });
    let connection = http.serve_connection(TokioIo::new(stream), service).into_owned();
    if let Err(error) = watcher.watch(connection).await {
        tracing::debug!(%error, %client, "the connection ended early");
    }
}
