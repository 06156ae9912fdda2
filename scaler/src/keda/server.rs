//! The ports of the scaler, and the order in which they close.

use std::{io, sync::Arc, time::Duration};

use futures::{FutureExt, Stream, StreamExt, future::ready};
use prometheus_client::registry::Registry;
use spotscale_proto::{
    demand::demand_server::DemandServer,
    externalscaler::external_scaler_server::ExternalScalerServer,
};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::watch,
    task::JoinSet,
    time::{sleep, timeout},
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};
use tokio_stream::wrappers::TcpListenerStream;
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};
use tonic::transport::server::{Router, Server, TcpIncoming};
use tonic_health::ServingStatus;

use super::{
    board::Board,
    clock::Clock,
    config::{Config, ConfigError, Listeners},
    demand::DemandService,
    gauges::Gauges,
    metrics::Metrics,
    service::Scaler,
    signals::{Readings, Refresher},
    status,
    streams::Streams,
    tls::{Current, Reloader, TlsError},
};
use crate::admin::{self, Admin};

/// KEDA's client sends no keepalive: without ours, a vanished node leaves a stream that nobody misses.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(20);
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(10);

/// From "not serving" to the end of the streams, so that whoever watches our health knows first.
const NOTICE: Duration = Duration::from_millis(100);

/// A trigger's metadata is small; a larger message is not KEDA's.
const MESSAGE_BYTES_MAX: usize = 256 * 1024;

/// A TLS handshake may take so long, and so many may be under way.
const HANDSHAKE_MAX: Duration = Duration::from_secs(10);
const HANDSHAKES: usize = 256;

/// Why the scaler could not go on.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The settings cannot work.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The certificate cannot be used.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The gRPC or health port failed.
    #[error("gRPC server: {0}")]
    Grpc(#[from] tonic::transport::Error),
    /// The admin port failed.
    #[error("admin server: {0}")]
    Admin(#[from] io::Error),
    /// A server ended though nobody asked it to.
    #[error("a server ended by itself")]
    Ended,
    /// A server panicked.
    #[error("a server failed: {0}")]
    Panic(#[from] tokio::task::JoinError),
}

/// The tokens that end the parts, in this order; all of them when the scaler is dropped.
#[derive(Default)]
struct Ends {
    streams: CancellationToken,
    grpc: CancellationToken,
    rest: CancellationToken,
}

/// What the ports serve.
struct Parts {
    board: Arc<Board>,
    streams: Arc<Streams>,
    metrics: Arc<Metrics>,
    registry: Arc<Registry>,
    refresher: Option<Refresher>,
    reloader: Option<Reloader>,
}

/// Serves until `shutdown`, then closes: health says "not serving", streams end with OK, running calls finish.
pub async fn run(
    config: Config,
    listeners: Listeners,
    shutdown: CancellationToken,
) -> Result<(), Error> {
    let ends = Ends::default();
    let parts = Parts::new(&config, &ends)?;
    let (readiness, ready) = watch::channel(Ok(()));
    let (health, health_service) = tonic_health::server::health_reporter();
    health.set_service_status("", ServingStatus::Serving).await;
    let tls = parts.reloader.as_ref().map(Reloader::current);

    let mut rest = JoinSet::new();
    let grpc = parts.grpc(config.limits.stream_age_max.0);
    let grpc = serve_grpc(grpc, listeners.grpc, tls, ends.grpc.clone());
    let mut grpc = AbortOnDropHandle::new(tokio::spawn(grpc));
    let health_port = Server::builder().add_service(health_service);
    rest.spawn(serve_grpc(health_port, listeners.health, None, ends.rest.clone()));
    let admin = Admin { ready, registry: parts.registry.clone() };
    let admin = admin.router().merge(status::routes(parts.board.clone()));
    let end = ends.rest.clone();
    rest.spawn(async move { Ok(admin::serve(listeners.admin, admin, end).await?) });
    parts.background(&mut rest, &ends.rest);

    tokio::select! {
        () = shutdown.cancelled() => {}
        ended = &mut grpc => return ended?.and(Err(Error::Ended)),
        Some(ended) = rest.join_next() => return ended?.and(Err(Error::Ended)),
    }
    let _ = readiness.send(Err("draining"));
    health.set_service_status("", ServingStatus::NotServing).await;
    sleep(NOTICE).await;
    ends.streams.cancel();
    ends.grpc.cancel();
    let drained = timeout(config.drain_timeout.0, grpc).await;
    drained.unwrap_or_else(|_| {
        tracing::warn!(drain_timeout = %config.drain_timeout, "connections still open are cut");
        Ok(Ok(()))
    })?
}

impl Parts {
    fn new(config: &Config, ends: &Ends) -> Result<Self, Error> {
        let mut registry = Registry::default();
        let metrics = Arc::new(Metrics::new(&mut registry));
        let (clock, readings) = (Clock::new(), Arc::new(Readings::default()));
        let refresher =
            Refresher::new(&config.prometheus, clock, readings.clone(), metrics.clone())?;
        let queries = config.prometheus.named();
        let limits = config.limits.clone();
        let streams = Streams::new(&limits, ends.streams.clone(), metrics.clone());
        let board = Arc::new(Board::new(limits, queries, readings, clock, metrics.clone()));
        registry.register_collector(Box::new(Gauges(board.clone())));
        Ok(Self {
            board,
            streams: Arc::new(streams),
            metrics,
            registry: Arc::new(registry),
            refresher,
            reloader: config.tls.load()?,
        })
    }

    /// The main port. No limit on concurrent streams: KEDA shares one connection for the streams and the calls of all
    /// ScaledObjects, so such a limit would block the calls. And no grace to the connection's age: with it, tonic 0.14
    /// cuts connections instead of closing them, while streams that end by themselves need none.
    fn grpc(&self, connection_age_max: Duration) -> Router {
        let Self { board, streams, metrics, .. } = self;
        let scaler =
            Scaler { board: board.clone(), streams: streams.clone(), metrics: metrics.clone() };
        let demand = DemandService {
            board: board.clone(),
            streams: streams.clone(),
            metrics: metrics.clone(),
        };
        let scaler = ExternalScalerServer::new(scaler).max_decoding_message_size(MESSAGE_BYTES_MAX);
        Server::builder()
            .http2_keepalive_interval(Some(KEEPALIVE_INTERVAL))
            .http2_keepalive_timeout(Some(KEEPALIVE_TIMEOUT))
            .max_connection_age(connection_age_max)
            .add_service(scaler)
            .add_service(DemandServer::new(demand))
    }

    fn background(self, tasks: &mut JoinSet<Result<(), Error>>, end: &CancellationToken) {
        let Self { board, metrics, refresher, reloader, .. } = self;
        let until = end.clone();
        tasks.spawn(async move { board.run(until).await }.map(Ok));
        if let Some(refresher) = refresher {
            tasks.spawn(refresher.run(end.clone()).map(Ok));
        }
        if let Some(reloader) = reloader {
            tasks.spawn(reloader.run(metrics, end.clone()).map(Ok));
        }
    }
}

impl Drop for Ends {
    fn drop(&mut self) {
        for token in [&self.streams, &self.grpc, &self.rest] {
            token.cancel();
        }
    }
}

async fn serve_grpc(
    router: Router,
    listener: TcpListener,
    tls: Option<Current>,
    end: CancellationToken,
) -> Result<(), Error> {
    let end = end.cancelled_owned();
    match tls {
        None => {
            let incoming = TcpIncoming::from(listener).with_nodelay(Some(true));
            router.serve_with_incoming_shutdown(incoming, end).await?;
        }
        Some(tls) => {
            router.serve_with_incoming_shutdown(handshakes(listener, tls), end).await?;
        }
    }
    Ok(())
}

/// Connections whose handshake has succeeded, each with the certificate of its own moment. A slow or failing client
/// delays no other.
fn handshakes(
    listener: TcpListener,
    tls: Current,
) -> impl Stream<Item = io::Result<TlsStream<TcpStream>>> {
    let shake = move |tcp: io::Result<TcpStream>| {
        let acceptor = TlsAcceptor::from(tls.borrow().clone());
        async move {
            let tcp = tcp?;
            tcp.set_nodelay(true)?;
            timeout(HANDSHAKE_MAX, acceptor.accept(tcp)).await?
        }
    };
    let accepted = TcpListenerStream::new(listener).map(shake).buffer_unordered(HANDSHAKES);
    accepted.filter_map(|accepted| {
        let done = accepted.inspect_err(|error| tracing::info!(%error, "TLS handshake failed"));
        ready(done.ok().map(Ok))
    })
}
