//! A running `spotscale up` with a tiny model, on ports of the system's choice, and how to reach it. Everything that it
//! started ends with the test.

use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::ExitStatus,
    time::Duration,
};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Collected, Full};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use serde_json::Value;
use spotscale_test_cluster::{
    parts::part,
    role::{announced, role},
    tiny,
};
use tempfile::TempDir;
use tokio::{
    process::{Child, Command},
    time::{sleep, timeout},
};

/// For a busy machine. No test passes by waiting for it.
pub(crate) const PATIENCE: Duration = Duration::from_mins(2);

/// The process, and the folder that everything of it is in.
pub(crate) struct LocalMode {
    pub(crate) front: SocketAddr,
    pub(crate) console: SocketAddr,
    pub(crate) folder: TempDir,
    process: Child,
    http: Client<HttpConnector, Full<Bytes>>,
}

impl LocalMode {
    /// Starts it and waits until it serves.
    pub(crate) async fn start(flags: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (process, listening) = announced(command(folder.path(), flags)).await;
        let listening =
            listening.unwrap_or_else(|| panic!("it ended at once:\n{}", log(folder.path())));
        let address = |role: &str| listening[role].as_str().unwrap().parse().unwrap();
        let http = Client::builder(TokioExecutor::new()).build_http();
        Self { front: address("front"), console: address("console"), folder, process, http }
    }

    /// Classifies a picture; the status, or how the connection broke.
    pub(crate) async fn classify(&self) -> Result<u16, String> {
        self.classify_at(self.front).await
    }

    /// The same, asking a model server of that address.
    pub(crate) async fn classify_at(&self, address: SocketAddr) -> Result<u16, String> {
        let request = Request::post(format!("http://{address}/v1/classify"));
        let request = request.body(Full::new(picture())).unwrap();
        let answer = timeout(PATIENCE, self.http.request(request)).await;
        let answer = answer.map_err(|_| "no answer in time")?.map_err(|error| error.to_string())?;
        let status = answer.status().as_u16();
        body(answer).await.map(|_| status)
    }

    /// What the console sees.
    pub(crate) async fn view(&self) -> Value {
        let uri = format!("http://{}/api/view", self.console).parse().unwrap();
        let answer = self.http.get(uri).await.unwrap();
        serde_json::from_slice(&body(answer).await.unwrap()).unwrap()
    }

    /// Waits until so many replicas are in that phase, and returns their names.
    pub(crate) async fn until(&self, phase: &str, count: usize) -> Vec<String> {
        let seen = async {
            loop {
                let names = replicas(&self.view().await, phase);
                if names.len() == count {
                    return names;
                }
                sleep(Duration::from_millis(100)).await;
            }
        };
        if let Ok(names) = timeout(PATIENCE, seen).await {
            return names;
        }
        panic!("never {count} {phase}: {:#}", self.view().await)
    }

    /// Waits until no replica is left.
    pub(crate) async fn until_zero(&self) {
        for phase in ["starting", "ready", "draining", "stopping"] {
            self.until(phase, 0).await;
        }
    }

    /// The process ids of its replicas, as the system knows them.
    pub(crate) fn replica_pids(&self) -> Vec<u32> {
        let Some(parent) = self.process.id() else { return Vec::new() };
        let processes = fs::read_dir("/proc").unwrap().filter_map(Result::ok);
        let pids = processes.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
        pids.filter(|pid| parent_of(*pid) == Some(parent)).collect()
    }

    /// Asks it to end, and waits for that.
    pub(crate) async fn terminate(&mut self) -> ExitStatus {
        let pid = self.process.id().unwrap();
        kill("TERM", pid);
        self.ended().await
    }

    pub(crate) async fn killed(&mut self) -> ExitStatus {
        kill("KILL", self.process.id().unwrap());
        self.ended().await
    }

    async fn ended(&mut self) -> ExitStatus {
        timeout(PATIENCE, self.process.wait()).await.expect("it does not end").unwrap()
    }
}

/// Runs local mode to the end of a scenario; how it ended, its report, and its log.
pub(crate) async fn play(scenario: &Path) -> (ExitStatus, Value, String) {
    let folder = tempfile::tempdir().unwrap();
    let report = folder.path().join("report");
    let flags = [
        ("--scenario", scenario.to_owned()),
        ("--report", report.clone()),
        ("--pictures", part("SPOTSCALE_PICTURES")),
    ];
    let flags = flags.iter().flat_map(|(name, path)| [*name, path.to_str().unwrap()]);
    let (mut process, _) = announced(command(folder.path(), &flags.collect::<Vec<_>>())).await;
    let status = timeout(PATIENCE * 3, process.wait()).await.expect("it does not end").unwrap();
    let report = fs::read(report.join("report.json")).unwrap_or_default();
    let report = serde_json::from_slice(&report).unwrap_or_default();
    (status, report, log(folder.path()))
}

/// Signals a process, if it is still there.
pub(crate) fn kill(signal: &str, pid: u32) {
    let arguments = [format!("-{signal}"), pid.to_string()];
    std::process::Command::new("kill").args(arguments).output().unwrap();
}

pub(crate) fn is_running(pid: u32) -> bool {
    // A zombie has ended; it only waits for somebody to ask how.
    fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| field(&stat, 0) != Some("Z"))
}

/// The names of the replicas in a phase.
pub(crate) fn replicas(view: &Value, phase: &str) -> Vec<String> {
    let all = view["replicas"].as_array().unwrap().iter();
    let these = all.filter(|replica| replica["phase"] == phase);
    these.map(|replica| replica["name"].as_str().unwrap().to_owned()).collect()
}

fn command(folder: &Path, flags: &[&str]) -> Command {
    let log = fs::File::create(folder.join("up.log")).unwrap();
    let mut command = role(env!("CARGO_BIN_EXE_spotscale"));
    command
        .args(["up", "--listen=127.0.0.1:0", "--scaler-listen=127.0.0.1:0"])
        .args(["--console-listen=127.0.0.1:0", "--max-replicas=3", "--provisioning=500ms"])
        .args(["--cooldown=2s", "--idle-after=3s", "--stabilisation=3s"])
        .arg(format!("--logs={}", folder.join("replicas").display()))
        .arg(format!("--model={}", model().display()))
        .args(flags)
        .env("ORT_DYLIB_PATH", part("ORT_DYLIB_PATH"))
        .stderr(log);
    command
}

/// A file of the source.
pub(crate) fn source(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// A classifier that costs little.
pub(crate) fn model() -> PathBuf {
    let folder = concat!(env!("CARGO_TARGET_TMPDIR"), "/up-models");
    tiny::write_models_once(folder).join("logits.onnx")
}

/// A picture to classify.
pub(crate) fn picture() -> Bytes {
    fs::read(part("SPOTSCALE_PICTURES").join("coins.png")).unwrap().into()
}

fn log(folder: &Path) -> String {
    fs::read_to_string(folder.join("up.log")).unwrap_or_default()
}

fn parent_of(pid: u32) -> Option<u32> {
    field(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?, 1)?.parse().ok()
}

/// The field of that number after the program's name, which may itself hold spaces.
fn field(stat: &str, number: usize) -> Option<&str> {
    stat.rsplit_once(") ")?.1.split(' ').nth(number)
}

async fn body(answer: Response<hyper::body::Incoming>) -> Result<Bytes, String> {
    let body = answer.into_body().collect().await;
    body.map(Collected::to_bytes).map_err(|error| error.to_string())
}
