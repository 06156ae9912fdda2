//! Asks endpoints that are new or have failed whether they serve, until they do or are no longer listed.

use std::{sync::Arc, time::Duration};

use http::Request;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::{fleet::SeatId, replay::ReplayBody, service::Service, upstream::Upstream};

const FIRST_PAUSE: Duration = Duration::from_millis(10);
const ANSWER_TIMEOUT: Duration = Duration::from_secs(2);

/// An endpoint to be probed.
pub(super) type ToProbe = (SeatId, Arc<Upstream>);

/// How to probe.
#[derive(Debug, Clone)]
pub(super) struct Probe {
    pub(super) path: String,
    pub(super) pause_max: Duration,
}

/// Probes all that comes through the channel, each on its own, until `shutdown`.
pub(super) async fn run(
    service: Arc<Service>,
    mut endpoints: mpsc::UnboundedReceiver<ToProbe>,
    probe: Probe,
    shutdown: CancellationToken,
) {
    while let Some(Some((seat, upstream))) = shutdown.run_until_cancelled(endpoints.recv()).await {
        let (service, probe) = (Arc::clone(&service), probe.clone());
        let shutdown = shutdown.clone();
        tokio::spawn(async move {
            let probing = until_ready(&service, seat, &upstream, &probe);
            shutdown.run_until_cancelled(probing).await;
        });
    }
}

async fn until_ready(service: &Arc<Service>, seat: SeatId, upstream: &Upstream, probe: &Probe) {
    let mut pause = FIRST_PAUSE;
    while service.is_listed(seat) {
        if serves(upstream, &probe.path).await {
            tracing::info!(endpoint = %upstream.endpoint, service = &*service.name, "ready");
            return service.ready(seat);
        }
        // Up to a tenth more, so that many fronts do not knock together.
        tokio::time::sleep(pause.mul_f64(1.0 + fastrand::f64() / 10.0)).await;
        pause = (pause * 2).min(probe.pause_max);
    }
}

async fn serves(upstream: &Upstream, path: &str) -> bool {
    let Ok(mut request) = Request::get(path).body(ReplayBody::empty()) else { return false };
    let host = http::HeaderValue::from_str(upstream.endpoint.authority.as_str());
    if let Ok(host) = host {
        request.headers_mut().insert(http::header::HOST, host);
    }
    let answer = tokio::time::timeout(ANSWER_TIMEOUT, upstream.send(request)).await;
    matches!(answer, Ok(Ok(response)) if response.status().is_success())
}
