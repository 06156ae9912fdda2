//! Who is told goodbye. A name that loses an address cannot be had from a test's resolver, so its list is given.

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

#[tokio::test]
async fn an_address_that_the_name_has_lost_hears_no_goodbye() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (sender, mut said) = mpsc::unbounded_channel();
    let server = Server::builder().add_service(DemandServer::new(Scaler(sender)));
    tokio::spawn(server.serve_with_incoming(TcpListenerStream::new(listener)));
    let scaler: ScalerAddress = format!("http://{address}").parse().unwrap();
    let files = ScalerTls { scaler_ca: None, scaler_cert: None, scaler_key: None };
    let dialer = Dialer::new(&files, std::slice::from_ref(&scaler)).unwrap();
    let metrics = Metrics::register(&mut prometheus_client::registry::Registry::default());
    let (_changed, news) = watch::channel(());
    let reporter = Reporter::new(Vec::new(), 1, news, (dialer, metrics));
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
