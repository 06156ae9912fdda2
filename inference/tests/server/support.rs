//! A real server on free ports, small models made by Python, and a client. Each test binary uses a
//! part of it.
#![allow(dead_code, reason = "each test binary uses its own part")]

use std::{net::SocketAddr, path::Path, process::Command, sync::OnceLock, time::Duration};

use bytes::Bytes;
use clap::Parser;
use http::{HeaderMap, Request, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use serde_json::Value;
use spotscale_inference::{Addresses, Config, Error};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use self::parts::part;

#[path = "../../../tests/cluster/src/parts.rs"]
#[allow(unreachable_pub, clippy::panic, reason = "a page of another crate's tests")]
mod parts;

/// Longer than anything takes on a busy machine; a test that gets here has failed.
pub(crate) const PATIENCE: Duration = Duration::from_mins(1);

#[derive(Parser)]
struct Flags {
    #[command(flatten)]
    config: Config,
}

/// The folder of small models; see `python/tiny_model.py`.
pub(crate) fn models() -> &'static Path {
    static FOLDER: OnceLock<tempfile::TempDir> = OnceLock::new();
    let make = || {
        let folder = tempfile::tempdir().unwrap();
        python("tiny_model.py", &[folder.path().to_str().unwrap()]);
        folder
    };
    FOLDER.get_or_init(make).path()
}

/// Runs one of `tests/python` to its end and gives what it printed.
pub(crate) fn python(script: &str, arguments: &[&str]) -> String {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/python").join(script);
    let interpreter = part("SPOTSCALE_PYTHON");
    let output = Command::new(interpreter).arg(&script).args(arguments).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let complained = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}:\n{said}{complained}", script.display());
    said
}

/// The configuration that `flags` say, with free ports and the library of the tests.
pub(crate) fn config(flags: &[&str]) -> Config {
    let library = part("ORT_DYLIB_PATH");
    let fixed = ["test", "--listen=127.0.0.1:0", "--grpc-listen=127.0.0.1:0", "--device=cpu"];
    let library = format!("--ort-dylib-path={}", library.display());
    let all: Vec<&str> =
        fixed.into_iter().chain([&*library]).chain(flags.iter().copied()).collect();
    Flags::try_parse_from(all).unwrap().config
}

/// `--model NAME=PATH` for one of [`models`].
pub(crate) fn model(name: &str, file: &str) -> String {
    format!("--model={name}={}", models().join(file).display())
}

/// A running server.
pub(crate) struct Server {
    pub(crate) at: Addresses,
    pub(crate) shutdown: CancellationToken,
    running: JoinHandle<Result<(), Error>>,
    client: Client<HttpConnector, Full<Bytes>>,
}

/// What the server said.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Server {
    /// Starts it and waits until it is ready.
    pub(crate) async fn start(flags: &[&str]) -> Self {
        let server = Self::launch(&config(flags)).await;
        let wait = async {
            while server.get("/readyz").await.status != StatusCode::OK {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(PATIENCE, wait).await.expect("never ready");
        server
    }

    pub(crate) async fn launch(config: &Config) -> Self {
        config.validate().unwrap();
        let listeners = config.bind().await.unwrap();
        let at = listeners.addresses().unwrap();
        let shutdown = CancellationToken::new();
        let run = spotscale_inference::run(config.clone(), listeners, shutdown.clone());
        let client = Client::builder(TokioExecutor::new()).build_http();
        Self { at, shutdown, running: tokio::spawn(run), client }
    }

    /// Tells it to stop and gives how it ended.
    pub(crate) async fn stop(self) -> Result<(), Error> {
        self.shutdown.cancel();
        self.ended().await
    }

    pub(crate) async fn ended(self) -> Result<(), Error> {
        tokio::time::timeout(PATIENCE, self.running).await.expect("never ended").unwrap()
    }

    pub(crate) fn http(&self) -> SocketAddr {
        self.at.http
    }

    pub(crate) async fn get(&self, path: &str) -> Reply {
        self.send(Request::get(path), Bytes::new()).await
    }

    pub(crate) async fn classify(&self, query: &str, body: impl Into<Bytes>) -> Reply {
        self.send(Request::post(format!("/v1/classify{query}")), body).await
    }

    /// Sends what `request` says to the HTTP port.
    pub(crate) async fn send(
        &self,
        request: http::request::Builder,
        body: impl Into<Bytes>,
    ) -> Reply {
        let mut request = request.body(Full::new(body.into())).unwrap();
        let url = format!("http://{}{}", self.at.http, request.uri());
        *request.uri_mut() = url.parse().unwrap();
        let answer = async {
            let (head, body) = self.client.request(request).await.unwrap().into_parts();
            let body = body.collect().await.unwrap().to_bytes();
            Reply { status: head.status, headers: head.headers, body }
        };
        tokio::time::timeout(PATIENCE, answer).await.expect("no answer")
    }
}

impl Reply {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8(self.body.to_vec()).unwrap()
    }

    /// Status, and the `kind` of a `/v1` error.
    pub(crate) fn refusal(&self) -> (u16, String) {
        let json = self.json();
        let error = &json["error"];
        assert!(error["message"].as_str().is_some_and(|text| !text.is_empty()), "{json}");
        (self.status.as_u16(), error["kind"].as_str().unwrap().to_owned())
    }
}

/// A picture of one colour, as PNG.
pub(crate) fn picture(red: u8, green: u8, blue: u8) -> Vec<u8> {
    let pixels = image::RgbImage::from_pixel(300, 260, image::Rgb([red, green, blue]));
    let mut png = std::io::Cursor::new(Vec::new());
    pixels.write_to(&mut png, image::ImageFormat::Png).unwrap();
    png.into_inner()
}

pub(crate) fn red() -> Vec<u8> {
    picture(255, 0, 0)
}
