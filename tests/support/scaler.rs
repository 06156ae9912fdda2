//! A real scaler process that can be killed, and started again where it was; and a front that reports to it.

#![allow(dead_code, reason = "each test program that takes this in uses a part of it")]

use std::{
    net::SocketAddr,
    process::ExitStatus,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use bytes::Bytes;
use futures::{Stream, stream};
use http_body_util::{BodyExt as _, Empty};
use hyper_util::{client::legacy::Client, rt::TokioExecutor};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use spotscale_proto::demand::{DemandReport, ServiceDemand, demand_client::DemandClient};
use spotscale_test_cluster::role::{announced, role};
use tokio::{
    process::Child,
    sync::watch,
    time::{sleep, timeout},
};
use tokio_util::task::AbortOnDropHandle;

/// For a busy machine. No test passes by waiting for it.
pub(crate) const PATIENCE: Duration = Duration::from_mins(2);

/// Fronts report every second; twice as often leaves room for a busy machine.
const HEARTBEAT: Duration = Duration::from_millis(500);

/// A running `spotscale scaler`.
pub(crate) struct Scaler {
    /// `scalerAddress` of a trigger.
    pub(crate) grpc: String,
    /// Serves `/metrics` and `/debug/scaler`.
    pub(crate) admin: SocketAddr,
    flags: Vec<String>,
    process: Child,
}

/// A front that keeps reporting on services, also to a scaler that comes back.
pub(crate) struct Front {
    services: watch::Sender<Vec<ServiceDemand>>,
    _task: AbortOnDropHandle<()>,
}

impl Scaler {
    /// Starts one on an address that the system chooses.
    pub(crate) async fn start(flags: &[&str]) -> Self {
        Self::start_at("127.0.0.1:0", flags.iter().map(ToString::to_string).collect()).await
    }

    /// Starts one on an address of 127.0.0.0/8 that is this test's own, so that nobody takes it between two lives.
    pub(crate) async fn start_alone(host: &str) -> Self {
        Self::start_at(&format!("{host}:0"), Vec::new()).await
    }

    /// Two of them at one port of two addresses, which nobody else has, as the Pods behind one name are.
    pub(crate) async fn pair() -> [Self; 2] {
        let first = Self::start_alone("127.7.2.1").await;
        let port = first.grpc.rsplit_once(':').unwrap().1.to_owned();
        [first, Self::start_at(&format!("127.7.2.2:{port}"), Vec::new()).await]
    }

    async fn start_at(address: &str, flags: Vec<String>) -> Self {
        let mut command = role(env!("CARGO_BIN_EXE_spotscale"));
        command
            .args(["--log=error", "scaler", "--listen", address])
            .args(["--health-listen=127.0.0.1:0", "--admin-listen=127.0.0.1:0"])
            .args(&flags);
        let (process, listening) = announced(command).await;
        let listening = listening.expect("it ended at once");
        let text = |name: &str| listening[name].as_str().unwrap().to_owned();
        Self { grpc: text("grpc"), admin: text("admin").parse().unwrap(), flags, process }
    }

    /// Starts it again on the same address, after it has ended.
    pub(crate) async fn restart(&mut self) {
        self.process.wait().await.unwrap();
        *self = Self::start_at(&self.grpc, std::mem::take(&mut self.flags)).await;
    }

    /// Ends as a crash does.
    pub(crate) async fn kill(&mut self) {
        self.process.kill().await.unwrap();
    }

    /// Ends as Kubernetes asks for.
    pub(crate) async fn terminate(&mut self) -> ExitStatus {
        let pid = Pid::from_raw(self.process.id().unwrap() as i32).unwrap();
        kill_process(pid, Signal::TERM).unwrap();
        timeout(PATIENCE, self.process.wait()).await.expect("it does not end").unwrap()
    }

    /// A page of the admin port.
    pub(crate) async fn page(&self, path: &str) -> String {
        page(&format!("http://{}{path}", self.admin)).await
    }

    /// What `/debug/scaler` shows.
    pub(crate) async fn explained(&self) -> Value {
        serde_json::from_str(&self.page("/debug/scaler").await).unwrap()
    }
}

impl Front {
    /// Reports to a plaintext scaler.
    pub(crate) fn of(scaler: &Scaler, services: Vec<ServiceDemand>) -> Self {
        static SEQUENCE: AtomicU64 = AtomicU64::new(1);
        let services = watch::Sender::new(services);
        let (receiver, url) = (services.subscribe(), format!("http://{}", scaler.grpc));
        let name = format!("front-{}", SEQUENCE.fetch_add(1, Ordering::Relaxed));
        let task = AbortOnDropHandle::new(tokio::spawn(async move {
            loop {
                if let Ok(mut client) = DemandClient::connect(url.clone()).await {
                    let _ = client.report(reports(name.clone(), receiver.clone(), &SEQUENCE)).await;
                }
                sleep(Duration::from_millis(50)).await;
            }
        }));
        Self { services, _task: task }
    }

    /// Reports this from now on, and at once.
    pub(crate) fn says(&self, services: Vec<ServiceDemand>) {
        self.services.send_replace(services);
    }
}

/// The text at a URL.
pub(crate) async fn page(url: &str) -> String {
    let client = Client::builder(TokioExecutor::new()).build_http::<Empty<Bytes>>();
    let answer = client.get(url.parse().unwrap()).await.unwrap();
    let body = answer.into_body().collect().await.unwrap();
    String::from_utf8(body.to_bytes().to_vec()).unwrap()
}

/// A report now, at every change, and at every heartbeat.
fn reports(
    front: String,
    mut services: watch::Receiver<Vec<ServiceDemand>>,
    sequence: &'static AtomicU64,
) -> impl Stream<Item = DemandReport> + Send + 'static {
    services.mark_changed();
    stream::unfold((front, services), move |(front, mut services)| async move {
        if let Ok(Err(_)) = timeout(HEARTBEAT, services.changed()).await {
            return None;
        }
        let report = DemandReport {
            front: front.clone(),
            sequence: sequence.fetch_add(1, Ordering::Relaxed),
            services: services.borrow_and_update().clone(),
            leaving: false,
        };
        Some((report, (front, services)))
    })
}
