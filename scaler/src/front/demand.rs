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

use http::Uri;
use spotscale_proto::demand::{DemandReport, demand_client::DemandClient};
use tokio::{
    sync::{mpsc, watch},
    time::Instant,
};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tonic::transport::Endpoint;

use super::service::Service;

/// A scaler forgets a front that is silent for longer than some of these.
const REPORT_INTERVAL: Duration = Duration::from_secs(1);
/// Shortest pause between two reports, however much happens.
const REPORT_PAUSE: Duration = Duration::from_millis(50);
const RESOLVE_INTERVAL: Duration = Duration::from_secs(5);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
const PING_INTERVAL: Duration = Duration::from_secs(5);
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
}

/// Checks a `--scaler` flag: host and port.
pub(super) fn parse_scaler(text: &str) -> Result<(String, u16), String> {
    let refuse = || format!("{text:?} is no scaler address; wanted http://HOST:PORT");
    let uri: Uri = text.parse().map_err(|_| refuse())?;
    match (uri.scheme_str(), uri.host(), uri.port_u16()) {
        (Some("http"), Some(host), Some(port)) if matches!(uri.path(), "" | "/") => {
            Ok((host.trim_matches(['[', ']']).to_owned(), port))
        }
        _ => Err(refuse()),
    }
}

impl Reporter {
    pub(super) fn new(
        services: Vec<Arc<Service>>,
        concurrency: u32,
        changed: watch::Receiver<()>,
    ) -> Arc<Self> {
        let identity = format!("front-{}-{:016x}", std::process::id(), fastrand::u64(..));
        Arc::new(Self { identity, sequence: AtomicU64::new(0), services, concurrency, changed })
    }

    /// Reports to all addresses of one scaler name until `leaving`, and then says goodbye to each.
    pub(super) async fn run(
        self: Arc<Self>,
        (host, port): (String, u16),
        leaving: CancellationToken,
    ) {
        let mut streams: HashMap<SocketAddr, CancellationToken> = HashMap::new();
        let tasks = TaskTracker::new();
        loop {
            let lookup = tokio::net::lookup_host((host.as_str(), port));
            let Some(found) = leaving.run_until_cancelled(lookup).await else { break };
            match found {
                Ok(found) => self.follow(&mut streams, found.collect(), &tasks, &leaving),
                Err(error) => tracing::warn!(%error, %host, "cannot resolve the scaler"),
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
        streams: &mut HashMap<SocketAddr, CancellationToken>,
        found: Vec<SocketAddr>,
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
                let gone = leaving.child_token();
                tasks.spawn(Arc::clone(self).keep_reporting(address, gone.clone()));
                gone
            });
        }
    }

    async fn keep_reporting(self: Arc<Self>, address: SocketAddr, leaving: CancellationToken) {
        let mut pause = BACK_OFF_MIN;
        while !leaving.is_cancelled() {
            let started = Instant::now();
            match self.report_to(address, &leaving).await {
                Ok(()) => tracing::debug!(%address, "the scaler ended the demand stream"),
                Err(error) => tracing::debug!(%error, %address, "no demand stream to the scaler"),
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
        address: SocketAddr,
        leaving: &CancellationToken,
    ) -> Result<(), tonic::Status> {
        let unavailable = |error: tonic::transport::Error| tonic::Status::from_error(error.into());
        let channel = Endpoint::from_shared(format!("http://{address}"))
            .map_err(unavailable)?
            .connect_timeout(CONNECT_TIMEOUT)
            .http2_keep_alive_interval(PING_INTERVAL)
            .keep_alive_timeout(PING_INTERVAL)
            .keep_alive_while_idle(true)
            .connect()
            .await
            .map_err(unavailable)?;
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
mod tests {
    use super::*;

    #[test]
    fn a_scaler_is_a_host_and_a_port() {
        assert_eq!(parse_scaler("http://scaler:6000"), Ok(("scaler".to_owned(), 6000)));
        assert_eq!(parse_scaler("http://[::1]:6000/"), Ok(("::1".to_owned(), 6000)));
        for wrong in ["scaler:6000", "http://scaler", "https://scaler:6000", "http://a:1/x", ""] {
            assert!(parse_scaler(wrong).is_err(), "{wrong:?} was accepted");
        }
    }
}
