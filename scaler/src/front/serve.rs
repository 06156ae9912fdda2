//! Client connections: accepted, bounded, spoken to in HTTP/1.1 or HTTP/2 as they begin, and let finish on shutdown.

use std::{convert::Infallible, io, net::SocketAddr, sync::Arc, time::Duration};

use http::{HeaderValue, Request, Response, Version, header::CONNECTION};
use hyper::{
    body::Incoming,
    service::{Service, service_fn},
};
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::conn::auto,
};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Semaphore,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{
    activity::{Activity, Heads, Tracked},
    config::Bounds,
    proxy::{Proxy, ProxyBody},
};

/// Out of file descriptors, most likely: trying again at once would only spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// At the end, what a client has already sent on an idle connection may still be on its way to us.
const LAST_WORDS: Duration = Duration::from_millis(100);
/// HTTP/2 streams of one connection. Each counts against the same hold queue.
const STREAMS_MAX: u32 = 1000;
const PING_INTERVAL: Duration = Duration::from_secs(20);

/// The connections of one listener.
pub(super) struct Server {
    proxy: Arc<Proxy>,
    http: auto::Builder<TokioExecutor>,
    head_timeout: Duration,
    client_idle: Duration,
    free: Arc<Semaphore>,
    open: TaskTracker,
    /// Cancelled from when the front is not ready any more.
    leaving: CancellationToken,
    kill: CancellationToken,
}

impl Server {
    /// From `leaving` on, clients are asked to connect elsewhere.
    pub(super) fn new(proxy: Arc<Proxy>, bounds: &Bounds, leaving: CancellationToken) -> Self {
        let mut http = auto::Builder::new(TokioExecutor::new());
        // Its timeout for heads runs while a connection idles, too: ours are told apart by `activity`.
        http.http1()
            .timer(TokioTimer::new())
            .header_read_timeout(None)
            .max_buf_size(bounds.head_bytes);
        http.http2()
            .timer(TokioTimer::new())
            .keep_alive_interval(PING_INTERVAL)
            .max_concurrent_streams(STREAMS_MAX)
            .max_header_list_size(u32::try_from(bounds.head_bytes).unwrap_or(u32::MAX));
        Self {
            proxy,
            http,
            head_timeout: bounds.head_timeout.0,
            client_idle: bounds.client_idle.0,
            free: Arc::new(Semaphore::new(bounds.connections)),
            open: TaskTracker::new(),
            leaving,
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

    /// Lets what is under way at the end of `accept` finish; true when it did in time.
    pub(super) async fn drain(self, timeout: Duration, stop: impl FnOnce()) -> bool {
        self.open.close();
        let finish = self.open.wait();
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
        let Self { head_timeout, client_idle, .. } = *self;
        let (http, activity) = (self.http.clone(), Activity::new());
        let service = self.service(client, &activity);
        async move {
            let _ = stream.set_nodelay(true);
            let (read, write) = stream.into_split();
            let read = Heads::new(read, Arc::clone(&activity), head_timeout);
            let stream = TokioIo::new(tokio::io::join(read, write));
            let connection = http.serve_connection(stream, service).into_owned();
            tokio::pin!(connection);
            let stops = async {
                shutdown.cancelled().await;
                tokio::time::sleep(LAST_WORDS).await;
            };
            let is_over = async {
                tokio::select! {
                    () = stops => {}
                    () = activity.idle(client_idle) => {}
                }
            };
            let ended = tokio::select! {
                ended = &mut connection => ended,
                () = is_over => {
                    connection.as_mut().graceful_shutdown();
                    connection.await
                }
            };
            if let Err(error) = ended {
                tracing::debug!(%error, %client, "the connection ended early");
            }
        }
    }

    fn service(
        &self,
        client: SocketAddr,
        activity: &Arc<Activity>,
    ) -> impl Service<
        Request<Incoming>,
        Response = Response<Tracked<ProxyBody>>,
        Error = Infallible,
        Future: Send,
    > + use<> {
        let (proxy, leaving) = (Arc::clone(&self.proxy), self.leaving.clone());
        let activity = Arc::clone(activity);
        service_fn(move |request: Request<Incoming>| {
            let (proxy, leaving) = (Arc::clone(&proxy), leaving.clone());
            let under_way = activity.request();
            async move {
                let is_http1 = request.version() < Version::HTTP_2;
                let (mut response, is_read) = proxy.answer(request, client.ip()).await;
                // Whoever pools connections drops this one by itself, instead of losing a request on it later.
                if is_http1 && (!is_read || leaving.is_cancelled()) {
                    response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
                }
                Ok(response.map(|body| Tracked { body, _under_way: under_way }))
            }
        })
    }
}
