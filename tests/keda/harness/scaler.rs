//! `spotscale scaler` as a process that can be killed, and started again where it was.

use std::{net::SocketAddr, process::Stdio};

use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use hyper_util::{client::legacy::Client, rt::TokioExecutor};
use serde_json::Value;
use spotscale_test_cluster::until;
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::{Child, Command},
    time::timeout,
};

use super::PATIENCE;

/// The process; killed when dropped.
pub(crate) struct Scaler {
    pub(crate) grpc: SocketAddr,
    pub(crate) admin: SocketAddr,
    flags: Vec<String>,
    process: Child,
}

impl Scaler {
    /// Starts one on ports of the system's choice.
    pub(crate) async fn start(flags: &[&str]) -> Self {
        let flags: Vec<_> = flags.iter().map(ToString::to_string).collect();
        let any = "127.0.0.1:0".parse().unwrap();
        Self::start_at(any, any, flags).await
    }

    /// Two of them at one port of two addresses, as the Pods behind one name are.
    pub(crate) async fn pair() -> [Self; 2] {
        let any = "127.0.0.1:0".parse().unwrap();
        let first = Self::start(&[]).await;
        let grpc = SocketAddr::from(([127, 0, 0, 2], first.grpc.port()));
        let second = Self::start_at(grpc, any, Vec::new()).await;
        [first, second]
    }

    async fn start_at(grpc: SocketAddr, admin: SocketAddr, flags: Vec<String>) -> Self {
        let mut process = Command::new(env!("CARGO_BIN_EXE_spotscale"))
            .args(["scaler", "--health-listen=127.0.0.1:0"])
            .args([format!("--listen={grpc}"), format!("--admin-listen={admin}")])
            .args(&flags)
            .env("SPOTSCALE_LOG", "warn")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(process.stdout.take().unwrap()).lines();
        let first = timeout(PATIENCE, lines.next_line()).await.expect("it says nothing").unwrap();
        let first: Value = serde_json::from_str(&first.expect("it ended at once")).unwrap();
        let address = |name: &str| first["listening"][name].as_str().unwrap().parse().unwrap();
        Self { grpc: address("grpc"), admin: address("admin"), flags, process }
    }

    /// What `/debug/scaler` shows.
    pub(crate) async fn explained(&self) -> Value {
        serde_json::from_slice(&self.get("/debug/scaler").await).unwrap()
    }

    /// The sum of a counter over its labels.
    pub(crate) async fn counter(&self, name: &str) -> u64 {
        let page = String::from_utf8(self.get("/metrics").await.to_vec()).unwrap();
        let lines = page.lines().filter(|line| line.split(['{', ' ']).next() == Some(name));
        lines.map(|line| line.rsplit(' ').next().unwrap().parse::<u64>().unwrap()).sum()
    }

    async fn get(&self, path: &str) -> Bytes {
        let uri = format!("http://{}{path}", self.admin).parse().unwrap();
        let client: Client<_, Empty<Bytes>> = Client::builder(TokioExecutor::new()).build_http();
        client.get(uri).await.unwrap().into_body().collect().await.unwrap().to_bytes()
    }

    /// How many replicas it wants of the ScaledObject in this namespace, once it knows.
    pub(crate) async fn desired(&self, namespace: &str) -> Option<i32> {
        let page = self.explained().await;
        let object =
            page["objects"].as_array()?.iter().find(|object| object["namespace"] == namespace)?;
        Some(object["snapshot"]["decision"]["scale"]["desired"].as_i64()? as i32)
    }

    /// Waits until a front has reported on this service.
    pub(crate) async fn until_reported(&self, service: &str) {
        let reported =
            || async { Ok(self.explained().await["services"][service].as_u64() > Some(0)) };
        until("a report", reported).await.unwrap();
    }

    /// Ends it without warning.
    pub(crate) async fn kill(&mut self) {
        self.process.kill().await.unwrap();
    }

    /// Ends it as Kubernetes does, and waits for that.
    pub(crate) async fn terminate(&mut self) {
        let pid = self.process.id().unwrap().to_string();
        assert!(Command::new("kill").args(["-TERM", &pid]).status().await.unwrap().success());
        let status =
            timeout(PATIENCE, self.process.wait()).await.expect("it does not end").unwrap();
        assert!(status.success(), "{status}");
    }

    /// Starts it again at the same addresses.
    pub(crate) async fn restart(&mut self) {
        *self = Self::start_at(self.grpc, self.admin, std::mem::take(&mut self.flags)).await;
    }
}
