//! A service that answers each action with what the test gives it, in order; the last answer is repeated. It keeps what
//! it was asked.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, Mutex},
    time::Duration,
};

use aws_config::{SdkConfig, timeout::TimeoutConfig};
use aws_credential_types::{Credentials, provider::SharedCredentialsProvider};
use axum::{
    Router,
    body::Bytes,
    extract::State,
    http::{HeaderMap, StatusCode, Uri},
};
use clap::Parser;
use prometheus_client::{encoding::text::encode, registry::Registry};
use serde_json::Value;
use spotscale_aws::{Config, Metrics};
use tokio::{net::TcpListener, task::JoinHandle};

/// One answer of the service.
#[derive(Debug, Clone)]
pub(crate) struct Answer {
    status: u16,
    body: String,
    delay: Duration,
}

/// A running service. Dropped, it ends.
pub(crate) struct Scripted {
    endpoint: String,
    script: Arc<Mutex<Script>>,
    server: JoinHandle<()>,
}

#[derive(Default)]
struct Script {
    answers: BTreeMap<String, VecDeque<Answer>>,
    asked: Vec<(String, String)>,
}

#[derive(Parser)]
struct Cli {
    #[command(flatten)]
    config: Config,
}

/// The configuration that these flags spell.
pub(crate) fn config(flags: &[&str]) -> Config {
    let words = ["autoscaler", "--aws-region=us-east-1"];
    let config = Cli::parse_from(words.iter().chain(flags)).config;
    config.validate().unwrap();
    config
}

/// The connection as it is in production, but to this endpoint.
pub(crate) async fn connect(endpoint: &str) -> SdkConfig {
    let keys = Credentials::new("test", "test", None, None, "test");
    let sdk = config(&[]).connect().await.unwrap().into_builder();
    sdk.endpoint_url(endpoint).credentials_provider(SharedCredentialsProvider::new(keys)).build()
}

/// The same, with less patience.
pub(crate) async fn connect_briefly(endpoint: &str, patience: Duration) -> SdkConfig {
    let timeouts = TimeoutConfig::builder().operation_timeout(patience).build();
    connect(endpoint).await.into_builder().timeout_config(timeouts).build()
}

/// What a scrape shows.
pub(crate) fn scrape(metrics: &Metrics) -> String {
    let (mut registry, mut text) = (Registry::default(), String::new());
    metrics.register(&mut registry);
    encode(&mut text, &registry).unwrap();
    text
}

impl Scripted {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let script = Arc::<Mutex<Script>>::default();
        let router = Router::new().fallback(answer).with_state(Arc::clone(&script));
        let server = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self { endpoint, script, server }
    }

    pub(crate) fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// From now on an action (of EC2, SQS, the price list) or a path (of the metadata) is answered so.
    pub(crate) fn on(&self, action: &str, answers: impl IntoIterator<Item = Answer>) {
        let answers = answers.into_iter().collect();
        self.script.lock().unwrap().answers.insert(action.to_owned(), answers);
    }

    /// What an action was asked with so far, as fields of a form or as JSON.
    pub(crate) fn asked(&self, action: &str) -> Vec<String> {
        let script = self.script.lock().unwrap();
        let of_action = script.asked.iter().filter(|(name, _)| name == action);
        of_action.map(|(_, body)| body.clone()).collect()
    }
}

impl Drop for Scripted {
    fn drop(&mut self) {
        self.server.abort();
    }
}

impl Answer {
    pub(crate) fn ok(body: impl Into<String>) -> Self {
        Self { status: 200, body: body.into(), delay: Duration::ZERO }
    }

    pub(crate) fn status(status: u16, body: impl Into<String>) -> Self {
        Self { status, body: body.into(), delay: Duration::ZERO }
    }

    /// A page of EC2's: what is in the set, and the token of the next page.
    pub(crate) fn page(action: &str, set: &str, items: &str, token: &str) -> Self {
        Self::ok(format!(
            "<{action}Response xmlns=\"http://ec2.amazonaws.com/doc/2016-11-15/\"><requestId>test</requestId>\
             <{set}>{items}</{set}><nextToken>{token}</nextToken></{action}Response>"
        ))
    }

    /// EC2's refusal.
    pub(crate) fn refusal(status: u16, code: &str) -> Self {
        Self::status(
            status,
            format!(
                "<Response><Errors><Error><Code>{code}</Code><Message>as told</Message></Error></Errors>\
                 <RequestID>test</RequestID></Response>"
            ),
        )
    }

    /// The refusal of a service that speaks JSON.
    pub(crate) fn json_refusal(status: u16, code: &str) -> Self {
        Self::status(status, format!(r#"{{"__type":"{code}","message":"as told"}}"#))
    }

    pub(crate) fn after(self, delay: Duration) -> Self {
        Self { delay, ..self }
    }
}

async fn answer(
    State(script): State<Arc<Mutex<Script>>>,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> (StatusCode, [(&'static str, &'static str); 1], String) {
    let body = String::from_utf8(body.to_vec()).unwrap();
    let target = headers.get("x-amz-target").and_then(|target| target.to_str().ok());
    let in_form = || body.split('&').find_map(|field| field.strip_prefix("Action="));
    let action = target.and_then(|target| target.rsplit('.').next()).or_else(in_form);
    let action = action.unwrap_or(uri.path()).to_owned();
    let next = {
        let mut script = script.lock().unwrap();
        script.asked.push((action.clone(), body));
        let answers = script.answers.get_mut(&action);
        answers.and_then(|answers| {
            if answers.len() > 1 { answers.pop_front() } else { answers.front().cloned() }
        })
    };
    let next = next.unwrap_or_else(|| Answer::refusal(400, "NotScripted"));
    tokio::time::sleep(next.delay).await;
    // Read by nobody but a client of the metadata, off a session token.
    let token_lives = [("x-aws-ec2-metadata-token-ttl-seconds", "60")];
    (StatusCode::from_u16(next.status).unwrap(), token_lives, next.body)
}

/// A field of JSON that was asked with.
pub(crate) fn json(asked: &str) -> Value {
    serde_json::from_str(asked).unwrap()
}
