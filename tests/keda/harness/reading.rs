//! What these tests read from a scaler.

use std::net::{IpAddr, SocketAddr};

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
        let page = self.explained().await;
        let mut objects = page["objects"].as_array()?.iter();
        let object = objects.find(|object| object["namespace"] == namespace)?;
        Some(object["snapshot"]["decision"]["scale"]["desired"].as_i64()? as i32)
    }

    /// Waits until a front has reported on this service.
    pub(crate) async fn until_reported(&self, service: &str) {
        let reported =
            || async { Ok(self.explained().await["services"][service].as_u64() > Some(0)) };
        until("a report", reported).await.unwrap();
    }
}
