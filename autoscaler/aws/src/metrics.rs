//! What is told of AWS. The age of prices is the scraper's clock less their timestamp, so that it grows when nothing
//! works any more.

use std::sync::atomic::AtomicU64;

use jiff::Timestamp;
use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, gauge::Gauge},
    registry::{Registry, Unit},
};

use crate::instance_types::InstanceInfo;

/// Everything that is counted. Clones count together.
#[derive(Debug, Clone, Default)]
pub struct Metrics {
    failures: Family<FailureLabels, Counter>,
    skipped: Family<SkippedLabels, Counter>,
    prices_at: Family<PricesLabels, Gauge<f64, AtomicU64>>,
    tabled: Gauge,
    notices: Family<NoticeLabels, Counter>,
    instance_types: Family<InstanceTypeLabels, Gauge>,
    unknown_types: Gauge,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct FailureLabels {
    call: &'static str,
    kind: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct SkippedLabels {
    reason: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct PricesLabels {
    prices: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct NoticeLabels {
    kind: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct InstanceTypeLabels {
    instance_type: String,
    vcpus: u32,
    memory_mib: u64,
    gpu: String,
    gpus: u32,
    gpu_memory_mib: u64,
}

impl Metrics {
    /// Puts everything up for scraping.
    pub fn register(&self, registry: &mut Registry) {
        let help = "Calls to AWS that failed, after the retries of the SDK";
        registry.register("spotscale_aws_failures", help, self.failures.clone());
        let help = "Prices that were left out because they cannot be meant";
        registry.register("spotscale_aws_prices_skipped", help, self.skipped.clone());
        let help = "When the prices in use were last confirmed by AWS";
        let at = self.prices_at.clone();
        registry.register_with_unit("spotscale_aws_prices_timestamp", help, Unit::Seconds, at);
        let help = "Instance types whose on-demand price comes from the built-in, dated table";
        registry.register("spotscale_aws_on_demand_prices_tabled", help, self.tabled.clone());
        let help = "Notices that the metadata of this machine gave";
        registry.register("spotscale_aws_metadata_notices", help, self.notices.clone());
        let help = "The instance types in use, as EC2 describes them";
        registry.register("spotscale_aws_instance_type_info", help, self.instance_types.clone());
        let help = "Instance types that may be bought and that EC2 does not know in this region";
        registry.register("spotscale_aws_instance_types_unknown", help, self.unknown_types.clone());
    }

    pub(crate) fn failure(&self, call: &'static str, kind: &'static str) {
        self.failures.get_or_create(&FailureLabels { call, kind }).inc();
    }

    pub(crate) fn skipped(&self, reason: &'static str) {
        self.skipped.get_or_create(&SkippedLabels { reason }).inc();
    }

    /// Prices of a kind are right as of now.
    pub(crate) fn prices(&self, prices: &'static str, now: Timestamp) {
        let seconds = now.as_millisecond() as f64 / 1000.0;
        self.prices_at.get_or_create(&PricesLabels { prices }).set(seconds);
    }

    pub(crate) fn tabled(&self, types: usize) {
        self.tabled.set(i64::try_from(types).unwrap_or(i64::MAX));
    }

    pub(crate) fn unknown_types(&self, types: usize) {
        self.unknown_types.set(i64::try_from(types).unwrap_or(i64::MAX));
    }

    pub(crate) fn notice(&self, kind: &'static str) {
        self.notices.get_or_create(&NoticeLabels { kind }).inc();
    }

    pub(crate) fn instance_type(&self, info: &InstanceInfo) {
        let gpu = info.gpus.first();
        let labels = InstanceTypeLabels {
            instance_type: info.instance_type.to_string(),
            vcpus: info.vcpus,
            memory_mib: info.memory_mib,
            gpu: gpu.map_or_else(String::new, |gpu| gpu.name.clone()),
            gpus: info.shape().gpus,
            gpu_memory_mib: gpu.map_or(0, |gpu| gpu.memory_mib),
        };
        self.instance_types.get_or_create(&labels).set(1);
    }
}
