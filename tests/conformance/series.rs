//! A real Prometheus that scrapes what a test exposes, and one that only hangs.

use std::{
    fs,
    process::Stdio,
    time::{Duration, SystemTime},
};

use axum::{Router, routing::get};
use tempfile::TempDir;
use tokio::{
    io::{AsyncBufReadExt as _, BufReader},
    net::TcpListener,
    process::{Child, Command},
    time::timeout,
};

use crate::{
    keda::{PATIENCE, until},
    scaler::page,
};

/// A Prometheus with a data folder of its own.
pub(crate) struct Prometheus {
    pub(crate) url: String,
    _process: Child,
    _folder: TempDir,
}

impl Prometheus {
    /// Scrapes these series five times a second, each with its value, or its value and when that was. It has them all.
    pub(crate) async fn of(series: &[(&str, &str)]) -> Self {
        let prometheus = Self::start(
            series
                .iter()
                .map(|(name, sample)| format!("{name} {sample}\n"))
                .collect::<Vec<_>>()
                .concat(),
        );
        let prometheus = prometheus.await;
        for (name, _) in series {
            let question = format!("{}/api/v1/query?query={name}[2h]", prometheus.url);
            until(name, async || page(&question).await.contains("\"values\"").then_some(())).await;
        }
        prometheus
    }

    async fn start(exposed: String) -> Self {
        let exporter = serve(Router::new().route("/metrics", get(async move || exposed.clone())));
        let folder = tempfile::tempdir().unwrap();
        let config = folder.path().join("prometheus.yml");
        let text = format!(
            "{{global: {{scrape_interval: 200ms, scrape_timeout: 200ms}}, scrape_configs: \
             [{{job_name: test, static_configs: [{{targets: ['{}']}}]}}]}}",
            exporter.await
        );
        fs::write(&config, text).unwrap();
        let mut process = Command::new("prometheus")
            .arg(format!("--config.file={}", config.display()))
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
        let listening = timeout(PATIENCE, async {
            loop {
                let line = log.next_line().await.unwrap().expect("Prometheus ended at once");
                if let Some((_, address)) = line.split_once("\"Listening on\" address=") {
                    return address.to_owned();
                }
            }
        });
        let url = format!("http://{}", listening.await.expect("Prometheus does not listen"));
        tokio::spawn(async move { while let Ok(Some(_)) = log.next_line().await {} });
        Self { url, _process: process, _folder: folder }
    }
}

/// The URL of a Prometheus that takes every query and answers none.
pub(crate) async fn hanging() -> String {
    let hangs = async || std::future::pending::<String>().await;
    let address = serve(Router::new().route("/api/v1/query", get(hangs).post(hangs))).await;
    format!("http://{address}")
}

/// A moment so long ago, as the exposition format writes it.
pub(crate) fn ago(age: Duration) -> u128 {
    SystemTime::UNIX_EPOCH.elapsed().unwrap().checked_sub(age).unwrap().as_millis()
}

async fn serve(routes: Router) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    tokio::spawn(async move { axum::serve(listener, routes).await });
    address
}
