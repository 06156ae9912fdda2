//! A real Prometheus (Debian: `prometheus`), with a data folder of its own.

use std::{fs, process::Stdio, time::Duration};

use tempfile::TempDir;
use tokio::{
    io::{AsyncBufReadExt as _, BufReader},
    process::{Child, Command},
    time::timeout,
};

/// For a busy machine.
const PATIENCE: Duration = Duration::from_mins(1);

/// It runs until this is dropped.
pub struct Prometheus {
    /// The base URL.
    pub url: String,
    _process: Child,
    _folder: TempDir,
}

impl Prometheus {
    /// Starts one with this configuration on a port of the system's choice, and waits until it answers.
    pub async fn start(config: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("prometheus.yml");
        fs::write(&file, config).unwrap();
        let mut process = Command::new("prometheus")
            .arg(format!("--config.file={}", file.display()))
            .arg(format!("--storage.tsdb.path={}", folder.path().join("data").display()))
            .arg("--web.listen-address=127.0.0.1:0")
            .stdin(Stdio::null())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap_or_else(|error| {
                panic!("prometheus: {error}: run `make test`, which brings it")
            });
        let mut log = BufReader::new(process.stderr.take().unwrap()).lines();
        let ready = timeout(PATIENCE, async {
            // Two of its parts say these, and either may be first.
            let (mut address, mut ready) = (None, false);
            loop {
                let line = log.next_line().await.unwrap().expect("Prometheus ended at once");
                let told = line.split_once("\"Listening on\" address=");
                address = told.map(|(_, told)| told.to_owned()).or(address);
                ready |= line.contains("Server is ready");
                if let (Some(address), true) = (&address, ready) {
                    return address.clone();
                }
            }
        });
        let url = format!("http://{}", ready.await.expect("Prometheus does not become ready"));
        tokio::spawn(async move { while let Ok(Some(_)) = log.next_line().await {} });
        Self { url, _process: process, _folder: folder }
    }
}
