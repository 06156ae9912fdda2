//! What these tests read from a scaler.

use std::{
    net::{IpAddr, SocketAddr},
    sync::Mutex,
};

use serde_json::Value;
use spotscale_test_cluster::until;

use super::Scaler;

impl Scaler {
    /// Its address without the port.
    pub(crate) fn ip(&self) -> IpAddr {
        self.grpc.parse::<SocketAddr>().unwrap().ip()
    }

    /// The port that it has in common with another of a pair.
    pub(crate) fn port(&self) -> u16 {
        self.grpc.parse::<SocketAddr>().unwrap().port()
    }

    /// The sum of a counter over its labels.
    pub(crate) async fn counter(&self, name: &str) -> u64 {
        let page = self.page("/metrics").await;
        let lines = page.lines().filter(|line| line.split(['{', ' ']).next() == Some(name));
        lines.map(|line| line.rsplit(' ').next().unwrap().parse::<u64>().unwrap()).sum()
    }

    /// How many replicas it wants of the ScaledObject in this namespace, once it knows.
    pub(crate) async fn desired(&self, namespace: &str) -> Option<i32> {
        let object = self.explains(namespace).await;
        Some(object["snapshot"]["decision"]["scale"]["desired"].as_i64()? as i32)
    }

    /// What it explains of the ScaledObject in this namespace; null where it knows none.
    pub(crate) async fn explains(&self, namespace: &str) -> Value {
        let page = self.explained().await;
        let mut objects = page["objects"].as_array().into_iter().flatten();
        objects.find(|object| object["namespace"] == namespace).cloned().unwrap_or_default()
    }

    /// Waits until it gives a reason with these words, and says all that it explains then.
    pub(crate) async fn until_told(&self, namespace: &str, words: &str) -> Value {
        let last = Mutex::new(Value::Null);
        let told = || async {
            let object = self.explains(namespace).await;
            let is_told = tells(&object, words);
            *last.lock().unwrap() = object;
            Ok(is_told)
        };
        let waited = until(words, told).await;
        let last = last.into_inner().unwrap();
        waited.unwrap_or_else(|error| panic!("{error:#}: {last:#}"));
        last
    }

    /// Waits until a front has reported on this service.
    pub(crate) async fn until_reported(&self, service: &str) {
        let reported =
            || async { Ok(self.explained().await["services"][service].as_u64() > Some(0)) };
        until("a report", reported).await.unwrap();
    }
}

/// Whether one of the reasons has these words.
pub(crate) fn tells(explained: &Value, words: &str) -> bool {
    let mut reasons = explained["because"].as_array().into_iter().flatten();
    reasons.any(|reason| reason.as_str().is_some_and(|reason| reason.contains(words)))
}
