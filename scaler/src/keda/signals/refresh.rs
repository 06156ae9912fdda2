//! The background task that asks Prometheus. What an answer is worth is judged here, and by nobody who waits for it.

use std::{
    str::FromStr,
    sync::Arc,
    time::{Duration, SystemTime},
};

use futures::{StreamExt, stream};
use prometheus_http_query::{
    Client, Error as QueryError,
    response::{Data, Sample},
};
use spotscale_decide::{freshness::Aged, units::Millis};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::{PrometheusConfig, Query, Readings, Trouble, lookback::Lookback};
use crate::keda::{clock::Clock, config::ConfigError, metrics::Metrics};

/// Queries under way at once: Prometheus answers many at once, but not thousands.
const CONCURRENCY: usize = 8;

/// The background task that keeps the readings young.
pub(crate) struct Refresher {
    client: Client,
    interval: Duration,
    timeout: Duration,
    clock: Clock,
    readings: Arc<Readings>,
    metrics: Arc<Metrics>,
}

impl Refresher {
    /// Of this Prometheus; `None` where none is configured.
    pub(crate) fn new(
        config: &PrometheusConfig,
        clock: Clock,
        readings: Arc<Readings>,
        metrics: Arc<Metrics>,
    ) -> Result<Option<Self>, ConfigError> {
        let Some(url) = &config.url else { return Ok(None) };
        let client =
            Client::from_str(url).map_err(|error| ConfigError::PrometheusUrl(error.to_string()))?;
        let (interval, timeout) = (config.interval.0, config.timeout.0);
        Ok(Some(Self { client, interval, timeout, clock, readings, metrics }))
    }

    /// Asks every wanted query at the interval, a new one at once, until `shutdown`. The server itself is looked at first
    /// of all, and again whenever it was away: another one may have come back.
    pub(crate) async fn run(self, shutdown: CancellationToken) {
        let rounds = async {
            let mut is_known = false;
            loop {
                let (was_seen, was_there) = tokio::join!(self.look(is_known), self.round());
                is_known = was_seen && was_there;
                // Jitter, so that several scaler replicas do not ask in step.
                let pause = self.interval.mul_f64(0.9 + 0.2 * fastrand::f64());
                tokio::select! {
                    () = sleep(pause) => {}
                    () = self.readings.wanted.notified() => {}
                }
            }
        };
        shutdown.run_until_cancelled(rounds).await;
    }

    /// Finds out what kind of server it is, unless that is known; says whether it is now.
    async fn look(&self, is_known: bool) -> bool {
        if is_known {
            return true;
        }
        let Ok(Some(found)) = timeout(self.timeout, Lookback::ask(&self.client)).await else {
            return false;
        };
        self.metrics.lookback_ignored(found.is_ignored());
        if self.readings.note_lookback(&found) && found.is_ignored() {
            tracing::warn!("{found}");
        }
        true
    }

    /// Asks what is due; says whether somebody has answered all of it.
    async fn round(&self) -> bool {
        let due = self.readings.due(self.clock.now(), self.interval);
        let answers = stream::iter(due).map(|query| self.refresh(query));
        let answered = answers.buffer_unordered(CONCURRENCY);
        answered.fold(true, async |all, answered| all && answered).await
    }

    /// Says whether somebody has answered.
    async fn refresh(&self, query: Query) -> bool {
        let answer = match timeout(self.timeout, self.ask(&query)).await {
            Ok(answer) => answer,
            Err(_) => Err(Trouble::Timeout),
        };
        self.metrics.query(answer.as_ref().map_or_else(Trouble::kind, |_| "ok"));
        if let Err(trouble) = &answer {
            tracing::warn!(promql = %query.promql, %trouble, "no reading");
        }
        let is_away = matches!(answer, Err(Trouble::Timeout | Trouble::Request(_)));
        self.readings.record(&query, self.clock.now(), answer);
        !is_away
    }

    async fn ask(&self, query: &Query) -> Result<Aged<f64>, Trouble> {
        let lookback = query.kind.lookback().as_secs_f64();
        // Two series are ambiguous already: more would only fill memory.
        let request = self
            .client
            .query(&query.promql)
            .query("lookback_delta", format!("{lookback}s"))
            .query("limit", 2);
        let result = request.get().await.map_err(|error| match error {
            QueryError::Prometheus(said) => Trouble::Refused(said.to_string()),
            other => Trouble::Request(other.to_string()),
        })?;
        let sample = single(result.data())?;
        if !query.kind.allows(sample.value()) {
            return Err(Trouble::OutOfRange(sample.value().to_string()));
        }
        Ok(Aged { value: sample.value(), at: self.sampled_at(sample) })
    }

    /// The sample's own time on the clock of decisions; never later than now.
    fn sampled_at(&self, sample: &Sample) -> Millis {
        let today = SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default().as_secs_f64();
        let age_seconds = (today - sample.timestamp()).max(0.0);
        self.clock.now().saturating_sub(Millis((age_seconds * 1000.0) as u64))
    }
}

fn single(data: &Data) -> Result<&Sample, Trouble> {
    match data {
        Data::Scalar(sample) => Ok(sample),
        Data::Vector(series) => match series.as_slice() {
            [] => Err(Trouble::Empty),
            [one] => Ok(one.sample()),
            _ => Err(Trouble::Ambiguous),
        },
        Data::Matrix(_) => Err(Trouble::Ambiguous),
    }
}
