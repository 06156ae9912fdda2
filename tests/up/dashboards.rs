//! The chart's dashboards on a real Prometheus, which scrapes local mode while a short day is played.

use std::{collections::BTreeSet, fs, net::SocketAddr, path::PathBuf, time::Duration};

use jiff::Timestamp;
use prometheus_http_query::{Client, response::Sample};
use serde_json::Value;
use spotscale_test_cluster::{
    parts::part,
    prometheus::Prometheus,
    role::{announced, role},
};
use tempfile::TempDir;
use tokio::{
    process::Child,
    time::{sleep, timeout},
};

use crate::local_mode::{LocalMode, PATIENCE, model, source};

const DASHBOARDS: [&str; 2] = ["requests", "money"];
/// What stands in a query for what Grafana puts there.
const VARIABLES: [(&str, &str); 4] = [
    ("$__rate_interval", "10s"),
    ("$service", ".*"),
    ("$namespace", ".*"),
    ("$instance_type", ".*"),
];
/// Told by others: DCGM's exporter and the kubelet.
const FOREIGN: [&str; 2] = ["DCGM_", "container_"];
/// Told from the first time on that it happens. The front's own tests see to it that they are.
const RARE: [&str; 3] = [
    "spotscale_front_retries_total",
    "spotscale_front_ejections_total",
    "spotscale_front_refusals_total",
];

/// A panel's query, as Prometheus is to answer it.
#[derive(Debug, Clone)]
struct Query {
    panel: String,
    text: String,
}

/// A model server by itself, of which more is known than of one that comes and goes.
struct Inference {
    address: SocketAddr,
    _process: Child,
}

impl Inference {
    async fn start() -> Self {
        let model = format!("--model=tiny={}", model().display());
        let mut command = role(env!("CARGO_BIN_EXE_spotscale"));
        command
            .args(["inference", "--device=cpu", "--threads=1", &model])
            .args(["--listen=127.0.0.1:0", "--grpc-listen=127.0.0.1:0"])
            .env("ORT_DYLIB_PATH", part("ORT_DYLIB_PATH"));
        let (process, listening) = announced(command).await;
        let listening = listening.expect("it ended at once");
        let address = listening["http"].as_str().unwrap().parse().unwrap();
        Self { address, _process: process }
    }
}

fn chart(file: &str) -> PathBuf {
    source("manifests/chart/files").join(file)
}

fn dashboard(name: &str) -> Value {
    let text = fs::read_to_string(chart(&format!("dashboards/{name}.json"))).unwrap();
    serde_json::from_str(&text).unwrap()
}

fn panels(dashboard: &Value) -> Vec<&Value> {
    let panels = dashboard["panels"].as_array().unwrap().iter();
    panels.filter(|panel| panel["type"] != "row").collect()
}

fn queries(dashboard: &Value) -> Vec<Query> {
    let of = |panel: &Value| {
        let targets = panel["targets"].as_array().unwrap().iter();
        let query = |target: &Value| {
            let text = target["expr"].as_str().unwrap().to_owned();
            let text = VARIABLES.iter().fold(text, |text, (name, value)| text.replace(name, value));
            Query { panel: panel["title"].as_str().unwrap().to_owned(), text }
        };
        targets.map(query).collect::<Vec<_>>()
    };
    panels(dashboard).into_iter().flat_map(of).collect()
}

/// Scrapes both, and evaluates the chart's rules as often.
async fn prometheus(targets: [SocketAddr; 2], folder: &TempDir) -> Prometheus {
    let rules = fs::read_to_string(chart("rules.yaml")).unwrap();
    let hastened = rules.replace("interval: 1m", "interval: 1s");
    assert_ne!(hastened, rules);
    let file = folder.path().join("rules.yaml");
    fs::write(&file, hastened).unwrap();
    let [up, inference] = targets;
    let config = format!(
        "{{global: {{scrape_interval: 1s, scrape_timeout: 1s, evaluation_interval: 1s}}, \
         rule_files: ['{}'], \
         scrape_configs: [{{job_name: test, static_configs: [{{targets: ['{up}', '{inference}']}}]}}]}}",
        file.display()
    );
    Prometheus::start(&config).await
}

/// Those that have shown nothing since then.
async fn silent(prometheus: &Client, queries: &[Query], since: Timestamp) -> Vec<Query> {
    let mut silent = vec![];
    for query in queries {
        let now = Timestamp::now().as_second();
        let answer = prometheus.query_range(&query.text, since.as_second(), now, 1.0).get().await;
        let answer = answer.unwrap_or_else(|error| panic!("{query:?}: {error}"));
        let series = answer.data().as_matrix().unwrap();
        let is_number = |sample: &Sample| !sample.value().is_nan();
        if !series.iter().any(|series| series.samples().iter().any(is_number)) {
            silent.push(query.clone());
        }
    }
    silent
}

#[tokio::test(flavor = "multi_thread")]
async fn every_panel_shows_something_of_two_cold_starts_and_an_interruption() {
    let folder = tempfile::tempdir().unwrap();
    let flags = [
        ("scenario", source("tests/up/dashboards.toml")),
        ("pictures", part("SPOTSCALE_PICTURES")),
        ("report", folder.path().join("report")),
    ];
    let flags = flags.map(|(name, path)| format!("--{name}={}", path.display()));
    let up = LocalMode::start(&flags.each_ref().map(String::as_str)).await;
    let inference = Inference::start().await;
    let since = Timestamp::now();
    let prometheus = prometheus([up.console, inference.address], &folder).await;
    let client = Client::try_from(prometheus.url.as_str()).unwrap();
    let mut queries: Vec<Query> =
        DASHBOARDS.iter().flat_map(|name| queries(&dashboard(name))).collect();
    assert!(queries.len() > 40, "{queries:#?}");
    let is_of = |query: &Query, names: &[&str]| names.iter().any(|name| query.text.contains(name));
    // Those about what others tell are well put at least.
    silent(&client, &queries, since).await;
    queries.retain(|query| !is_of(query, &FOREIGN) && !is_of(query, &RARE));
    let all = async {
        while !queries.is_empty() {
            assert_eq!(up.classify_at(inference.address).await, Ok(200));
            sleep(Duration::from_secs(1)).await;
            queries = silent(&client, &queries, since).await;
        }
    };
    let in_time = timeout(PATIENCE * 2, all).await.is_ok();
    let empty = queries.iter().map(|query| format!("{}: {}", query.panel, query.text));
    assert!(in_time, "these show nothing: {:#?}", empty.collect::<Vec<_>>());
}

#[test]
fn panels_lie_side_by_side_and_say_what_they_show() {
    for dashboard in DASHBOARDS.map(dashboard) {
        let mut taken = BTreeSet::new();
        for panel in dashboard["panels"].as_array().unwrap() {
            let side = |name: &str| panel["gridPos"][name].as_u64().unwrap();
            let (x, y, w, h) = (side("x"), side("y"), side("w"), side("h"));
            assert!(x + w <= 24, "{panel:#}");
            let cells = (x..x + w).flat_map(|x| (y..y + h).map(move |y| (x, y)));
            assert!(
                cells.into_iter().all(|cell| taken.insert(cell)),
                "it covers another: {panel:#}"
            );
        }
        for panel in panels(&dashboard) {
            assert!(!panel["description"].as_str().unwrap().is_empty(), "{panel:#}");
            assert!(panel["fieldConfig"]["defaults"]["unit"].is_string(), "{panel:#}");
            assert_eq!(panel["datasource"]["uid"], "${datasource}");
        }
    }
}
