//! How the watches are, and what was found malformed.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric as _},
    metrics::{counter::Counter, family::Family, gauge::ConstGauge},
    registry::{Registry, Unit},
};

use super::watch::Contact;

/// Everything that is counted.
#[derive(Debug, Clone, Default)]
pub(super) struct Metrics {
    failures: Family<OfWatch, Counter>,
    malformed_notices: Counter,
    events_left_out: Counter,
    contacts: Arc<Mutex<BTreeMap<OfWatch, Arc<Contact>>>>,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, EncodeLabelSet)]
pub(super) struct OfWatch {
    pub(super) resource: &'static str,
}

/// Asked at each scrape.
#[derive(Debug)]
struct Staleness(Metrics);

impl Metrics {
    pub(super) fn register(&self, registry: &mut Registry) {
        let help = "Watches of the cluster that were broken off or not begun";
        registry.register("spotscale_autoscaler_watch_failures", help, self.failures.clone());
        let help = "Annotations with notices that could not be read";
        let malformed = self.malformed_notices.clone();
        registry.register("spotscale_notices_malformed", help, malformed);
        let help = "Decisions that no Kubernetes event tells of, because there were too many";
        let left_out = self.events_left_out.clone();
        registry.register("spotscale_autoscaler_events_left_out", help, left_out);
        registry.register_collector(Box::new(Staleness(self.clone())));
    }

    pub(super) fn watching(&self, of: OfWatch, contact: Arc<Contact>) {
        drop(self.failures.get_or_create(&of));
        self.contacts.lock().unwrap_or_else(PoisonError::into_inner).insert(of, contact);
    }

    pub(super) fn watch_failed(&self, of: &OfWatch) {
        self.failures.get_or_create(of).inc();
    }

    pub(super) fn malformed_notices(&self) {
        self.malformed_notices.inc();
    }

    pub(super) fn event_left_out(&self) {
        self.events_left_out.inc();
    }
}

impl Collector for Staleness {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let contacts = self.0.contacts.lock().unwrap_or_else(PoisonError::into_inner);
        let name = "spotscale_autoscaler_watch_stale";
        let help = "Since when a watch is broken: what is decided may rest on an old view";
        let gauge = ConstGauge::new(0.0_f64);
        let mut family =
            encoder.encode_descriptor(name, help, Some(&Unit::Seconds), gauge.metric_type())?;
        for (of, contact) in contacts.iter() {
            let gauge = ConstGauge::new(contact.stale().as_secs_f64());
            gauge.encode(family.encode_family(of)?)?;
        }
        Ok(())
    }
}
