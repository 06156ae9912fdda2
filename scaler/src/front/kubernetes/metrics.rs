//! What the watches tell Prometheus: how stale the list of endpoints may be, and who is not in it.

use std::{fmt, sync::Arc};

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric},
    metrics::{MetricType, counter::Counter, family::Family, gauge::ConstGauge},
    registry::{Registry, Unit},
};
use tokio::sync::watch::Receiver;

use super::{listing::LeftOut, watch::Contact};

const PREFIX: &str = "spotscale_front";

/// Names a watch.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct OfWatch {
    pub(super) resource: &'static str,
    /// Empty for what belongs to none.
    pub(super) namespace: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfReason {
    service: String,
    reason: &'static str,
}

/// A watch that runs.
pub(super) type Watched = (OfWatch, Arc<Contact>);

/// The counters.
pub(super) struct Metrics {
    failures: Family<OfWatch, Counter>,
}

/// The gauges, read when somebody asks.
struct Gauges {
    watched: Vec<Watched>,
    left_out: Receiver<LeftOut>,
}

impl Metrics {
    pub(super) fn register(registry: &mut Registry) -> Self {
        let failures = Family::default();
        let help = "Watches of the cluster that could not be taken up or broke off";
        registry.sub_registry_with_prefix(PREFIX).register(
            "watch_failures",
            help,
            Family::clone(&failures),
        );
        Self { failures }
    }

    pub(super) fn failures(&self, watch: &OfWatch) -> Counter {
        self.failures.get_or_create(watch).clone()
    }
}

/// Registers the gauges, once the watches run.
pub(super) fn register_gauges(
    registry: &mut Registry,
    watched: Vec<Watched>,
    left_out: Receiver<LeftOut>,
) {
    let gauges = Gauges { watched, left_out };
    registry.sub_registry_with_prefix(PREFIX).register_collector(Box::new(gauges));
}

impl Collector for Gauges {
    fn encode(&self, mut encoder: DescriptorEncoder) -> fmt::Result {
        let help = "For how long the cluster has not been watched; 0 while it is";
        let (unit, kind) = (Unit::Seconds, MetricType::Gauge);
        let mut metric = encoder.encode_descriptor("watch_stale", help, Some(&unit), kind)?;
        for (watch, contact) in &self.watched {
            let gauge = ConstGauge::new(contact.stale().as_secs_f64());
            gauge.encode(metric.encode_family(watch)?)?;
        }
        let help = "Pods of the cluster that are not used, by why";
        let mut metric = encoder.encode_descriptor("left_out_pods", help, None, kind)?;
        for ((service, why), count) in &*self.left_out.borrow() {
            let labels = OfReason { service: service.clone(), reason: why.as_str() };
            let gauge = ConstGauge::new(i64::try_from(*count).unwrap_or(i64::MAX));
            gauge.encode(metric.encode_family(&labels)?)?;
        }
        Ok(())
    }
}

impl fmt::Debug for Gauges {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Gauges")
    }
}
