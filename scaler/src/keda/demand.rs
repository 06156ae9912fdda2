//! The call on which every front tells what it holds and serves. What it means is judged in `decide`; here are only
//! the bounds of the wire.

use std::{sync::Arc, time::Duration};

use spotscale_decide::{
    demand::ServiceCounters,
    units::{FrontId, Millis, Replicas, Requests},
};
use spotscale_proto::demand::{DemandReport, ReportSummary, ServiceDemand, demand_server::Demand};
use tokio::time::timeout;
use tonic::{Code, Request, Response, Status, Streaming};

use super::{board::Board, metrics::Metrics, streams::Streams};

/// A front reports every second; one that is silent for so long is gone, and so is its call.
const SILENCE_MAX: Duration = Duration::from_secs(30);

/// Services that one front may report on.
const SERVICES_MAX: usize = 10_000;

/// The service that fronts call.
#[derive(Clone)]
pub(crate) struct DemandService {
    pub(crate) board: Arc<Board>,
    pub(crate) streams: Arc<Streams>,
    pub(crate) metrics: Arc<Metrics>,
}

/// One report, checked.
pub(crate) struct Report {
    pub(crate) front: FrontId,
    pub(crate) sequence: u64,
    pub(crate) services: Vec<(String, ServiceCounters)>,
    pub(crate) leaving: bool,
}

#[tonic::async_trait]
impl Demand for DemandService {
    async fn report(
        &self,
        request: Request<Streaming<DemandReport>>,
    ) -> Result<Response<ReportSummary>, Status> {
        let answer = self.receive(request.into_inner()).await;
        let code = answer.as_ref().map_or_else(Status::code, |_| Code::Ok);
        self.metrics.call("Report", code);
        answer.map(|accepted| Response::new(ReportSummary { accepted }))
    }
}

impl DemandService {
    /// Takes in reports until the front or the stream's lease ends; says how many.
    async fn receive(&self, mut reports: Streaming<DemandReport>) -> Result<u64, Status> {
        let lease = self.streams.lease("Report")?;
        let mut accepted = 0;
        loop {
            let next = tokio::select! {
                () = lease.ended() => break,
                next = timeout(SILENCE_MAX, reports.message()) => next,
            };
            let silent = |_| Status::deadline_exceeded("no report for 30 s");
            let Some(report) = next.map_err(silent)?? else { break };
            self.board.report(&Report::try_from(report)?);
            accepted += 1;
        }
        Ok(accepted)
    }
}

impl TryFrom<DemandReport> for Report {
    type Error = Status;

    fn try_from(report: DemandReport) -> Result<Self, Status> {
        let DemandReport { front, sequence, services, leaving } = report;
        let front = FrontId::try_from(front)
            .map_err(|error| Status::invalid_argument(format!("front: {error}")))?;
        if services.len() > SERVICES_MAX {
            let why = format!("services: {} of them, {SERVICES_MAX} at most", services.len());
            return Err(Status::invalid_argument(why));
        }
        let services = services.into_iter().map(counters).collect::<Result<_, _>>()?;
        Ok(Self { front, sequence, services, leaving })
    }
}

fn counters(said: ServiceDemand) -> Result<(String, ServiceCounters), Status> {
    if !(1..=253).contains(&said.service.len()) {
        return Err(Status::invalid_argument("service: a name of 1 to 253 characters"));
    }
    let squared = said.service_seconds_squared_total;
    if !squared.is_finite() || squared < 0.0 {
        let why = "service_seconds_squared_total: a finite number, not negative";
        return Err(Status::invalid_argument(why));
    }
    let counters = ServiceCounters {
        held: Requests(said.held),
        in_flight: Requests(said.in_flight),
        oldest_held: Millis(said.oldest_held_ms),
        arrivals_total: said.arrivals_total,
        served_total: said.served_total,
        service_micros_total: said.service_micros_total,
        service_seconds_squared_total: squared,
        endpoints: Replicas(said.endpoints),
        concurrency: said.concurrency_per_endpoint,
    };
    Ok((said.service, counters))
}
