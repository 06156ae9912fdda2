//! Demand as a front reports it: on change at once, otherwise every half second, to every scaler, for ever.

use std::{net::SocketAddr, time::Duration};

use futures::stream;
use spotscale_proto::demand::{DemandReport, ServiceDemand, demand_client::DemandClient};
use tokio::{sync::watch, task::JoinHandle, time::sleep};

const INTERVAL: Duration = Duration::from_millis(500);
const RECONNECT: Duration = Duration::from_millis(100);

/// A front's reports on one service; they end when dropped.
pub(crate) struct Demand {
    state: watch::Sender<ServiceDemand>,
    reporters: Vec<JoinHandle<()>>,
}

impl Demand {
    /// Nothing to do, as far as these scalers are told.
    pub(crate) fn on(service: &str, scalers: &[SocketAddr]) -> Self {
        let nothing = ServiceDemand {
            service: service.to_owned(),
            concurrency_per_endpoint: 1,
            ..ServiceDemand::default()
        };
        let (state, seen) = watch::channel(nothing);
        let report =
            |scaler: &SocketAddr| tokio::spawn(report(format!("http://{scaler}"), seen.clone()));
        Self { reporters: scalers.iter().map(report).collect(), state }
    }

    /// So many requests wait, and so many are served by so many replicas.
    pub(crate) fn is(&self, held: u64, in_flight: u64, endpoints: u32) {
        self.state.send_modify(|state| {
            state.held = held;
            state.oldest_held_ms = held.min(1);
            state.in_flight = in_flight;
            state.endpoints = endpoints;
        });
    }

    /// One reporter loses its scaler, as a partition would have it.
    pub(crate) fn cut(&self, index: usize) {
        self.reporters[index].abort();
    }
}

impl Drop for Demand {
    fn drop(&mut self) {
        self.reporters.iter().for_each(JoinHandle::abort);
    }
}

async fn report(scaler: String, state: watch::Receiver<ServiceDemand>) {
    let front = format!("front-{}", fastrand::u64(..));
    let mut sequence = 0;
    loop {
        if let Ok(mut client) = DemandClient::connect(scaler.clone()).await {
            let (front, start, state) = (front.clone(), sequence, state.clone());
            sequence += 1 << 32;
            let reports = stream::unfold((state, start), move |(mut state, sequence)| {
                let front = front.clone();
                async move {
                    if sequence > start {
                        let _ = tokio::time::timeout(INTERVAL, state.changed()).await;
                    }
                    let services = vec![state.borrow_and_update().clone()];
                    let sequence = sequence + 1;
                    let report = DemandReport { front, sequence, services, leaving: false };
                    Some((report, (state, sequence)))
                }
            });
            let _ = client.report(reports).await;
        }
        sleep(RECONNECT).await;
    }
}
