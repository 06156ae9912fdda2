//! Puts the front together, runs it, and takes it apart again in the order that loses nothing.

use std::{collections::HashSet, sync::Arc, time::Duration};

use axum::{Json, Router, routing::get};
use prometheus_client::registry::Registry;
use spotscale_decide::{admission::Limits, units::Requests};
use tokio::sync::{mpsc, watch};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{
    config::Config,
    demand::Reporter,
    endpoint::{Endpoint, Listed},
    health::Health,
    listeners::Listeners,
    metrics::{self, Metrics},
    probe::{self, Probe},
    proxy::Proxy,
    replay::BodyLimits,
    route::Route,
    scalers::{Dialer, TlsError},
    serve::Server,
    service::{Links, Service, Settings},
    source::{Feed, Source},
    upstream::{Connections, Upstream},
};
use crate::admin::{self, Admin};

/// Between not being ready and taking no more connections: whoever watches `/readyz` is to know first.
const NOTICE: Duration = Duration::from_millis(100);

/// For the goodbyes and the last pages, when nothing is under way any more.
const END_TIMEOUT: Duration = Duration::from_secs(3);

/// What ends a front that was not told to stop.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is no usable TLS to the scalers.
    #[error(transparent)]
    ScalerTls(#[from] TlsError),
}

/// Runs a front on endpoints that another part of the process knows, until `shutdown` and the end of what is under way.
pub async fn run_with_endpoints(
    config: Config,
    listeners: Listeners,
    endpoints: watch::Receiver<Vec<Listed>>,
    shutdown: CancellationToken,
) -> Result<(), Error> {
    run(config, endpoints.into(), listeners, shutdown).await
}

/// Runs a front on the endpoints of `source`, until `shutdown` and the end of what is under way.
pub async fn run(
    config: Config,
    source: Source,
    listeners: Listeners,
    shutdown: CancellationToken,
) -> Result<(), Error> {
    // Outlives `shutdown`: what is held still needs its endpoints, and the scalers still need to know of it.
    let background = CancellationToken::new();
    let _guard = background.clone().drop_guard();
    let tasks = TaskTracker::new();
    let mut registry = Registry::default();
    let metrics = Metrics::register(&mut registry);
    let dialer = Dialer::new(&config.scaler_tls, &config.scalers)?;
    let Feed { endpoints, has_list } = source.follow(&config, &mut registry, &tasks, &background);
    let (changed, news) = watch::channel(());
    let start = |name: &str| {
        let (to_probe, probes) = mpsc::unbounded_channel();
        let links = Links { to_probe, changed: changed.clone(), metrics: Arc::clone(&metrics) };
        let service = Service::new(settings(&config, name), links);
        let probe = Probe {
            path: config.endpoints.ready_path.clone(),
            pause_max: config.endpoints.probe_interval.0,
        };
        tasks.spawn(probe::run(Arc::clone(&service), probes, probe, background.clone()));
        service
    };
    let (ready, is_ready) = watch::channel(readiness(*has_list.borrow()));
    let health = config.health_path.clone().map(|path| Health { path, ready: is_ready.clone() });
    let proxy = Arc::new(proxy(&config, &metrics, health, start));
    let services = proxy.services.clone();
    metrics::register_gauges(&mut registry, services.clone());
    tasks.spawn(follow(services.clone(), config.clone(), endpoints, background.clone()));
    let concurrency = config.endpoints.concurrency.get();
    let reporter = Reporter::new(services.clone(), concurrency, news, (dialer, metrics));
    for scaler in &config.scalers {
        tasks.spawn(Arc::clone(&reporter).run(scaler.clone(), background.clone()));
    }
    let router = Admin { ready: is_ready, registry: Arc::new(registry) }.router();
    let router = router.merge(debug(services.clone()));
    tasks.spawn(async_admin(listeners.admin, router, background.clone()));

    let server = Server::new(proxy, &config.bounds, shutdown.clone());
    let closing = CancellationToken::new();
    tokio::join!(server.accept(listeners.service, &closing), async {
        tell_when_ready(&ready, has_list, &shutdown).await;
        let _ = ready.send(Err("draining"));
        tokio::time::sleep(NOTICE).await;
        closing.cancel();
    });
    for service in &services {
        service.drain();
    }
    let stop = || services.iter().for_each(|service| service.stop());
    if !server.drain(config.hold.drain_timeout.0, stop).await {
        tracing::warn!("requests were still under way at the end of the drain timeout");
    }
    background.cancel();
    finish(&tasks).await;
    Ok(())
}

/// Waits for what runs in the background, but not for ever.
async fn finish(tasks: &TaskTracker) {
    tasks.close();
    if tokio::time::timeout(END_TIMEOUT, tasks.wait()).await.is_err() {
        tracing::warn!("something in the background did not end in time");
    }
}

/// A front that has never had a list would hold what another one could serve. One whose source is away later keeps
/// its list, and serves by it.
const fn readiness(has_list: bool) -> Result<(), &'static str> {
    if has_list { Ok(()) } else { Err("no list of endpoints yet") }
}

/// Returns on `shutdown`.
async fn tell_when_ready(
    ready: &watch::Sender<Result<(), &'static str>>,
    mut has_list: watch::Receiver<bool>,
    shutdown: &CancellationToken,
) {
    let first_list = has_list.wait_for(|has_list| *has_list);
    if shutdown.run_until_cancelled(first_list).await.is_some() {
        let _ = ready.send(readiness(true));
        shutdown.cancelled().await;
    }
}

fn settings(config: &Config, name: &str) -> Settings {
    Settings {
        name: name.into(),
        limits: Limits {
            held_max: Requests(config.hold.hold_requests),
            held_bytes_max: config.hold.hold_bytes,
        },
        cold_start_guess: config.hold.cold_start.0,
        retry_ratio: config.retry.retry_ratio,
        retry_per_second_min: config.retry.retry_per_second_min,
    }
}

fn proxy(
    config: &Config,
    metrics: &Arc<Metrics>,
    health: Option<Health>,
    start: impl Fn(&str) -> Arc<Service>,
) -> Proxy {
    let services: Vec<_> = config.service_names().into_iter().map(start).collect();
    let of = |route: &Route| {
        let found = services.iter().find(|service| *service.name == *route.service);
        Arc::clone(found.unwrap_or(&services[0]))
    };
    let routes = config.routes.iter().map(|route| (route.clone(), of(route))).collect();
    Proxy {
        services,
        routes,
        health,
        metrics: Arc::clone(metrics),
        idempotent_paths: config.retry.idempotent_paths.clone(),
        limits: BodyLimits {
            replay_bytes_max: config.retry.replay_bytes,
            body_bytes_max: config.bounds.body_bytes,
        },
        timeout: config.hold.timeout.0,
        stream_idle: config.endpoints.stream_idle.0,
    }
}

/// Hands each new list to the services that it concerns.
async fn follow(
    services: Vec<Arc<Service>>,
    config: Config,
    mut endpoints: watch::Receiver<Vec<Listed>>,
    background: CancellationToken,
) {
    loop {
        let listed = endpoints.borrow_and_update().clone();
        warn_of_strangers(&services, &listed);
        for service in &services {
            let is_default = *service.name == *config.service;
            let mut seen = HashSet::new();
            let of_service = listed.iter().filter(|Listed { endpoint, .. }| {
                let named = endpoint.service.as_deref();
                named.map_or(is_default, |named| *named == *service.name)
                    && seen.insert(endpoint.authority.clone())
            });
            let of_service: Vec<_> = of_service.cloned().collect();
            service.update(&of_service, |endpoint| upstream(&config, endpoint));
        }
        if !matches!(background.run_until_cancelled(endpoints.changed()).await, Some(Ok(()))) {
            return;
        }
    }
}

fn warn_of_strangers(services: &[Arc<Service>], listed: &[Listed]) {
    for Listed { endpoint, .. } in listed {
        let named = endpoint.service.as_deref();
        if named.is_some_and(|named| services.iter().all(|service| *service.name != *named)) {
            tracing::warn!(%endpoint, service = named, "no route leads to its service");
        }
    }
}

fn upstream(config: &Config, endpoint: &Endpoint) -> Upstream {
    let concurrency = endpoint.concurrency.unwrap_or(config.endpoints.concurrency).get();
    let connections = Connections {
        connect_timeout: config.endpoints.connect_timeout.0,
        idle_timeout: config.endpoints.upstream_idle.0,
    };
    Upstream::new(endpoint.clone(), concurrency, connections)
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

#[cfg(test)]
mod tests {
    use tokio::time::Instant;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_end_waits_for_the_background_and_no_longer_than_its_bound() {
        for (takes, waited) in
            [(END_TIMEOUT / 2, END_TIMEOUT / 2), (END_TIMEOUT * 100, END_TIMEOUT)]
        {
            let (tasks, started) = (TaskTracker::new(), Instant::now());
            tasks.spawn(tokio::time::sleep(takes));
            finish(&tasks).await;
            assert_eq!(started.elapsed(), waited);
        }
    }
}
