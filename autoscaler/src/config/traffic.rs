//! Whether and how the throughput of machines is measured from their traffic.

use std::{fmt, str::FromStr, time::Duration};

use clap::Args;
use prometheus_http_query::Client;
use serde::{Serialize, Serializer};
use spotscale_decide::{
    freshness::Freshness,
    offers::TrafficPolicy,
    units::{Ratio, Requests},
};

use super::{ConfigError, above_zero, duration, millis};

/// How the throughput of machines is measured from their traffic.
#[derive(Debug, Clone, Args, Serialize)]
#[group(skip)]
pub struct TrafficFlags {
    /// Prometheus, with the metrics of the bundled model server under the labels `namespace` and `pod`; without it what
    /// machines were calibrated to counts.
    #[arg(long, env = "SPOTSCALE_AUTOSCALER_PROMETHEUS_URL", value_name = "URL")]
    pub prometheus_url: Option<PrometheusUrl>,

    /// How often it is asked.
    #[arg(long, env = "SPOTSCALE_AUTOSCALER_PROMETHEUS_INTERVAL", default_value = "30s", value_parser = duration)]
    pub prometheus_interval: Duration,

    /// The time over which traffic is counted.
    #[arg(long, env = "SPOTSCALE_AUTOSCALER_TRAFFIC_WINDOW", default_value = "10m", value_parser = duration)]
    pub traffic_window: Duration,

    /// A pod that answered fewer requests in the window tells nothing.
    #[arg(long, env = "SPOTSCALE_AUTOSCALER_TRAFFIC_REQUESTS_MIN", default_value_t = 200)]
    pub traffic_requests_min: u64,

    /// A pod whose model ran for less of the window tells nothing: what it would answer under full load would be guessed.
    #[arg(long, env = "SPOTSCALE_AUTOSCALER_TRAFFIC_BUSY_MIN", default_value = "0.5")]
    pub traffic_busy_min: Ratio,

    /// What is measured counts up to so many times what a machine was calibrated to, and down to that part of it.
    #[arg(long, env = "SPOTSCALE_AUTOSCALER_TRAFFIC_BOUND", default_value_t = 2.0)]
    pub traffic_bound: f64,

    /// In this time half of the way to what is measured now is gone.
    #[arg(long, env = "SPOTSCALE_AUTOSCALER_TRAFFIC_HALF_LIFE", default_value = "10m", value_parser = duration)]
    pub traffic_half_life: Duration,

    /// A count that is older than this is not taken in.
    #[arg(long, env = "SPOTSCALE_AUTOSCALER_TRAFFIC_STALE_AFTER", default_value = "5m", value_parser = duration)]
    pub traffic_stale_after: Duration,

    /// What was measured counts for so long.
    #[arg(long, env = "SPOTSCALE_AUTOSCALER_TRAFFIC_EXPIRED_AFTER", default_value = "24h", value_parser = duration)]
    pub traffic_expired_after: Duration,
}

/// Where Prometheus is.
#[derive(Clone)]
pub struct PrometheusUrl(pub(crate) Client);

// === impl TrafficFlags ===

impl TrafficFlags {
    pub(super) fn validate(&self) -> Result<(), ConfigError> {
        above_zero("prometheus-interval", self.prometheus_interval)?;
        above_zero("traffic-window", self.traffic_window)?;
        above_zero("traffic-half-life", self.traffic_half_life)?;
        if !(self.traffic_bound.is_finite() && self.traffic_bound >= 1.0) {
            return Err(ConfigError::Bound);
        }
        let stale = ("traffic-stale-after", self.traffic_stale_after);
        ConfigError::order(("prometheus-interval", self.prometheus_interval), stale)?;
        ConfigError::order(stale, ("traffic-expired-after", self.traffic_expired_after))
    }

    pub(super) fn policy(&self) -> TrafficPolicy {
        TrafficPolicy {
            window_ms: millis(self.traffic_window),
            requests_min: Requests(self.traffic_requests_min),
            busy_min: self.traffic_busy_min,
            bound: self.traffic_bound,
            half_life_ms: millis(self.traffic_half_life),
            freshness: Freshness {
                warn: millis(self.traffic_stale_after),
                expired: millis(self.traffic_expired_after),
            },
        }
    }
}

// === impl PrometheusUrl ===

impl FromStr for PrometheusUrl {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Client::from_str(text).map(Self).map_err(|error| error.to_string())
    }
}

/// Without a password.
impl fmt::Display for PrometheusUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let url = self.0.base_url();
        write!(f, "{}://{}", url.scheme(), url.host_str().unwrap_or_default())?;
        url.port().map_or(Ok(()), |port| write!(f, ":{port}"))?;
        f.write_str(url.path())
    }
}

impl fmt::Debug for PrometheusUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl Serialize for PrometheusUrl {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}
