//! A real Prometheus that scrapes what a test exposes, and one that only hangs.

use std::time::{Duration, SystemTime};

use axum::{Router, routing::get};
use spotscale_test_cluster::prometheus::Prometheus;
use tokio::net::TcpListener;

use crate::{keda::until, scaler::page};

/// A Prometheus that scrapes these series five times a second, each with its value, or its value and when that was. It has
/// them all.
pub(crate) async fn scraping(series: &[(&str, &str)]) -> Prometheus {
    let exposed = series.iter().map(|(name, sample)| format!("{name} {sample}\n"));
    let exposed = exposed.collect::<Vec<_>>().concat();
    let exporter = serve(Router::new().route("/metrics", get(async move || exposed.clone())));
    let config = format!(
        "{{global: {{scrape_interval: 200ms, scrape_timeout: 200ms}}, scrape_configs: \
         [{{job_name: test, static_configs: [{{targets: ['{}']}}]}}]}}",
        exporter.await
    );
    let prometheus = Prometheus::start(&config).await;
    for (name, _) in series {
        let question = format!("{}/api/v1/query?query={name}[2h]", prometheus.url);
        until(name, async || page(&question).await.contains("\"values\"").then_some(())).await;
    }
    prometheus
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
