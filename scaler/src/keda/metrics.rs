//! What the scaler counts about itself. What it knows of each ScaledObject is read at scrape time, by [`super::gauges`].

use std::time::Duration;

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{
        counter::Counter,
        family::Family,
        gauge::Gauge,
        histogram::{Histogram, exponential_buckets},
    },
    registry::{Registry, Unit},
};
use tonic::Code;

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Call {
    method: &'static str,
    code: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Method {
    method: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Reason {
    reason: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Outcome {
    outcome: &'static str,
}

/// The counters of one scaler process.
#[derive(Debug)]
pub(crate) struct Metrics {
    calls: Family<Call, Counter>,
    call_seconds: Family<Method, Histogram>,
    streams: Family<Method, Gauge>,
    pushes: Family<Reason, Counter>,
    decisions: Family<Reason, Counter>,
    reports: Family<Outcome, Counter>,
    queries: Family<Outcome, Counter>,
    lookback_ignored: Gauge,
    tls_reloads: Family<Outcome, Counter>,
}

/// Holds a gauge one higher for as long as it lives.
pub(crate) struct Gauged(Gauge);

impl Metrics {
    /// Registers them all.
    pub(crate) fn new(registry: &mut Registry) -> Self {
        // From 10 µs to 0.3 s: an answer from memory, up to one that shows a starved process.
        let seconds = || Histogram::new(exponential_buckets(1e-5, 2.0, 16));
        let metrics = Self {
            calls: Family::default(),
            call_seconds: Family::new_with_constructor(seconds),
            streams: Family::default(),
            pushes: Family::default(),
            decisions: Family::default(),
            reports: Family::default(),
            queries: Family::default(),
            lookback_ignored: Gauge::default(),
            tls_reloads: Family::default(),
        };
        metrics.register(registry.sub_registry_with_prefix("spotscale_scaler"));
        metrics
    }

    fn register(&self, to: &mut Registry) {
        to.register("calls", "gRPC calls answered, by method and code", self.calls.clone());
        let seconds = self.call_seconds.clone();
        to.register_with_unit(
            "call",
            "Time to answer a call of KEDA, or to open its stream",
            Unit::Seconds,
            seconds,
        );
        to.register("streams", "gRPC streams open", self.streams.clone());
        to.register("push_messages", "Activations pushed to KEDA", self.pushes.clone());
        to.register("decisions", "Decisions, by each reason they gave", self.decisions.clone());
        to.register("demand_reports", "Reports of fronts, by service", self.reports.clone());
        to.register("prometheus_queries", "Prometheus queries", self.queries.clone());
        let help = "1 where Prometheus takes samples for fresh that are older than it is asked for";
        to.register("prometheus_lookback_ignored", help, self.lookback_ignored.clone());
        to.register("tls_reloads", "Changed TLS files, taken or refused", self.tls_reloads.clone());
    }

    /// A call was answered, or a stream of requests ended.
    pub(crate) fn call(&self, method: &'static str, code: Code) {
        self.calls.get_or_create(&Call { method, code: code_name(code) }).inc();
    }

    /// A call of KEDA took so long to answer; a stream, to open.
    pub(crate) fn answered(&self, method: &'static str, took: Duration) {
        self.call_seconds.get_or_create(&Method { method }).observe(took.as_secs_f64());
    }

    /// A stream opens; it is open until the answer is dropped.
    pub(crate) fn stream_open(&self, method: &'static str) -> Gauged {
        let gauge = self.streams.get_or_create_owned(&Method { method });
        gauge.inc();
        Gauged(gauge)
    }

    /// An activation was pushed.
    pub(crate) fn push(&self, reason: &'static str) {
        self.pushes.get_or_create(&Reason { reason }).inc();
    }

    /// A decision gave this reason.
    pub(crate) fn decision(&self, reason: &'static str) {
        self.decisions.get_or_create(&Reason { reason }).inc();
    }

    /// A front reported on one service.
    pub(crate) fn report(&self, outcome: &'static str) {
        self.reports.get_or_create(&Outcome { outcome }).inc();
    }

    /// A Prometheus query ended.
    pub(crate) fn query(&self, outcome: &'static str) {
        self.queries.get_or_create(&Outcome { outcome }).inc();
    }

    /// Whether Prometheus looks further back than it is asked to.
    pub(crate) fn lookback_ignored(&self, is_ignored: bool) {
        self.lookback_ignored.set(is_ignored.into());
    }

    /// Changed TLS files were taken or refused.
    pub(crate) fn tls_reload(&self, outcome: &'static str) {
        self.tls_reloads.get_or_create(&Outcome { outcome }).inc();
    }
}

impl Drop for Gauged {
    fn drop(&mut self) {
        self.0.dec();
    }
}

/// The name of a gRPC code as its specification spells it, for the codes that this scaler gives.
fn code_name(code: Code) -> &'static str {
    match code {
        Code::Ok => "OK",
        Code::InvalidArgument => "INVALID_ARGUMENT",
        Code::ResourceExhausted => "RESOURCE_EXHAUSTED",
        Code::Unavailable => "UNAVAILABLE",
        Code::DeadlineExceeded => "DEADLINE_EXCEEDED",
        Code::Cancelled => "CANCELLED",
        _ => "UNKNOWN",
    }
}
