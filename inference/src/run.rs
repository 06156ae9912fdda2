//! The life of the service: open the models, serve, warm up, be ready, drain, end.

use std::{sync::Arc, time::Duration};

use futures::{StreamExt, stream::FuturesUnordered};
use tokio::{
    sync::{oneshot, watch},
    task::JoinSet,
    time::timeout,
};
use tokio_util::sync::CancellationToken;

use crate::{
    Config, Listeners,
    accept::Connections,
    grpc, http,
    metrics::Metrics,
    model::{Model, Registry},
    service::{Service, State},
    start::{End, Opened, StartError},
};

/// Why the service ended other than by being told to.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A model cannot be served.
    #[error(transparent)]
    Start(#[from] StartError),
    /// A model stopped working; a restart loads it anew.
    #[error("model {name} is broken: {reason}")]
    Broken {
        /// The model.
        name: String,
        /// What the engine said last.
        reason: String,
    },
    /// A port stopped working.
    #[error("the {port} port failed: {reason}")]
    Port {
        /// `http` or `grpc`.
        port: &'static str,
        /// Why.
        reason: String,
    },
    /// Requests were cut off at the end of the drain timeout.
    #[error("requests were still running {after:?} after the shutdown began")]
    Drain {
        /// The drain timeout.
        after: Duration,
    },
}

impl Error {
    /// A word for logs and metrics.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Start(_) => "start",
            Self::Broken { .. } => "broken",
            Self::Port { .. } => "port",
            Self::Drain { .. } => "drain",
        }
    }
}

/// Serves until `shutdown`. Both ports are served from when the models' files are open; the service
/// is ready from when each model has answered once. A model that cannot be opened ends it before
/// anything is served.
pub async fn run(
    config: Config,
    listeners: Listeners,
    shutdown: CancellationToken,
) -> Result<(), Error> {
    let config = Arc::new(config);
    match unless(&shutdown, open_all(Arc::clone(&config))).await.transpose()? {
        Some(opened) => serve_models(config, opened, listeners, shutdown).await,
        None => Ok(()),
    }
}

async fn serve_models(
    config: Arc<Config>,
    opened: Vec<Opened>,
    listeners: Listeners,
    shutdown: CancellationToken,
) -> Result<(), Error> {
    let metrics = Arc::new(Metrics::new());
    let (state, watched) = watch::channel(State::Warming);
    let service = Arc::new(Service::new(&config, watched, Arc::clone(&metrics)));
    let closing = CancellationToken::new();
    let mut ports = serve(&config, listeners, service, &closing);
    let warming = start_all(Arc::clone(&config), opened, metrics);
    let mut endings = FuturesUnordered::new();
    let outcome = match unless(&shutdown, warming).await.transpose() {
        Ok(Some((models, ends))) => {
            endings.extend(ends.into_iter().map(Ending::reason));
            let models = Arc::new(Registry::new(models));
            state.send_replace(State::Ready(Arc::clone(&models)));
            let outcome = serve_until(&shutdown, &mut ports, &mut endings).await;
            state.send_replace(State::Draining(models));
            outcome
        }
        Ok(None) => Ok(()),
        Err(error) => Err(error.into()),
    };
    closing.cancel();
    let drained = timeout(config.drain_timeout.0, drain(ports, &state, endings)).await;
    outcome.and(drained.unwrap_or(Err(Error::Drain { after: config.drain_timeout.0 })))
}

/// `work`'s result, or `None` when the shutdown came first. Blocking work runs on to its end all
/// the same.
async fn unless<T>(shutdown: &CancellationToken, work: impl Future<Output = T>) -> Option<T> {
    shutdown.run_until_cancelled(work).await
}

async fn open_all(config: Arc<Config>) -> Result<Vec<Opened>, StartError> {
    blocking(move || config.models.iter().map(|spec| Opened::open(spec, &config)).collect()).await
}

/// Warms one model after the other: each takes all the cores that it may have.
async fn start_all(
    config: Arc<Config>,
    opened: Vec<Opened>,
    metrics: Arc<Metrics>,
) -> Result<(Vec<Model>, Vec<Ending>), StartError> {
    let start = move |opened: Opened| {
        let (model, end) = opened.start(&config, &metrics)?;
        let ending = Ending { name: model.labels.model.clone(), end };
        Ok((model, ending))
    };
    blocking(move || opened.into_iter().map(start).collect()).await
}

/// A panic in `work` goes on here.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    match tokio::task::spawn_blocking(work).await {
        Ok(outcome) => outcome,
        Err(error) => std::panic::resume_unwind(error.into_panic()),
    }
}

fn serve(
    config: &Config,
    listeners: Listeners,
    service: Arc<Service>,
    closing: &CancellationToken,
) -> JoinSet<Result<(), Error>> {
    let mut ports = JoinSet::new();
    let [http, grpc] = [listeners.http, listeners.grpc]
        .map(|listener| Connections::new(listener, config.max_connections));
    let (router, on_http) = (http::router(Arc::clone(&service)), closing.clone());
    ports.spawn(async move {
        http::serve(http, router, on_http).await;
        Ok(())
    });
    let on_grpc = closing.clone();
    ports.spawn(async move {
        let served = grpc::serve(grpc, service, on_grpc).await;
        served.map_err(|error| Error::Port { port: "grpc", reason: error.to_string() })
    });
    ports
}

/// A model's thread, for the day on which it ends before it should.
struct Ending {
    name: String,
    end: End,
}

impl Ending {
    async fn reason(self) -> Error {
        let reason = match self.end.await {
            Ok(Ok(())) => "its queue closed".to_owned(),
            Ok(Err(error)) => error.to_string(),
            Err(oneshot::error::RecvError { .. }) => "its thread panicked".to_owned(),
        };
        Error::Broken { name: self.name, reason }
    }
}

async fn serve_until(
    shutdown: &CancellationToken,
    ports: &mut JoinSet<Result<(), Error>>,
    endings: &mut FuturesUnordered<impl Future<Output = Error>>,
) -> Result<(), Error> {
    tokio::select! {
        () = shutdown.cancelled() => Ok(()),
        Some(broken) = endings.next() => Err(broken),
        Some(ended) = ports.join_next() => {
            ended.unwrap_or_else(|panic| {
                Err(Error::Port { port: "http or grpc", reason: panic.to_string() })
            })
        }
    }
}

/// Waits until both ports have answered what they took, then until the models' sessions are closed:
/// one that is still open when the process exits may take it down with a fault.
async fn drain(
    mut ports: JoinSet<Result<(), Error>>,
    state: &watch::Sender<State>,
    mut endings: FuturesUnordered<impl Future<Output = Error>>,
) -> Result<(), Error> {
    while let Some(ended) = ports.join_next().await {
        ended.unwrap_or(Ok(()))?;
    }
    // Nobody can send the models anything any more, which ends their threads.
    state.send_replace(State::Stopped);
    while endings.next().await.is_some() {}
    Ok(())
}

#[cfg(test)]
mod tests;
