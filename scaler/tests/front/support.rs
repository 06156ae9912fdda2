//! A front on free ports, and a plain client for it.

use std::{net::SocketAddr, time::Duration};

use bytes::Bytes;
use clap::Parser;
use http::{Method, Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use spotscale_scaler::front::{Config, Error, Listed, Source, run, run_with_endpoints};
use tokio::{sync::watch, task::JoinHandle};
use tokio_util::sync::CancellationToken;

/// Longer than anything here takes on a busy machine; only a hang reaches it.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

#[derive(Parser)]
struct Flags {
    #[command(flatten)]
    config: Config,
}

/// A running front.
pub(crate) struct Front {
    pub(crate) address: SocketAddr,
    pub(crate) admin: SocketAddr,
    pub(crate) endpoints: watch::Sender<Vec<Listed>>,
    pub(crate) shutdown: CancellationToken,
    pub(crate) task: JoinHandle<Result<(), Error>>,
}

/// A whole response.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: http::HeaderMap,
    pub(crate) body: Bytes,
}

/// The flags as on a command line, on free ports of the loopback.
pub(crate) fn config(flags: &[&str]) -> Config {
    let own = ["front", "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"];
    let flags = Flags::try_parse_from(own.iter().chain(flags));
    flags.unwrap_or_else(|error| panic!("{error}")).config
}

impl Front {
    /// Endpoints come from the test.
    pub(crate) async fn start(flags: &[&str]) -> Self {
        let (endpoints, receiver) = watch::channel(Vec::new());
        Self::launch(flags, endpoints, |config, listeners, shutdown| {
            tokio::spawn(run_with_endpoints(config, listeners, receiver, shutdown))
        })
        .await
    }

    /// Endpoints come from the flags.
    pub(crate) async fn start_alone(flags: &[&str]) -> Self {
        let unused = watch::channel(Vec::new()).0;
        Self::launch(flags, unused, |config, listeners, shutdown| {
            tokio::spawn(async move {
                let source = Source::of(&config).await.unwrap();
                run(config, source, listeners, shutdown).await
            })
        })
        .await
    }

    async fn launch(
        flags: &[&str],
        endpoints: watch::Sender<Vec<Listed>>,
        spawn: impl FnOnce(
            Config,
            spotscale_scaler::front::Listeners,
            CancellationToken,
        ) -> JoinHandle<Result<(), Error>>,
    ) -> Self {
        let config = config(flags);
        config.validate().unwrap();
        let listeners = config.bind().await.unwrap();
        let addresses = listeners.addresses().unwrap();
        let shutdown = CancellationToken::new();
        let task = spawn(config, listeners, shutdown.clone());
        Self { address: addresses.service, admin: addresses.admin, endpoints, shutdown, task }
    }

    /// Replaces the list of endpoints; each is spelled as in a file.
    pub(crate) fn list(&self, lines: &[String]) {
        self.endpoints.send_replace(lines.iter().map(|line| line.parse().unwrap()).collect());
    }

    pub(crate) fn request(&self, method: Method, path: &str) -> http::request::Builder {
        Request::builder().method(method).uri(format!("http://{}{path}", self.address))
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        send(self.request(Method::GET, path).body(Full::default()).unwrap()).await
    }

    pub(crate) async fn post(&self, path: &str, body: impl Into<Bytes>) -> Answer {
        send(self.request(Method::POST, path).body(Full::new(body.into())).unwrap()).await
    }

    /// Waits until the admin page says so much of itself that `is_right`.
    pub(crate) async fn until(&self, is_right: impl Fn(&serde_json::Value) -> bool) {
        let mut last = serde_json::Value::Null;
        for _ in 0..2000 {
            last = self.debug().await;
            if is_right(&last) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("still not: {last:#}");
    }

    pub(crate) async fn until_held(&self, count: u64) {
        self.until(|services| services[0]["load"]["held"] == count).await;
    }

    pub(crate) async fn until_ready(&self, count: usize) {
        self.until(|services| {
            let endpoints = services[0]["endpoints"].as_array().unwrap();
            endpoints.iter().filter(|endpoint| endpoint["state"] == "ready").count() == count
        })
        .await;
    }

    pub(crate) async fn debug(&self) -> serde_json::Value {
        let answer = fetch(&format!("http://{}/debug/front", self.admin)).await;
        serde_json::from_slice(&answer.body).unwrap()
    }

    /// The value of one line of the metrics page, 0 where it is missing.
    pub(crate) async fn metric(&self, line: &str) -> f64 {
        let answer = fetch(&format!("http://{}/metrics", self.admin)).await;
        let text = String::from_utf8(answer.body.to_vec()).unwrap();
        let value = text.lines().find_map(|found| found.strip_prefix(line)?.strip_prefix(' '));
        value.map_or(0.0, |value| value.parse().unwrap())
    }

    /// Tells it to stop and waits for its end.
    pub(crate) async fn stop(self) {
        self.shutdown.cancel();
        tokio::time::timeout(PATIENCE, self.task).await.unwrap().unwrap().unwrap();
    }
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }

    pub(crate) fn kind(&self) -> String {
        let body: serde_json::Value = serde_json::from_slice(&self.body).unwrap();
        assert!(body["error"]["message"].is_string(), "{body}");
        body["error"]["kind"].as_str().unwrap().to_owned()
    }
}

pub(crate) fn client() -> Client<HttpConnector, Full<Bytes>> {
    Client::builder(TokioExecutor::new()).build_http()
}

pub(crate) async fn fetch(url: &str) -> Answer {
    send(Request::get(url).body(Full::default()).unwrap()).await
}

pub(crate) async fn send(request: Request<Full<Bytes>>) -> Answer {
    let sent = tokio::time::timeout(PATIENCE, client().request(request));
    whole(sent.await.expect("the front hangs").unwrap()).await.unwrap()
}

/// Reads a response to its end.
pub(crate) async fn whole(response: Response<Incoming>) -> Result<Answer, hyper::Error> {
    let (head, body) = response.into_parts();
    let body = tokio::time::timeout(PATIENCE, body.collect()).await.expect("the body hangs")?;
    Ok(Answer { status: head.status.as_u16(), headers: head.headers, body: body.to_bytes() })
}
