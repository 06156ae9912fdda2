//! A scaler in this process, and the two kinds of peer that it has: KEDA and a front.

use std::{collections::HashMap, net::SocketAddr, time::Duration};

use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use hyper_util::{client::legacy::Client, rt::TokioExecutor};
use serde_json::Value;
use spotscale_proto::{
    demand::{DemandReport, ServiceDemand, demand_client::DemandClient},
    externalscaler::{
        GetMetricsRequest, IsActiveResponse, ScaledObjectRef,
        external_scaler_client::ExternalScalerClient,
    },
};
use spotscale_scaler::keda::{Addresses, Config, Error, METRIC_NAME, run};
use tokio::{sync::mpsc, task::JoinHandle, time::timeout};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::{Status, Streaming, transport::Channel};

/// Long enough for a busy machine, short enough to fail a test that hangs.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) type Keda = ExternalScalerClient<Channel>;

/// A running scaler; stopped when dropped.
pub(crate) struct Server {
    pub(crate) addresses: Addresses,
    pub(crate) shutdown: CancellationToken,
    pub(crate) task: JoinHandle<Result<(), Error>>,
}

/// A front that reports on services.
pub(crate) struct Front {
    id: String,
    sequence: u64,
    reports: mpsc::Sender<DemandReport>,
    call: JoinHandle<Result<u64, Status>>,
}

impl Server {
    pub(crate) async fn start() -> Self {
        Self::start_with(config()).await
    }

    pub(crate) async fn start_with(config: Config) -> Self {
        config.validate().unwrap();
        let listeners = config.bind().await.unwrap();
        let addresses = listeners.addresses().unwrap();
        let shutdown = CancellationToken::new();
        let task = tokio::spawn(run(config, listeners, shutdown.clone()));
        Self { addresses, shutdown, task }
    }

    pub(crate) async fn channel(&self) -> Channel {
        let endpoint = Channel::from_shared(format!("http://{}", self.addresses.grpc)).unwrap();
        endpoint.connect().await.unwrap()
    }

    pub(crate) async fn keda(&self) -> Keda {
        ExternalScalerClient::new(self.channel().await)
    }

    pub(crate) async fn front(&self, id: &str) -> Front {
        Front::on(self.channel().await, id)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.shutdown.cancel();
    }
}

impl Front {
    pub(crate) fn on(channel: Channel, id: &str) -> Self {
        let (reports, receiver) = mpsc::channel(16);
        let call = tokio::spawn(async move {
            let summary = DemandClient::new(channel).report(ReceiverStream::new(receiver)).await?;
            Ok(summary.into_inner().accepted)
        });
        Self { id: id.to_owned(), sequence: 0, reports, call }
    }

    /// Reports the state of these services.
    pub(crate) async fn says(&mut self, services: Vec<ServiceDemand>) {
        self.sequence += 1;
        self.again(services).await;
    }

    /// Reports under the last sequence number, as a delayed message would.
    pub(crate) async fn again(&self, services: Vec<ServiceDemand>) {
        let (front, sequence) = (self.id.clone(), self.sequence);
        let report = DemandReport { front, sequence, services, leaving: false };
        self.reports.send(report).await.unwrap();
    }

    /// Reports once and ends; says how many reports were accepted.
    pub(crate) async fn only(mut self, services: Vec<ServiceDemand>) -> Result<u64, Status> {
        self.says(services).await;
        let Self { reports, call, .. } = self;
        drop(reports);
        call.await.unwrap()
    }
}

/// The flags' defaults, on ports that the system chooses.
pub(crate) fn config() -> Config {
    let any = "127.0.0.1:0".parse().unwrap();
    Config { listen: any, health_listen: any, admin_listen: any, ..Config::default() }
}

/// The trigger of the ScaledObject `ns/name`.
pub(crate) fn trigger(name: &str, metadata: &[(&str, &str)]) -> ScaledObjectRef {
    let pairs = metadata.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
    ScaledObjectRef {
        name: name.to_owned(),
        namespace: "ns".to_owned(),
        scaler_metadata: pairs.collect::<HashMap<_, _>>(),
    }
}

/// `held` requests wait for the service `ns/name` and `endpoints` replicas are ready.
pub(crate) fn demand(name: &str, held: u64, endpoints: u32) -> ServiceDemand {
    ServiceDemand {
        service: format!("ns/{name}"),
        held,
        oldest_held_ms: held.min(1),
        endpoints,
        concurrency_per_endpoint: 1,
        ..ServiceDemand::default()
    }
}

/// What `GetMetrics` answers: the one value.
pub(crate) async fn desired(keda: &mut Keda, reference: &ScaledObjectRef) -> Result<f64, Status> {
    let request = GetMetricsRequest {
        scaled_object_ref: Some(reference.clone()),
        metric_name: METRIC_NAME.to_owned(),
    };
    let values = keda.get_metrics(request).await?.into_inner().metric_values;
    assert_eq!(values.len(), 1, "the HPA adds up every value: {values:?}");
    assert_eq!(values[0].metric_name, METRIC_NAME);
    Ok(values[0].metric_value_float)
}

/// Asks until the answer is as wanted.
pub(crate) async fn until_desired(
    keda: &mut Keda,
    reference: &ScaledObjectRef,
    fits: fn(f64) -> bool,
) {
    let mut last = None;
    let asked = timeout(PATIENCE, async {
        loop {
            last = Some(desired(keda, reference).await);
            if matches!(last, Some(Ok(value)) if fits(value)) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    });
    assert!(asked.await.is_ok(), "the last answer was {last:?}");
}

/// The next pushed message within `limit`; `None` when there was none.
pub(crate) async fn pushed(
    stream: &mut Streaming<IsActiveResponse>,
    limit: Duration,
) -> Option<bool> {
    let next = timeout(limit, stream.message()).await.ok()?;
    Some(next.expect("the stream failed").expect("the stream ended").result)
}

/// Status and body of a page of the admin port.
pub(crate) async fn get(address: SocketAddr, path: &str) -> (u16, String) {
    let client = Client::builder(TokioExecutor::new()).build_http::<Empty<Bytes>>();
    let answer = client.get(format!("http://{address}{path}").parse().unwrap()).await.unwrap();
    let status = answer.status().as_u16();
    let body = answer.into_body().collect().await.unwrap().to_bytes();
    (status, String::from_utf8(body.to_vec()).unwrap())
}

/// The page that explains every decision.
pub(crate) async fn explanation(server: &Server) -> Value {
    let (status, page) = get(server.addresses.admin, "/debug/scaler").await;
    assert_eq!(status, 200);
    serde_json::from_str(&page).unwrap()
}

/// Looks at the explanation of the first trigger until it fits.
pub(crate) async fn until(server: &Server, fits: impl Fn(&Value) -> bool) -> Value {
    let mut page = Value::Null;
    let looked = timeout(PATIENCE, async {
        loop {
            page = explanation(server).await;
            if fits(&page["objects"][0]) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    });
    assert!(looked.await.is_ok(), "the last page was {page:#}");
    page["objects"][0].take()
}

/// Scrapes until some line begins with this.
pub(crate) async fn until_metric(server: &Server, line: &str) {
    let scraped = timeout(PATIENCE, async {
        while !get(server.addresses.admin, "/metrics").await.1.contains(line) {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    });
    assert!(scraped.await.is_ok(), "{line} never came");
}
