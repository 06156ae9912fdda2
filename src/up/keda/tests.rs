//! The stand-in against a scripted scaler over a real connection: what it asks, in which order, and what it makes of the
//! answers.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use spotscale_proto::externalscaler::{
    GetMetricSpecResponse, GetMetricsRequest, GetMetricsResponse, IsActiveResponse, MetricSpec,
    MetricValue, ScaledObjectRef,
    external_scaler_server::{ExternalScaler, ExternalScalerServer},
};
use tokio::{net::TcpListener, sync::mpsc};
use tokio_stream::wrappers::{ReceiverStream, TcpListenerStream};
use tokio_util::sync::{CancellationToken, DropGuard};
use tonic::{
    Request, Response, Status,
    transport::{Channel, Server},
};

use super::{ScaleTarget, ScaledObject, run};

/// What the scripted scaler says now, and what it was asked.
#[derive(Default)]
struct Script {
    active: bool,
    desired: f64,
    fails: bool,
    calls: Vec<&'static str>,
    pushes: Option<mpsc::Sender<Result<IsActiveResponse, Status>>>,
}

#[derive(Clone, Default)]
struct Scripted(Arc<Mutex<Script>>);

impl Scripted {
    fn answer<T>(
        &self,
        call: &'static str,
        answer: impl FnOnce(&mut Script) -> T,
    ) -> Result<Response<T>, Status> {
        let mut script = self.0.lock().unwrap();
        script.calls.push(call);
        if script.fails {
            Err(Status::unavailable("scripted"))
        } else {
            Ok(Response::new(answer(&mut script)))
        }
    }
}

#[tonic::async_trait]
impl ExternalScaler for Scripted {
    type StreamIsActiveStream = ReceiverStream<Result<IsActiveResponse, Status>>;
    type StreamMetricSpecStream = ReceiverStream<Result<GetMetricSpecResponse, Status>>;

    async fn is_active(
        &self,
        _: Request<ScaledObjectRef>,
    ) -> Result<Response<IsActiveResponse>, Status> {
        self.answer("IsActive", |script| IsActiveResponse { result: script.active })
    }

    async fn stream_is_active(
        &self,
        _: Request<ScaledObjectRef>,
    ) -> Result<Response<Self::StreamIsActiveStream>, Status> {
        let (sender, receiver) = mpsc::channel(1);
        self.0.lock().unwrap().pushes = Some(sender);
        Ok(Response::new(ReceiverStream::new(receiver)))
    }

    async fn get_metric_spec(
        &self,
        _: Request<ScaledObjectRef>,
    ) -> Result<Response<GetMetricSpecResponse>, Status> {
        let spec = MetricSpec {
            metric_name: "replicas".to_owned(),
            target_size: 1,
            target_size_float: 1.0,
        };
        self.answer("GetMetricSpec", |_| GetMetricSpecResponse { metric_specs: vec![spec] })
    }

    async fn get_metrics(
        &self,
        request: Request<GetMetricsRequest>,
    ) -> Result<Response<GetMetricsResponse>, Status> {
        let metric_name = request.into_inner().metric_name;
        self.answer("GetMetrics", |script| {
            let metric_value_float = script.desired;
            let value = MetricValue { metric_name, metric_value: 0, metric_value_float };
            GetMetricsResponse { metric_values: vec![value] }
        })
    }

    async fn stream_metric_spec(
        &self,
        _: Request<ScaledObjectRef>,
    ) -> Result<Response<Self::StreamMetricSpecStream>, Status> {
        Err(Status::unimplemented("not needed here"))
    }
}

#[derive(Default)]
struct Deployment(AtomicU32);

impl ScaleTarget for Deployment {
    fn replicas(&self) -> u32 {
        self.0.load(Ordering::SeqCst)
    }

    fn scale(&self, replicas: u32) {
        self.0.store(replicas, Ordering::SeqCst);
    }
}

/// A stand-in that polls and syncs every 20 ms, connected to a scripted scaler.
struct Stage {
    scaler: Scripted,
    deployment: Arc<Deployment>,
    _end: DropGuard,
}

impl Stage {
    async fn new(cooldown: Duration) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (scaler, deployment) = (Scripted::default(), Arc::new(Deployment::default()));
        let serving = Server::builder()
            .add_service(ExternalScalerServer::new(scaler.clone()))
            .serve_with_incoming(TcpListenerStream::new(listener));
        tokio::spawn(serving);
        let every = Duration::from_millis(20);
        let object = ScaledObject {
            name: "a".to_owned(),
            metadata: Vec::new(),
            min_replicas: 0,
            max_replicas: 4,
            polling_interval: every,
            cooldown,
            hpa_sync_period: every,
            down_stabilization: Duration::ZERO,
        };
        let channel = Channel::from_shared(format!("http://{address}")).unwrap().connect_lazy();
        let end = CancellationToken::new();
        tokio::spawn(run(object, channel, Arc::clone(&deployment) as _, end.clone()));
        Self { scaler, deployment, _end: end.drop_guard() }
    }

    fn say(&self, active: bool, desired: f64) {
        let mut script = self.scaler.0.lock().unwrap();
        (script.active, script.desired) = (active, desired);
    }

    fn fail(&self, fails: bool) {
        self.scaler.0.lock().unwrap().fails = fails;
    }

    fn calls(&self) -> Vec<&'static str> {
        std::mem::take(&mut self.scaler.0.lock().unwrap().calls)
    }

    async fn push(&self, result: bool) {
        loop {
            let pushes = self.scaler.0.lock().unwrap().pushes.clone();
            if let Some(pushes) = pushes {
                return pushes.send(Ok(IsActiveResponse { result })).await.unwrap();
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    async fn until(&self, replicas: u32) {
        let reached = async {
            while self.deployment.replicas() != replicas {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        let patience = Duration::from_secs(30);
        assert!(tokio::time::timeout(patience, reached).await.is_ok(), "never at {replicas}");
    }

    /// Waits for so many whole polls.
    async fn polls(&self, count: usize) {
        let mut seen = 0;
        while seen < count {
            tokio::time::sleep(Duration::from_millis(5)).await;
            seen += self.calls().iter().filter(|call| **call == "IsActive").count();
        }
    }
}

#[tokio::test]
async fn a_poll_asks_in_kedas_order() {
    let stage = Stage::new(Duration::ZERO).await;
    while stage.scaler.0.lock().unwrap().calls.len() < 6 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let one = ["GetMetricSpec", "GetMetrics", "IsActive"];
    assert_eq!(stage.calls()[..6], [one, one].concat());
}

#[tokio::test]
async fn polls_take_it_from_zero_to_what_the_hpa_wants_and_back() {
    let stage = Stage::new(Duration::ZERO).await;
    stage.say(true, 3.0);
    stage.until(3).await;
    stage.say(true, 9.0);
    stage.until(4).await;
    stage.say(false, 0.0);
    stage.until(0).await;
}

#[tokio::test]
async fn a_push_wakes_and_a_pushed_false_does_nothing() {
    let stage = Stage::new(Duration::from_mins(10)).await;
    stage.polls(3).await;
    assert_eq!(stage.deployment.replicas(), 0);
    stage.push(true).await;
    stage.until(1).await;
    stage.push(false).await;
    stage.polls(3).await;
    assert_eq!(stage.deployment.replicas(), 1, "the cooldown has not passed");
}

#[tokio::test]
async fn an_error_holds_what_there_is_and_is_asked_about_once_more() {
    let stage = Stage::new(Duration::ZERO).await;
    stage.say(true, 2.0);
    stage.until(2).await;
    stage.fail(true);
    stage.say(false, 0.0);
    while stage.scaler.0.lock().unwrap().calls.len() < 40 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(stage.deployment.replicas(), 2);
    let last = stage.calls().split_off(30);
    assert!(
        last.iter().all(|call| *call == "GetMetricSpec"),
        "it went on after an error: {last:?}"
    );
    stage.fail(false);
    stage.until(0).await;
}
