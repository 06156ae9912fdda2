//! What these tests say to a scaler, and read from it.

use serde_json::Value;
use spotscale_proto::demand::ServiceDemand;

use crate::{keda::until, scaler::Scaler};

impl Scaler {
    /// What `/debug/scaler` says of the ScaledObject of this name.
    pub(crate) async fn explains(&self, name: &str) -> Value {
        let page = self.explained().await;
        let mut objects = page["objects"].as_array().unwrap().iter();
        objects.find(|object| object["name"] == name).cloned().unwrap_or_default()
    }

    /// Scrapes until this line is there.
    pub(crate) async fn until_metric(&self, line: &str) {
        until(line, async || self.page("/metrics").await.contains(line).then_some(())).await;
    }
}

/// `held` requests wait for the service `ns/name` and `endpoints` replicas are ready.
pub(crate) fn demand(name: &str, held: u64, endpoints: u32) -> ServiceDemand {
    ServiceDemand {
        service: format!("ns/{name}"),
        held,
        oldest_held_ms: held.min(1),
        endpoints,
        concurrency_per_endpoint: 1,
        ..ServiceDemand::default()
    }
}
