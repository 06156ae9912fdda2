//! A headless Chromium on a small screen, driven through chromedriver. Both end with the test, also
//! when it fails.

use std::{io::ErrorKind, process::Stdio, time::Duration};

use fantoccini::{Client, ClientBuilder, Locator};
use hyper_util::client::legacy::connect::HttpConnector;
use serde_json::json;
use tempfile::TempDir;
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::{Child, Command},
    time::timeout,
};

const WIDTH: u32 = 400;
const START_MAX: Duration = Duration::from_mins(1);

/// A browser with nothing in it.
pub(crate) struct Browser {
    pub(crate) client: Client,
    _driver: Child,
    _profile: TempDir,
}

impl Browser {
    pub(crate) async fn start() -> Self {
        let (driver, port) = timeout(START_MAX, start_driver()).await.expect("chromedriver hangs");
        let profile = tempfile::tempdir().unwrap();
        let options = json!({
            "args": [
                "--headless",
                "--no-sandbox",
                "--disable-gpu",
                "--disable-quic",
                "--no-first-run",
                "--disable-background-networking",
                "--disable-component-update",
                "--disable-sync",
                format!("--user-data-dir={}", profile.path().display()),
            ],
            "mobileEmulation": {"deviceMetrics": {"width": WIDTH, "height": 800, "pixelRatio": 1.0}},
        });
        let capabilities = [("goog:chromeOptions".to_owned(), options)].into_iter().collect();
        let client = ClientBuilder::new(HttpConnector::new())
            .capabilities(capabilities)
            .connect(&format!("http://127.0.0.1:{port}"))
            .await
            .expect("no browser: install the Debian package chromium (make test)");
        Self { client, _driver: driver, _profile: profile }
    }

    /// Runs `visit`, closes the browser whatever comes of it, and only then lets a failure through.
    pub(crate) async fn visit(self, visit: impl Future<Output = ()> + Send + 'static) {
        let outcome = tokio::spawn(visit).await;
        self.client.clone().close().await.unwrap();
        outcome.unwrap();
    }
}

async fn start_driver() -> (Child, u16) {
    let mut driver = Command::new("chromedriver")
        .arg("--port=0")
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .unwrap_or_else(|error| match error.kind() {
            ErrorKind::NotFound => panic!("no chromedriver: run `make test`, which installs it"),
            _ => panic!("chromedriver: {error}"),
        });
    let mut lines = BufReader::new(driver.stdout.take().unwrap()).lines();
    while let Some(line) = lines.next_line().await.unwrap() {
        if let Some((_, port)) = line.split_once("started successfully on port ") {
            let port = port.trim_end_matches('.').parse().unwrap();
            // Read on, so that the driver never waits for room in the pipe.
            tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
            return (driver, port);
        }
    }
    panic!("chromedriver ended at once");
}

/// The text of the element with this id.
pub(crate) async fn text(client: &Client, id: &str) -> String {
    client.find(Locator::Id(id)).await.unwrap().text().await.unwrap()
}

/// How many elements a CSS selector finds.
pub(crate) async fn count(client: &Client, selector: &str) -> usize {
    client.find_all(Locator::Css(selector)).await.unwrap().len()
}
