//! Slow signals from Prometheus: GPU utilisation and spot prices, refreshed in the background and read from memory.
//!
//! A sample that is missing, not a number, out of range or old is a reason, never a zero: the last good one stays, and
//! ages. How old it may get is decided in `decide`; Prometheus is asked not to look further back than that.
//!
//! GPU queries that also hold under MIG use the profiling field, since utilisation by device is absent there:
//! `avg(DCGM_FI_PROF_GR_ENGINE_ACTIVE{exported_namespace="vision",exported_pod=~"resnet-.*"})`, a ratio from 0 to 1.
//! Without MIG, `avg(DCGM_FI_DEV_GPU_UTIL{...}) / 100` does too.

mod lookback;
mod refresh;

use std::{
    collections::{BTreeMap, BTreeSet},
    str::FromStr,
    sync::{Arc, Mutex},
    time::Duration,
};

use prometheus_http_query::Client;
use serde::{Serialize, Serializer};
use spotscale_decide::{
    freshness::Aged,
    replicas::{GpuPolicy, PricePolicy},
    units::{Millis, Span},
};
use tokio::sync::Notify;

use super::{config::ConfigError, lock, trigger::NamedQueries};
use lookback::Lookback;
pub(crate) use refresh::Refresher;

/// Flags of the Prometheus signals.
#[derive(clap::Args, Debug, Clone, Serialize)]
pub struct PrometheusConfig {
    /// Prometheus base URL; without it, triggers that ask for a query are refused. Before version 2.44 it takes samples of
    /// up to five minutes ago for present ones, which is told where it is found
    #[arg(long = "prometheus-url", env = "SPOTSCALE_PROMETHEUS_URL", value_name = "URL")]
    #[serde(serialize_with = "without_password")]
    pub url: Option<String>,
    /// How often each query is asked
    #[arg(
        long = "prometheus-interval",
        env = "SPOTSCALE_PROMETHEUS_INTERVAL",
        default_value = "15s"
    )]
    pub interval: Span,
    /// How long one answer may take
    #[arg(long = "prometheus-timeout", env = "SPOTSCALE_PROMETHEUS_TIMEOUT", default_value = "5s")]
    pub timeout: Span,
    /// A query that triggers may refer to by its name (repeatable)
    #[arg(
        long = "query",
        env = "SPOTSCALE_QUERIES",
        value_name = "NAME=PROMQL",
        value_delimiter = '\n'
    )]
    pub queries: Vec<NamedQuery>,
}

/// A query with a name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct NamedQuery {
    /// What triggers call it.
    pub name: String,
    /// What Prometheus is asked.
    pub promql: String,
}

/// Text that is not `NAME=PROMQL`.
#[derive(Debug, thiserror::Error)]
#[error("{0:?} is not NAME=PROMQL")]
pub struct NamedQueryError(String);

/// What a query measures, and so what its answer may be and how old.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Kind {
    /// The busy share of the GPUs, 0 to 1.
    GpuUtilisation,
    /// US dollars per hour.
    Price,
}

/// One thing to ask Prometheus.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub(crate) struct Query {
    pub(crate) kind: Kind,
    pub(crate) promql: Arc<str>,
}

/// Why an answer is no reading.
#[derive(Debug, Clone, PartialEq, Serialize, thiserror::Error)]
#[serde(rename_all = "snake_case", tag = "kind", content = "detail")]
pub(crate) enum Trouble {
    /// No answer in time.
    #[error("no answer in time")]
    Timeout,
    /// No connection, a status that is no success, or a body that is no answer.
    #[error("the request failed: {0}")]
    Request(String),
    /// Prometheus refused or could not evaluate the query.
    #[error("Prometheus says: {0}")]
    Refused(String),
    /// No series, or none with a sample that is young enough.
    #[error("no series with a sample that is young enough")]
    Empty,
    /// More than one series: the query has to aggregate.
    #[error("more than one series: aggregate them in the query")]
    Ambiguous,
    /// NaN, an infinity, or outside of what the signal can be.
    #[error("{0} is not a value that this signal can have")]
    OutOfRange(String),
}

/// What is known from one query.
#[derive(Debug, Clone, Default, Serialize)]
pub(crate) struct Reading {
    /// The last good value, and when it was sampled.
    pub(crate) good: Option<Aged<f64>>,
    /// What was wrong with the last answer; nothing after a good one.
    pub(crate) trouble: Option<Trouble>,
    asked_at: Option<Millis>,
}

/// The readings of every query that some trigger wants.
#[derive(Debug, Default)]
pub(crate) struct Readings {
    known: Mutex<BTreeMap<Query, Reading>>,
    wanted: Notify,
    /// Nothing until Prometheus was asked.
    lookback: Mutex<Option<Lookback>>,
}

impl PrometheusConfig {
    /// Checks the queries against the URL and each other.
    pub(super) fn validate(&self) -> Result<(), ConfigError> {
        if !self.queries.is_empty() && self.url.is_none() {
            return Err(ConfigError::QueryWithoutPrometheus);
        }
        if let Some(url) = &self.url {
            Client::from_str(url).map_err(|error| ConfigError::PrometheusUrl(error.to_string()))?;
        }
        let mut names = BTreeSet::new();
        match self.queries.iter().find(|query| !names.insert(&query.name)) {
            Some(NamedQuery { name, .. }) => Err(ConfigError::QueryTwice { name: name.clone() }),
            None => Ok(()),
        }
    }
}

impl PrometheusConfig {
    /// The queries by name, for triggers to refer to; `None` where there is nobody to ask.
    pub(crate) fn named(&self) -> NamedQueries {
        let by_name = |query: &NamedQuery| (query.name.clone(), query.promql.as_str().into());
        self.url.as_ref().map(|_| self.queries.iter().map(by_name).collect())
    }
}

impl FromStr for NamedQuery {
    type Err = NamedQueryError;

    fn from_str(text: &str) -> Result<Self, NamedQueryError> {
        match text.split_once('=') {
            Some((name, promql)) if !name.trim().is_empty() && !promql.trim().is_empty() => {
                Ok(Self { name: name.trim().to_owned(), promql: promql.trim().to_owned() })
            }
            _ => Err(NamedQueryError(text.to_owned())),
        }
    }
}

impl Trouble {
    /// A label for metrics.
    fn kind(&self) -> &'static str {
        match self {
            Self::Timeout => "timeout",
            Self::Request(_) => "request",
            Self::Refused(_) => "refused",
            Self::Empty => "empty",
            Self::Ambiguous => "ambiguous",
            Self::OutOfRange(_) => "out_of_range",
        }
    }
}

impl Kind {
    /// How far back Prometheus may look. It stamps what it finds with the time of the question, not of the sample, so
    /// what it may find has to be fresh; from then on the reading ages here.
    fn lookback(self) -> Millis {
        match self {
            Self::GpuUtilisation => GpuPolicy::default().freshness.warn,
            Self::Price => PricePolicy::default().freshness.warn,
        }
    }

    fn allows(self, value: f64) -> bool {
        match self {
            Self::GpuUtilisation => (0.0..=1.0).contains(&value),
            Self::Price => value >= 0.0 && value.is_finite(),
        }
    }
}

impl Readings {
    /// Starts asking this query.
    pub(crate) fn want(&self, query: &Query) {
        lock(&self.known).entry(query.clone()).or_default();
        self.wanted.notify_one();
    }

    /// Asks these, and no others any more.
    pub(crate) fn keep(&self, wanted: &BTreeSet<Query>) {
        let mut known = lock(&self.known);
        known.retain(|query, _| wanted.contains(query));
        for query in wanted {
            known.entry(query.clone()).or_default();
        }
    }

    /// What is known from this query.
    pub(crate) fn get(&self, query: &Query) -> Reading {
        lock(&self.known).get(query).cloned().unwrap_or_default()
    }

    /// What is to be known of the samples behind the readings; nothing where they are as young as they seem.
    pub(crate) fn caution(&self) -> Option<String> {
        lock(&self.lookback).as_ref().filter(|found| found.is_ignored()).map(Lookback::to_string)
    }

    /// Notes what Prometheus does with a lookback; says whether that is new.
    fn note_lookback(&self, found: &Lookback) -> bool {
        let mut known = lock(&self.lookback);
        let is_new = known.as_ref() != Some(found);
        *known = Some(found.clone());
        is_new
    }

    fn due(&self, now: Millis, interval: Duration) -> Vec<Query> {
        let pause = Span(interval / 2).millis();
        let due = |at: Option<Millis>| at.is_none_or(|at| now.saturating_sub(at) >= pause);
        let known = lock(&self.known);
        known.iter().filter(|(_, reading)| due(reading.asked_at)).map(|(q, _)| q.clone()).collect()
    }

    fn record(&self, query: &Query, now: Millis, answer: Result<Aged<f64>, Trouble>) {
        let mut known = lock(&self.known);
        let Some(reading) = known.get_mut(query) else { return };
        reading.asked_at = Some(now);
        match answer {
            Ok(good) => (reading.good, reading.trouble) = (Some(good), None),
            Err(trouble) => reading.trouble = Some(trouble),
        }
    }
}

/// A URL may carry `user:password@`; the log must not.
#[allow(clippy::ref_option, reason = "the signature is serde's")]
fn without_password<S: Serializer>(url: &Option<String>, serializer: S) -> Result<S::Ok, S::Error> {
    let redacted = url.as_ref().map(|url| match (url.split_once("://"), url.rsplit_once('@')) {
        (Some((scheme, _)), Some((_, host))) => format!("{scheme}://redacted@{host}"),
        _ => url.clone(),
    });
    redacted.serialize(serializer)
}
