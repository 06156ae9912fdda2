//! Gauges for Prometheus, read from the board at scrape time, so that what is forgotten leaves no series behind.

use std::{collections::BTreeMap, fmt, sync::Arc};

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric},
    metrics::{MetricType, gauge::ConstGauge},
    registry::Unit,
};

use super::{board::Board, object::Object};

/// What the board shows of itself.
pub(crate) struct Gauges(pub(crate) Arc<Board>);

/// One ScaledObject, as its labels.
type Labels<'a> = [(&'static str, &'a str); 3];

impl fmt::Debug for Gauges {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Gauges")
    }
}

impl Collector for Gauges {
    fn encode(&self, mut encoder: DescriptorEncoder) -> Result<(), fmt::Error> {
        let all = self.0.objects();
        let (name, help) = ("spotscale_scaler_objects", "Triggers that KEDA asks about");
        let gauge = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
        ConstGauge::new(i64::try_from(all.len()).unwrap_or(i64::MAX)).encode(gauge)?;
        let newest = newest(&all);
        desired(&mut encoder, &newest)?;
        self.signal_ages(&mut encoder, &newest)?;
        self.fronts(&mut encoder)
    }
}

impl Gauges {
    fn signal_ages(
        &self,
        encoder: &mut DescriptorEncoder,
        objects: &BTreeMap<Labels, &Object>,
    ) -> fmt::Result {
        let now = self.0.clock.now();
        let (name, help) = ("spotscale_scaler_signal_age", "Age of each signal");
        let unit = Unit::Seconds;
        let mut family = encoder.encode_descriptor(name, help, Some(&unit), MetricType::Gauge)?;
        for (labels, object) in objects {
            for (signal, age) in object.snapshot().ages(now) {
                let labels = (*labels, [("signal", signal)]);
                ConstGauge::new(age.as_secs_f64()).encode(family.encode_family(&labels)?)?;
            }
        }
        Ok(())
    }

    fn fronts(&self, encoder: &mut DescriptorEncoder) -> fmt::Result {
        let now = self.0.clock.now();
        let (name, help) = ("spotscale_scaler_fronts", "Fronts that report on a service");
        let mut family = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
        for (service, state) in self.0.services() {
            let fronts = state.demand(now).map_or(0, |demand| i64::from(demand.value.fronts));
            let labels = [("service", service.as_str())];
            ConstGauge::new(fronts).encode(family.encode_family(&labels)?)?;
        }
        Ok(())
    }
}

fn desired(encoder: &mut DescriptorEncoder, objects: &BTreeMap<Labels, &Object>) -> fmt::Result {
    let (name, help) = ("spotscale_scaler_desired_replicas", "Replicas there should be");
    let mut family = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
    for (labels, object) in objects {
        if let Some(scale) = object.snapshot().decision.scale {
            let gauge = ConstGauge::new(i64::from(scale.desired.0));
            gauge.encode(family.encode_family(labels)?)?;
        }
    }
    Ok(())
}

/// An edited trigger is a second object until the first expires: only the one that KEDA asked about last is shown.
fn newest(objects: &[Arc<Object>]) -> BTreeMap<Labels<'_>, &Object> {
    let mut newest: BTreeMap<Labels, &Object> = BTreeMap::new();
    for object in objects {
        let labels = [
            ("namespace", object.key.namespace.as_str()),
            ("scaled_object", object.key.name.as_str()),
            ("service", object.trigger.service.as_str()),
        ];
        let shown = newest.entry(labels).or_insert(object);
        if object.asked_at() > shown.asked_at() {
            *shown = object;
        }
    }
    newest
}
