//! The admin page of an autoscaler, asked once.

use std::time::Duration;

use bytes::Bytes;
use http::{StatusCode, Uri};
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper_util::{client::legacy::Client, rt::TokioExecutor};
use serde::de::DeserializeOwned;
use tokio::time::timeout;

/// A ledger that fits where it is kept is far smaller.
const ANSWER_BYTES_MAX: usize = 256 << 20;

/// Where to ask.
pub(super) struct Admin {
    url: String,
    patience: Duration,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum AdminError {
    /// It is not a place that can be asked.
    #[error("--url {0:?} is not an address such as http://127.0.0.1:9404")]
    Url(String),
    /// Nobody is there.
    #[error("no autoscaler can be reached at {url}: {why}")]
    Unreachable {
        /// Where.
        url: String,
        /// Why not.
        why: String,
    },
    /// It cannot tell, and says why.
    #[error("the autoscaler at {url} cannot tell: {why}")]
    NotNow {
        /// Where.
        url: String,
        /// What it said.
        why: String,
    },
    /// Whatever is there is no autoscaler of this version.
    #[error("what {url} tells is not understood ({why}): is that an autoscaler of this version?")]
    Foreign {
        /// Where.
        url: String,
        /// What is wrong.
        why: String,
    },
}

impl Admin {
    /// Of `http://HOST:PORT`. Nothing is asked yet.
    pub(super) fn new(url: &str, patience: Duration) -> Result<Self, AdminError> {
        let url = url.trim_end_matches('/').to_owned();
        let known = url.parse::<Uri>().ok();
        let known = known.filter(|it| it.scheme_str() == Some("http") && it.authority().is_some());
        if known.is_some() { Ok(Self { url, patience }) } else { Err(AdminError::Url(url)) }
    }

    /// What it tells at a path.
    pub(super) async fn json<T: DeserializeOwned>(&self, path: &str) -> Result<T, AdminError> {
        let answer = timeout(self.patience, self.ask(path)).await;
        let late = |_| self.unreachable(format!("no answer in {:?}", self.patience));
        let (status, body) = answer.map_err(late)??;
        let text = || String::from_utf8_lossy(&body).trim().to_owned();
        match status {
            StatusCode::OK => {
                serde_json::from_slice(&body).map_err(|error| self.foreign(error.to_string()))
            }
            StatusCode::SERVICE_UNAVAILABLE => {
                Err(AdminError::NotNow { url: self.url.clone(), why: text() })
            }
            other => Err(self.foreign(format!("{path} answers {other}"))),
        }
    }

    async fn ask(&self, path: &str) -> Result<(StatusCode, Bytes), AdminError> {
        let url = format!("{}{path}", self.url);
        let url = url.parse().map_err(|_| AdminError::Url(self.url.clone()))?;
        let http: Client<_, Empty<Bytes>> = Client::builder(TokioExecutor::new()).build_http();
        let answer = http.get(url).await;
        let answer = answer.map_err(|error| self.unreachable(deepest(&error)))?;
        let status = answer.status();
        let body = Limited::new(answer.into_body(), ANSWER_BYTES_MAX).collect().await;
        let body = body.map_err(|error| self.unreachable(error.to_string()))?;
        Ok((status, body.to_bytes()))
    }

    fn unreachable(&self, why: String) -> AdminError {
        AdminError::Unreachable { url: self.url.clone(), why }
    }

    fn foreign(&self, why: String) -> AdminError {
        AdminError::Foreign { url: self.url.clone(), why }
    }
}

/// What a client's error comes from: it says only that something failed.
fn deepest(error: &dyn std::error::Error) -> String {
    let mut error = error;
    while let Some(cause) = error.source() {
        error = cause;
    }
    error.to_string()
}

#[cfg(test)]
mod tests {
    use axum::{Router, routing::get};
    use spotscale_autoscaler::State;

    use super::*;

    async fn complaint(url: &str, patience: Duration) -> String {
        let asked = async { Admin::new(url, patience)?.json::<State>("/debug/plan").await };
        asked.await.unwrap_err().to_string()
    }

    async fn answering(status: StatusCode, body: &'static str) -> String {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/", listener.local_addr().unwrap());
        let router = Router::new().route("/debug/plan", get(move || async move { (status, body) }));
        tokio::spawn(async { axum::serve(listener, router).await });
        url
    }

    #[tokio::test]
    async fn every_way_not_to_be_told_is_told_apart() {
        let long = Duration::from_mins(1);
        let url = answering(StatusCode::SERVICE_UNAVAILABLE, "nothing was observed yet\n").await;
        let why = complaint(&url, long).await;
        assert!(why.ends_with("cannot tell: nothing was observed yet"), "{why}");
        let why = complaint(&answering(StatusCode::OK, "<html>").await, long).await;
        assert!(why.contains("of this version?"), "{why}");
        let why = complaint(&answering(StatusCode::NOT_FOUND, "").await, long).await;
        assert!(why.contains("/debug/plan answers 404"), "{why}");
        for wrong in ["127.0.0.1:9404", "https://a:1", "http://", "/"] {
            assert!(complaint(wrong, long).await.starts_with("--url"), "{wrong}");
        }
    }

    #[tokio::test]
    async fn nobody_and_somebody_who_says_nothing_are_both_out_of_reach() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let why = complaint(&url, Duration::from_millis(200)).await;
        assert!(why.starts_with("no autoscaler can be reached") && why.contains("200ms"), "{why}");
        drop(listener);
        let why = complaint(&url, Duration::from_mins(1)).await;
        assert!(why.contains("refused"), "{why}");
    }
}
