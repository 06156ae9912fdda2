//! What the front tells Prometheus. Counters and histograms are kept as requests pass; the gauges are read from the
//! services when somebody asks, so that they cannot drift from what they describe.

use std::{fmt, sync::Arc, time::Duration};

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric},
    metrics::{
        MetricType,
        counter::Counter,
        family::Family,
        gauge::{ConstGauge, Gauge},
        histogram::Histogram,
    },
    registry::{Registry, Unit},
};
use spotscale_decide::admission::Tier;

use super::{
    fleet::{SeatView, State},
    service::Service,
    state::ServiceView,
};

/// Close together around half a second, the bound that a P95 is held against.
const LATENCY_BUCKETS: [f64; 17] = [
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 2.5,
    10.0,
];
/// From a busy slot to a machine that has yet to be bought.
const HOLD_BUCKETS: [f64; 12] =
    [0.005, 0.025, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0];

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfService {
    service: Arc<str>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfRequest {
    service: Arc<str>,
    code: u16,
    tier: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfReason {
    service: Arc<str>,
    reason: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfState {
    service: Arc<str>,
    tier: &'static str,
    state: &'static str,
}

type Histograms = Family<OfService, Histogram, fn() -> Histogram>;

/// The counters and histograms of all services.
#[derive(Debug)]
pub(super) struct Metrics {
    requests: Family<OfRequest, Counter>,
    duration_seconds: Histograms,
    hold_seconds: Histograms,
    cold_start_seconds: Histograms,
    retries: Family<OfReason, Counter>,
    refusals: Family<OfReason, Counter>,
    ejections: Family<OfReason, Counter>,
    demand_streams: Gauge,
}

/// A scaler that is told of demand, counted until this is dropped.
pub(super) struct DemandStream(Gauge);

/// One request that has ended.
pub(super) struct Ended {
    pub(super) code: u16,
    pub(super) tier: Option<Tier>,
    pub(super) took: Duration,
    pub(super) held: Option<Duration>,
}

/// The gauges.
struct Gauges(Vec<Arc<Service>>);

impl Metrics {
    /// Registers everything under `spotscale_front_`.
    pub(super) fn register(registry: &mut Registry) -> Arc<Self> {
        let latency: fn() -> Histogram = || Histogram::new(LATENCY_BUCKETS);
        let hold: fn() -> Histogram = || Histogram::new(HOLD_BUCKETS);
        let metrics = Self {
            requests: Family::default(),
            duration_seconds: Family::new_with_constructor(latency),
            hold_seconds: Family::new_with_constructor(hold),
            cold_start_seconds: Family::new_with_constructor(hold),
            retries: Family::default(),
            refusals: Family::default(),
            ejections: Family::default(),
            demand_streams: Gauge::default(),
        };
        let registry = registry.sub_registry_with_prefix("spotscale_front");
        let Self { requests, duration_seconds, hold_seconds, cold_start_seconds, .. } = &metrics;
        let mut counter = |name: &str, help: &str, of: &Family<OfReason, Counter>| {
            registry.register(name, help, of.clone());
        };
        counter("retries", "Requests sent again, by what failed", &metrics.retries);
        counter("refusals", "Requests answered by the front itself, by why", &metrics.refusals);
        counter("ejections", "Endpoints taken out of use, by what failed", &metrics.ejections);
        let help = "Requests that have ended, by the code their client saw; 499: it had left";
        registry.register("requests", help, requests.clone());
        let help = "Scalers that are told of demand now; where it is 0, nothing scales up";
        registry.register("demand_streams", help, metrics.demand_streams.clone());
        let mut histogram = |name: &str, help: &str, of: &Histograms| {
            registry.register_with_unit(name, help, Unit::Seconds, of.clone());
        };
        histogram(
            "request_duration",
            "Arrival to last byte, of requests sent to a replica",
            duration_seconds,
        );
        histogram("hold", "Time that held requests were held", hold_seconds);
        histogram("cold_start", "From the first held request to a replica", cold_start_seconds);
        Arc::new(metrics)
    }

    pub(super) fn ended(&self, service: &Arc<str>, ended: &Ended) {
        let tier = ended.tier.map_or("none", Tier::as_str);
        let labels = OfRequest { service: Arc::clone(service), code: ended.code, tier };
        self.requests.get_or_create(&labels).inc();
        let labels = OfService { service: labels.service };
        // A refusal is quick and says nothing of how long an answer takes.
        if ended.tier.is_some() {
            self.duration_seconds.get_or_create(&labels).observe(ended.took.as_secs_f64());
        }
        if let Some(held) = ended.held {
            self.hold_seconds.get_or_create(&labels).observe(held.as_secs_f64());
        }
    }

    pub(super) fn cold_start(&self, service: &Arc<str>, took: Duration) {
        let labels = OfService { service: Arc::clone(service) };
        self.cold_start_seconds.get_or_create(&labels).observe(took.as_secs_f64());
    }

    pub(super) fn retried(&self, service: &Arc<str>, reason: &'static str) {
        count(&self.retries, service, reason);
    }

    pub(super) fn refused(&self, service: &Arc<str>, reason: &'static str) {
        count(&self.refusals, service, reason);
    }

    pub(super) fn demand_stream(&self) -> DemandStream {
        self.demand_streams.inc();
        DemandStream(self.demand_streams.clone())
    }

    pub(super) fn ejected(&self, service: &Arc<str>, reason: &'static str) {
        count(&self.ejections, service, reason);
    }
}

impl Drop for DemandStream {
    fn drop(&mut self) {
        self.0.dec();
    }
}

/// Registers the gauges, once the services exist.
pub(super) fn register_gauges(registry: &mut Registry, services: Vec<Arc<Service>>) {
    registry
        .sub_registry_with_prefix("spotscale_front")
        .register_collector(Box::new(Gauges(services)));
}

fn count(counters: &Family<OfReason, Counter>, service: &Arc<str>, reason: &'static str) {
    counters.get_or_create(&OfReason { service: Arc::clone(service), reason }).inc();
}

impl Gauges {
    fn by_service(
        encoder: &mut DescriptorEncoder,
        views: &[(Arc<str>, ServiceView)],
        (name, help): (&str, &str),
        value: impl Fn(&ServiceView) -> u64,
    ) -> fmt::Result {
        let mut metric = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
        for (service, view) in views {
            let labels = OfService { service: Arc::clone(service) };
            let gauge = ConstGauge::new(value(view).cast_signed());
            gauge.encode(metric.encode_family(&labels)?)?;
        }
        Ok(())
    }

    fn endpoints(
        encoder: &mut DescriptorEncoder,
        views: &[(Arc<str>, ServiceView)],
    ) -> fmt::Result {
        let help = "Endpoints, by tier and state";
        let mut metric = encoder.encode_descriptor("endpoints", help, None, MetricType::Gauge)?;
        let all = [Tier::Gpu, Tier::Cpu].into_iter().flat_map(|t| State::ALL.map(|s| (t, s)));
        for ((service, view), (tier, state)) in
            views.iter().flat_map(|view| all.clone().map(move |of| (view, of)))
        {
            let seats = view.endpoints.iter();
            let count = seats.filter(|seat| seat.tier == tier && seat.state == state).count();
            let count = i64::try_from(count).unwrap_or(i64::MAX);
            let (tier, state) = (tier.as_str(), state.as_str());
            let labels = OfState { service: Arc::clone(service), tier, state };
            ConstGauge::new(count).encode(metric.encode_family(&labels)?)?;
        }
        Ok(())
    }
}

impl Collector for Gauges {
    fn encode(&self, mut encoder: DescriptorEncoder) -> fmt::Result {
        let views: Vec<_> = self.0.iter().map(|s| (Arc::clone(&s.name), s.view())).collect();
        let held = ("held_requests", "Requests held now");
        Self::by_service(&mut encoder, &views, held, |view| view.load.held.0)?;
        let bytes = ("held_bytes", "Bytes set aside for the bodies of held requests");
        Self::by_service(&mut encoder, &views, bytes, |view| view.load.held_bytes)?;
        let in_flight = ("in_flight_requests", "Requests that a replica is serving now");
        Self::by_service(&mut encoder, &views, in_flight, |view| view.in_flight)?;
        let leaving = ("leaving_endpoints", "Ready endpoints that are the second choice");
        Self::by_service(&mut encoder, &views, leaving, |view| {
            let leaving = |seat: &&SeatView| seat.is_leaving && seat.state == State::Ready;
            view.endpoints.iter().filter(leaving).count() as u64
        })?;
        Self::endpoints(&mut encoder, &views)
    }
}

impl fmt::Debug for Gauges {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Gauges")
    }
}
