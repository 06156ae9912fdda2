//! A role of the program as a process: its log is among the cluster's, and it does not outlive the test.

use std::{fs::File, time::Duration};

use anyhow::Context as _;
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper_util::{client::legacy::Client, rt::TokioExecutor};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use spotscale_test_cluster::{
    group::Group,
    role::{announced, role},
};
use tokio::process::Child;

/// Longer than any end takes on a busy machine.
const PATIENCE: Duration = Duration::from_mins(1);

/// A running role.
pub(crate) struct Process {
    child: Child,
    listening: Value,
}

impl Process {
    /// `spotscale` with these arguments and variables, and nothing else that tells it anything. Returns when it listens.
    pub(crate) async fn start(
        group: &Group,
        name: &str,
        args: &[String],
        env: &[(&str, String)],
    ) -> Self {
        let log = File::options().create(true).append(true).open(group.log(name)).unwrap();
        let mut command = role(env!("CARGO_BIN_EXE_spotscale"));
        let env = env.iter().map(|(variable, value)| (variable, value));
        command.args(args).envs(env).stderr(log);
        let (child, listening) = announced(command).await;
        let listening =
            listening.unwrap_or_else(|| panic!("{name} has ended: {}", group.log(name).display()));
        Self { child, listening }
    }

    /// The URL of one of its listeners.
    pub(crate) fn url(&self, listener: &str) -> String {
        format!("http://{}", self.listening[listener].as_str().unwrap())
    }

    /// A page of its admin port; nothing where it has no such page now.
    pub(crate) async fn page(&self, path: &str) -> Value {
        serde_json::from_str(&self.text(path).await).unwrap_or_default()
    }

    /// The same as text.
    pub(crate) async fn text(&self, path: &str) -> String {
        let url = format!("{}{path}", self.url("admin")).parse().unwrap();
        let http: Client<_, Full<Bytes>> = Client::builder(TokioExecutor::new()).build_http();
        let Ok(answer) = http.get(url).await else { return String::new() };
        let body = answer.into_body().collect().await.unwrap().to_bytes();
        String::from_utf8_lossy(&body).into_owned()
    }

    /// The value of a metric without labels.
    pub(crate) async fn metric(&self, name: &str) -> anyhow::Result<f64> {
        let text = self.text("/metrics").await;
        let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        Ok(value.with_context(|| format!("no {name}"))?.parse()?)
    }

    /// Its number, while it has not been waited for.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id().unwrap()
    }

    /// Sends it a signal.
    pub(crate) fn signal(&self, signal: Signal) {
        kill(self.pid(), signal);
    }

    /// Waits until it is no more.
    pub(crate) async fn ended(&mut self) {
        tokio::time::timeout(PATIENCE, self.child.wait()).await.unwrap().unwrap();
    }
}

/// Sends a signal to a process of ours.
pub(crate) fn kill(pid: u32, signal: Signal) {
    kill_process(Pid::from_raw(pid as i32).unwrap(), signal).unwrap();
}
