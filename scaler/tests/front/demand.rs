//! What the scalers are told, when, and that it survives their restart.

use std::{net::SocketAddr, time::Duration};

use spotscale_proto::demand::{
    DemandReport, ReportSummary,
    demand_server::{Demand, DemandServer},
};
use tokio::{net::TcpListener, sync::mpsc};
use tokio_stream::wrappers::TcpListenerStream;
use tokio_util::sync::CancellationToken;
use tonic::{
    Request, Response, Status, Streaming,
    transport::{Server, ServerTlsConfig},
};

use crate::{
    replicas::Replica,
    support::{Front, PATIENCE},
};

struct Scaler {
    reports: mpsc::UnboundedSender<DemandReport>,
    dead: CancellationToken,
}

#[tonic::async_trait]
impl Demand for Scaler {
    async fn report(
        &self,
        request: Request<Streaming<DemandReport>>,
    ) -> Result<Response<ReportSummary>, Status> {
        let mut reports = request.into_inner();
        let mut accepted = 0;
        while let Some(message) = self.dead.run_until_cancelled(reports.message()).await {
            let Some(report) = message? else { break };
            accepted += 1;
            let _ = self.reports.send(report);
        }
        Ok(Response::new(ReportSummary { accepted }))
    }
}

/// A running scaler, and all that it is told.
pub(crate) struct Running {
    pub(crate) address: SocketAddr,
    pub(crate) reports: mpsc::UnboundedReceiver<DemandReport>,
    pub(crate) dead: CancellationToken,
}

impl Running {
    async fn at(address: &str) -> Self {
        Self::serve(Server::builder(), address).await
    }

    pub(crate) async fn with_tls(address: &str, tls: ServerTlsConfig) -> Self {
        Self::serve(Server::builder().tls_config(tls).unwrap(), address).await
    }

    async fn serve(mut server: Server, address: &str) -> Self {
        let listener = bind(address).await;
        let address = listener.local_addr().unwrap();
        let (sender, reports) = mpsc::unbounded_channel();
        let dead = CancellationToken::new();
        let server = server
            .add_service(DemandServer::new(Scaler { reports: sender, dead: dead.clone() }))
            .serve_with_incoming(TcpListenerStream::new(listener));
        tokio::spawn(dead.clone().run_until_cancelled_owned(server));
        Self { address, reports, dead }
    }

    pub(crate) async fn until(&mut self, is_right: impl Fn(&DemandReport) -> bool) -> DemandReport {
        let wanted = async {
            loop {
                let report = self.reports.recv().await.unwrap();
                if is_right(&report) {
                    return report;
                }
            }
        };
        tokio::time::timeout(PATIENCE, wanted).await.expect("never reported")
    }
}

/// The port may still be held by the scaler that was there before.
async fn bind(address: &str) -> TcpListener {
    let bound = async {
        loop {
            match TcpListener::bind(address).await {
                Ok(listener) => return listener,
                Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
            }
        }
    };
    tokio::time::timeout(PATIENCE, bound).await.expect("the port is not given back")
}

#[tokio::test]
async fn every_scaler_is_told_of_a_held_request_and_of_its_end() {
    let (mut one, mut two) = (Running::at("127.0.0.1:0").await, Running::at("127.0.0.1:0").await);
    let (to_one, to_two) = (format!("http://{}", one.address), format!("http://{}", two.address));
    let flags = ["--scaler", &to_one, "--scaler", &to_two, "--service", "team/resnet"];
    let front = Front::start(&flags).await;
    let replica = Replica::quick().await;
    one.until(|report| report.services[0].held == 0).await;
    let (answer, ()) = tokio::join!(front.get("/"), async {
        let first = one.until(|report| report.services[0].held == 1).await;
        let service = &first.services[0];
        assert_eq!(service.service, "team/resnet");
        assert_eq!((service.arrivals_total, service.endpoints), (1, 0));
        assert_eq!(service.concurrency_per_endpoint, 8);
        two.until(|report| report.services[0].held == 1).await;
        front.list(&[replica.url()]);
    });
    assert_eq!(answer.status, 200);
    let served = one.until(|report| report.services[0].served_total == 1).await;
    let service = &served.services[0];
    assert_eq!((service.held, service.in_flight, service.endpoints), (0, 0, 1));
    assert!(service.service_micros_total > 0 && service.service_seconds_squared_total > 0.0);
    front.shutdown.cancel();
    let last = two.until(|report| report.leaving).await;
    assert_eq!(last.front, served.front);
    assert!(last.sequence > served.sequence);
    front.stop().await;
}

#[tokio::test]
async fn a_quiet_front_reports_every_second_and_a_restarted_scaler_is_found_again() {
    let mut scaler = Running::at("127.0.0.1:0").await;
    let address = scaler.address.to_string();
    let front = Front::start(&["--scaler", &format!("http://{address}")]).await;
    let first = scaler.until(|_| true).await;
    let second = scaler.until(|_| true).await;
    assert!(second.sequence > first.sequence);
    scaler.dead.cancel();
    drop(scaler);
    let mut scaler = Running::at(&address).await;
    let third = scaler.until(|_| true).await;
    assert!(third.sequence > second.sequence && third.front == second.front);
    front.stop().await;
}
