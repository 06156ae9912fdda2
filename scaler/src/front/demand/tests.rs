//! Who is told goodbye. A name that loses an address cannot be had from a test's resolver, so its list is given.

use std::io::Write as _;

use spotscale_proto::demand::{
    ReportSummary,
    demand_server::{Demand, DemandServer},
};
use tokio::net::TcpListener;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{Request, Response, Status, Streaming, transport::Server};

use super::*;
use crate::front::scalers::ScalerTls;

const PATIENCE: Duration = Duration::from_secs(20);

/// Takes one stream at a time, and passes on what it says; nothing when it has ended.
struct Scaler(mpsc::UnboundedSender<Option<DemandReport>>);

#[tonic::async_trait]
impl Demand for Scaler {
    async fn report(
        &self,
        request: Request<Streaming<DemandReport>>,
    ) -> Result<Response<ReportSummary>, Status> {
        let (mut reports, said) = (request.into_inner(), self.0.clone());
        // Outlives this call, which is dropped with its stream.
        let listening = tokio::spawn(async move {
            while let Ok(Some(report)) = reports.message().await {
                let _ = said.send(Some(report));
            }
            let _ = said.send(None);
        });
        let _ = listening.await;
        Ok(Response::new(ReportSummary::default()))
    }
}

fn reporter(scaler: &ScalerAddress, files: &ScalerTls) -> Arc<Reporter> {
    let dialer = Dialer::new(files, std::slice::from_ref(scaler)).unwrap();
    let metrics = Metrics::register(&mut prometheus_client::registry::Registry::default());
    Reporter::new(Vec::new(), 1, watch::channel(()).1, (dialer, metrics))
}

#[tokio::test]
async fn a_dial_that_hangs_ends_with_the_front() {
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = silent.local_addr().unwrap();
    let scaler: ScalerAddress = format!("https://{address}").parse().unwrap();
    let mut ca = tempfile::NamedTempFile::new().unwrap();
    let authority = rcgen::generate_simple_self_signed(Vec::new()).unwrap();
    ca.write_all(authority.cert.pem().as_bytes()).unwrap();
    let path = Some(ca.path().to_owned());
    let files = ScalerTls { scaler_ca: path, scaler_cert: None, scaler_key: None };
    let leaving = CancellationToken::new();
    let reporting = reporter(&scaler, &files).keep_reporting(scaler, address, leaving.clone());
    let reporting = tokio::spawn(reporting);
    let _kept = tokio::time::timeout(PATIENCE, silent.accept()).await.unwrap().unwrap();
    // From here on time passes only when nothing else can happen: it shall not be needed.
    tokio::time::pause();
    let cancelled = Instant::now();
    leaving.cancel();
    reporting.await.unwrap();
    assert_eq!(cancelled.elapsed(), Duration::ZERO);
}

#[tokio::test]
async fn an_address_that_the_name_has_lost_hears_no_goodbye() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (sender, mut said) = mpsc::unbounded_channel();
    let server = Server::builder().add_service(DemandServer::new(Scaler(sender)));
    tokio::spawn(server.serve_with_incoming(TcpListenerStream::new(listener)));
    let scaler: ScalerAddress = format!("http://{address}").parse().unwrap();
    let files = ScalerTls { scaler_ca: None, scaler_cert: None, scaler_key: None };
    let reporter = reporter(&scaler, &files);
    let (mut streams, tasks) = (HashMap::new(), TaskTracker::new());
    let leaving = CancellationToken::new();

    reporter.follow((&scaler, vec![address]), &mut streams, &tasks, &leaving);
    let mut next = async || tokio::time::timeout(PATIENCE, said.recv()).await.unwrap().unwrap();
    assert!(!next().await.unwrap().leaving);
    reporter.follow((&scaler, Vec::new()), &mut streams, &tasks, &leaving);
    while let Some(report) = next().await {
        assert!(!report.leaving, "its other addresses would not be believed");
    }
    tasks.close();
    tokio::time::timeout(PATIENCE, tasks.wait()).await.unwrap();
}
