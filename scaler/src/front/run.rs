//! Puts the front together, runs it, and takes it apart again in the order that loses nothing.

use std::{collections::HashSet, sync::Arc, time::Duration};

use axum::{Json, Router, routing::get};
use prometheus_client::registry::Registry;
use spotscale_decide::{admission::Limits, units::Requests};
use tokio::sync::{mpsc, watch};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{
    config::{Config, Listeners},
    demand::{Reporter, parse_scaler},
    endpoint::Endpoint,
    metrics::{self, Metrics},
    probe::{self, Probe},
    proxy::Proxy,
    replay::BodyLimits,
    serve::Server,
    service::{Links, Service, Settings},
    source::{self, SourceError},
    upstream::{Connections, Upstream},
};
use crate::admin::{self, Admin};

/// Between not being ready and taking no more connections: whoever watches `/readyz` is to know first.
const NOTICE: Duration = Duration::from_millis(100);

/// What ends a front that was not told to stop.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The list of endpoints cannot be had.
    #[error(transparent)]
    Source(#[from] SourceError),
}

/// Runs a front on the endpoints that its flags name, until `shutdown` and the end of what is under way.
pub async fn run(
    config: Config,
    listeners: Listeners,
    shutdown: CancellationToken,
) -> Result<(), Error> {
    let (sender, endpoints) = watch::channel(source::initial(&config)?);
    let stop = CancellationToken::new();
    let watching = config
        .upstreams_file
        .is_some()
        .then(|| tokio::spawn(source::watch_file(config.clone(), sender, stop.clone())));
    let outcome = run_with_endpoints(config, listeners, endpoints, shutdown).await;
    stop.cancel();
    if let Some(watching) = watching {
        let _ = watching.await;
    }
    outcome
}

/// Runs a front on endpoints that another part of the process knows, until `shutdown` and the end of what is under way.
pub async fn run_with_endpoints(
    config: Config,
    listeners: Listeners,
    endpoints: watch::Receiver<Vec<Endpoint>>,
    shutdown: CancellationToken,
) -> Result<(), Error> {
    // Outlives `shutdown`: what is held still needs its endpoints, and the scalers still need to know of it.
    let background = CancellationToken::new();
    let _guard = background.clone().drop_guard();
    let tasks = TaskTracker::new();
    let mut registry = Registry::default();
    let metrics = Metrics::register(&mut registry);
    let (changed, news) = watch::channel(());
    let start = |name: &str| {
        let (to_probe, probes) = mpsc::unbounded_channel();
        let links = Links { to_probe, changed: changed.clone(), metrics: Arc::clone(&metrics) };
        let service = Service::new(settings(&config, name), links);
        let probe = Probe {
            path: config.endpoints.ready_path.clone(),
            pause_max: config.endpoints.probe_interval,
        };
        tasks.spawn(probe::run(Arc::clone(&service), probes, probe, background.clone()));
        service
    };
    let proxy = Arc::new(proxy(&config, &metrics, start));
    let services = proxy.services.clone();
    metrics::register_gauges(&mut registry, services.clone());
    tasks.spawn(follow(services.clone(), config.clone(), endpoints, background.clone()));
    let reporter = Reporter::new(services.clone(), config.endpoints.concurrency.get(), news);
    for scaler in config.scalers.iter().filter_map(|scaler| parse_scaler(scaler).ok()) {
        tasks.spawn(Arc::clone(&reporter).run(scaler, background.clone()));
    }
    let (ready, is_ready) = watch::channel(Ok(()));
    let router = Admin { ready: is_ready, registry: Arc::new(registry) }.router();
    let router = router.merge(debug(services.clone()));
    tasks.spawn(async_admin(listeners.admin, router, background.clone()));

    let server = Server::new(proxy, &config.bounds);
    let closing = CancellationToken::new();
    tokio::join!(server.accept(listeners.service, &closing), async {
        shutdown.cancelled().await;
        let _ = ready.send(Err("draining"));
        tokio::time::sleep(NOTICE).await;
        closing.cancel();
    });
    for service in &services {
        service.drain();
    }
    let stop = || services.iter().for_each(|service| service.stop());
    if !server.drain(config.hold.drain_timeout, stop).await {
        tracing::warn!("requests were still under way at the end of the drain timeout");
    }
    background.cancel();
    tasks.close();
    tasks.wait().await;
    Ok(())
}

fn settings(config: &Config, name: &str) -> Settings {
    Settings {
        name: name.into(),
        limits: Limits {
            held_max: Requests(config.hold.hold_requests),
            held_bytes_max: config.hold.hold_bytes,
        },
        cold_start_guess: config.hold.cold_start,
        retry_ratio: config.retry.retry_ratio,
        retry_per_second_min: config.retry.retry_per_second_min,
    }
}

fn proxy(config: &Config, metrics: &Arc<Metrics>, start: impl Fn(&str) -> Arc<Service>) -> Proxy {
    let mut services = vec![start(&config.service)];
    let mut routes = Vec::new();
    for route in &config.routes {
        let known = services.iter().find(|service| *service.name == *route.service).cloned();
        let service = known.unwrap_or_else(|| {
            services.push(start(&route.service));
            Arc::clone(&services[services.len() - 1])
        });
        routes.push((route.clone(), service));
    }
    Proxy {
        services,
        routes,
        metrics: Arc::clone(metrics),
        idempotent_paths: config.retry.idempotent_paths.clone(),
        limits: BodyLimits {
            replay_bytes_max: config.retry.replay_bytes,
            body_bytes_max: config.bounds.body_bytes,
        },
        timeout: config.hold.timeout,
        stream_idle: config.endpoints.stream_idle,
    }
}

/// Hands each new list to the services that it concerns.
async fn follow(
    services: Vec<Arc<Service>>,
    config: Config,
    mut endpoints: watch::Receiver<Vec<Endpoint>>,
    background: CancellationToken,
) {
    loop {
        let listed = endpoints.borrow_and_update().clone();
        warn_of_strangers(&services, &listed);
        for service in &services {
            let is_default = *service.name == *config.service;
            let mut seen = HashSet::new();
            let of_service = listed.iter().filter(|endpoint| {
                let named = endpoint.service.as_deref();
                named.map_or(is_default, |named| *named == *service.name)
                    && seen.insert(endpoint.authority.clone())
            });
            service.update(of_service.map(|endpoint| upstream(&config, endpoint)).collect());
        }
        if !matches!(background.run_until_cancelled(endpoints.changed()).await, Some(Ok(()))) {
            return;
        }
    }
}

fn warn_of_strangers(services: &[Arc<Service>], listed: &[Endpoint]) {
    for endpoint in listed {
        let named = endpoint.service.as_deref();
        if named.is_some_and(|named| services.iter().all(|service| *service.name != *named)) {
            tracing::warn!(%endpoint, service = named, "no route leads to its service");
        }
    }
}

fn upstream(config: &Config, endpoint: &Endpoint) -> Arc<Upstream> {
    let concurrency = endpoint.concurrency.unwrap_or(config.endpoints.concurrency).get();
    let connections = Connections {
        connect_timeout: config.endpoints.connect_timeout,
        idle_timeout: config.endpoints.upstream_idle,
    };
    Arc::new(Upstream::new(endpoint.clone(), concurrency, connections))
}

fn debug(services: Vec<Arc<Service>>) -> Router {
    let page = move || {
        let views: Vec<_> = services.iter().map(|service| service.view()).collect();
        std::future::ready(Json(views))
    };
    Router::new().route("/debug/front", get(page))
}

async fn async_admin(
    listener: tokio::net::TcpListener,
    router: Router,
    background: CancellationToken,
) {
    if let Err(error) = admin::serve(listener, router, background).await {
        tracing::error!(%error, "the admin port has failed");
    }
}
