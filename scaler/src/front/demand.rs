//! Tells every scaler replica what this front holds and serves: at once when that changes, and every second besides.
//! Each report is the whole state, so a scaler that was away needs only the next one.

use std::{
    collections::HashMap,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use spotscale_proto::demand::{DemandReport, demand_client::DemandClient};
use tokio::{
    sync::{mpsc, watch},
    time::Instant,
};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tonic::transport::Channel;

use super::{
    metrics::Metrics,
    scalers::{Dialer, ScalerAddress},
    service::Service,
    upstream::innermost,
};

/// A scaler forgets a front that is silent for longer than some of these.
const REPORT_INTERVAL: Duration = Duration::from_secs(1);
/// Shortest pause between two reports, however much happens.
const REPORT_PAUSE: Duration = Duration::from_millis(50);
const RESOLVE_INTERVAL: Duration = Duration::from_secs(5);
const BACK_OFF_MIN: Duration = Duration::from_millis(50);
const BACK_OFF_MAX: Duration = Duration::from_secs(2);
/// How long a scaler may take to answer our leaving.
const LEAVE_TIMEOUT: Duration = Duration::from_secs(1);

/// What reports are made of.
pub(super) struct Reporter {
    /// New with each start: a restarted front's counters begin at zero again.
    identity: String,
    sequence: AtomicU64,
    services: Vec<Arc<Service>>,
    concurrency: u32,
    changed: watch::Receiver<()>,
    dialer: Dialer,
    metrics: Arc<Metrics>,
}

impl Reporter {
    pub(super) fn new(
        services: Vec<Arc<Service>>,
        concurrency: u32,
        changed: watch::Receiver<()>,
        (dialer, metrics): (Dialer, Arc<Metrics>),
    ) -> Arc<Self> {
        let identity = format!("front-{}-{:016x}", std::process::id(), fastrand::u64(..));
        let sequence = AtomicU64::new(0);
        Arc::new(Self { identity, sequence, services, concurrency, changed, dialer, metrics })
    }

    /// Reports to all addresses of one scaler name until `leaving`, and then says goodbye to each. An address that the
    /// name loses before that is only left alone.
    pub(super) async fn run(self: Arc<Self>, scaler: ScalerAddress, leaving: CancellationToken) {
        let mut streams: HashMap<SocketAddr, CancellationToken> = HashMap::new();
        let tasks = TaskTracker::new();
        loop {
            let lookup = tokio::net::lookup_host((scaler.host.as_str(), scaler.port));
            let Some(found) = leaving.run_until_cancelled(lookup).await else { break };
            match found {
                Ok(found) => {
                    self.follow((&scaler, found.collect()), &mut streams, &tasks, &leaving);
                }
                Err(error) => tracing::warn!(%error, %scaler, "cannot resolve the scaler"),
            }
            let pause = tokio::time::sleep(RESOLVE_INTERVAL);
            if leaving.run_until_cancelled(pause).await.is_none() {
                break;
            }
        }
        tasks.close();
        tasks.wait().await;
    }

    fn follow(
        self: &Arc<Self>,
        (scaler, found): (&ScalerAddress, Vec<SocketAddr>),
        streams: &mut HashMap<SocketAddr, CancellationToken>,
        tasks: &TaskTracker,
        leaving: &CancellationToken,
    ) {
        streams.retain(|address, gone| {
            let stays = found.contains(address);
            if !stays {
                gone.cancel();
            }
            stays
        });
        for address in found {
            streams.entry(address).or_insert_with(|| {
                let gone = CancellationToken::new();
                let reporting =
                    Arc::clone(self).keep_reporting(scaler.clone(), address, leaving.clone());
                // Without a goodbye: this front lives on, and its reports to the other addresses are to count.
                tasks.spawn(gone.clone().run_until_cancelled_owned(reporting));
                gone
            });
        }
    }

    async fn keep_reporting(
        self: Arc<Self>,
        scaler: ScalerAddress,
        address: SocketAddr,
        leaving: CancellationToken,
    ) {
        let mut pause = BACK_OFF_MIN;
        let mut last_error = String::new();
        while !leaving.is_cancelled() {
            let started = Instant::now();
            match self.report_to(&scaler, address, &leaving).await {
                Ok(()) => tracing::debug!(%address, "the scaler ended the demand stream"),
                // Without it nothing scales up from zero. Said once, and again when it has been well in between.
                Err(error) if error != last_error || started.elapsed() > REPORT_INTERVAL => {
                    tracing::warn!(error, %scaler, %address, "no demand stream to the scaler");
                    last_error = error;
                }
                Err(error) => tracing::debug!(error, %address, "no demand stream to the scaler"),
            }
            if started.elapsed() > REPORT_INTERVAL {
                pause = BACK_OFF_MIN;
            }
            let jittered = pause.mul_f64(1.0 + fastrand::f64() / 4.0);
            leaving.run_until_cancelled(tokio::time::sleep(jittered)).await;
            pause = (pause * 2).min(BACK_OFF_MAX);
        }
    }

    async fn report_to(
        &self,
        scaler: &ScalerAddress,
        address: SocketAddr,
        leaving: &CancellationToken,
    ) -> Result<(), String> {
        let connecting = self.dialer.connect(scaler, address);
        let Some(channel) = leaving.run_until_cancelled(connecting).await else { return Ok(()) };
        let channel = channel.map_err(|error| innermost(&error))?;
        let _up = self.metrics.demand_stream();
        self.stream(channel, leaving).await.map_err(|status| innermost(&status))
    }

    async fn stream(
        &self,
        channel: Channel,
        leaving: &CancellationToken,
    ) -> Result<(), tonic::Status> {
        let (reports, stream) = mpsc::channel(1);
        let mut client = DemandClient::new(channel);
        let call = client.report(ReceiverStream::new(stream));
        tokio::pin!(call);
        tokio::select! {
            ended = &mut call => return ended.map(drop),
            () = self.feed(reports, leaving) => {}
        }
        tokio::time::timeout(LEAVE_TIMEOUT, call).await.map_or_else(
            |_| Err(tonic::Status::deadline_exceeded("no answer")),
            |end| end.map(drop),
        )
    }

    /// Returns when the last report is on its way, or nobody takes them any more.
    async fn feed(&self, reports: mpsc::Sender<DemandReport>, leaving: &CancellationToken) {
        let mut changed = self.changed.clone();
        loop {
            let is_last = leaving.is_cancelled();
            // Before the state is read: what changes after it is news.
            changed.mark_unchanged();
            if reports.send(self.report(is_last)).await.is_err() || is_last {
                return;
            }
            let next = async {
                tokio::time::sleep(REPORT_PAUSE).await;
                let _ = tokio::time::timeout(
                    REPORT_INTERVAL.saturating_sub(REPORT_PAUSE),
                    changed.changed(),
                )
                .await;
            };
            leaving.run_until_cancelled(next).await;
        }
    }

    fn report(&self, leaving: bool) -> DemandReport {
        let services = self.services.iter().map(|s| s.demand(self.concurrency)).collect();
        let sequence = self.sequence.fetch_add(1, Ordering::Relaxed) + 1;
        DemandReport { front: self.identity.clone(), sequence, services, leaving }
    }
}

#[cfg(test)]
mod tests;
