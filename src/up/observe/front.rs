//! What the front's own metrics say: counters into rates, histogram buckets into percentiles. It sees what a Prometheus
//! would see, and computes what a dashboard would.

use std::{
    collections::{BTreeMap, VecDeque},
    time::Duration,
};

use super::openmetrics::samples;
use crate::up::view::{Percentiles, Traffic};

/// Rates are over this much.
const RATE_WINDOW: Duration = Duration::from_secs(2);
/// Percentiles are over this much.
const LATENCY_WINDOW: Duration = Duration::from_secs(10);

/// One look at the front.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Look {
    pub(super) held: u64,
    pub(super) in_flight: u64,
    /// Requests that have ended, by the code their client saw.
    ended: BTreeMap<u16, u64>,
    /// Upper bounds in seconds, ascending, with how many requests took at most that.
    buckets: Vec<(f64, f64)>,
}

impl Look {
    /// From the front's metrics page.
    pub(super) fn of(page: &str) -> Self {
        let mut look = Self::default();
        for sample in samples(page) {
            match sample.name {
                "spotscale_front_held_requests" => look.held += sample.value as u64,
                "spotscale_front_in_flight_requests" => look.in_flight += sample.value as u64,
                "spotscale_front_requests_total" => {
                    let code = sample.label("code").and_then(|code| code.parse().ok());
                    *look.ended.entry(code.unwrap_or(0)).or_default() += sample.value as u64;
                }
                "spotscale_front_request_duration_seconds_bucket" => {
                    let bound = sample.label("le").and_then(|le| le.parse().ok());
                    look.buckets.push((bound.unwrap_or(f64::INFINITY), sample.value));
                }
                _ => {}
            }
        }
        look
    }

    fn arrived(&self) -> u64 {
        self.ended.values().sum::<u64>() + self.held + self.in_flight
    }
}

/// The looks of the last while, each with its moment on a clock of any origin.
#[derive(Debug, Default)]
pub(super) struct Looks(VecDeque<(Duration, Look)>);

impl Looks {
    pub(super) fn push(&mut self, at: Duration, look: Look) {
        self.0.push_back((at, look));
        // One look that is older than the window stays: it is where the window begins.
        while self.0.get(1).is_some_and(|(second, _)| at.saturating_sub(*second) >= LATENCY_WINDOW)
        {
            self.0.pop_front();
        }
    }

    pub(super) fn last(&self) -> Option<&Look> {
        self.0.back().map(|(_, look)| look)
    }

    /// Rates of the last window, totals since the start.
    pub(super) fn traffic(&self) -> Traffic {
        let Some((now, last)) = self.0.back() else { return Traffic::default() };
        let (then, first) = self.since(*now, RATE_WINDOW).unwrap_or((*now, last));
        let seconds = now.saturating_sub(then).as_secs_f64();
        let rate = |count: u64| if seconds > 0.0 { count as f64 / seconds } else { 0.0 };
        let since = |code: &u16| first.ended.get(code).copied().unwrap_or(0);
        let grown = |(code, total): (&u16, &u64)| {
            let count = total.saturating_sub(since(code));
            (count > 0).then(|| (*code, rate(count)))
        };
        let failed = |(code, _): &(&u16, &u64)| **code >= 500 && **code != 503;
        Traffic {
            offered_per_second: rate(last.arrived().saturating_sub(first.arrived())),
            answered_per_second: last.ended.iter().filter_map(grown).collect(),
            offered_total: last.arrived(),
            answered_total: last.ended.clone(),
            lost_total: last.ended.iter().filter(failed).map(|(_, total)| total).sum(),
        }
    }

    /// Percentiles of the last window, `None` when nothing ended in it.
    pub(super) fn latency_ms(&self) -> Option<Percentiles> {
        let (now, last) = self.0.back()?;
        let (_, first) = self.since(*now, LATENCY_WINDOW)?;
        // Before its first request the front shows no bucket at all.
        let before = |index: usize| first.buckets.get(index).map_or(0.0, |&(_, count)| count);
        let buckets = last.buckets.iter().enumerate();
        let grown: Vec<(f64, f64)> =
            buckets.map(|(i, &(bound, count))| (bound, count - before(i))).collect();
        let ms = |q: f64| quantile(&grown, q).map(|seconds| seconds * 1000.0);
        Some(Percentiles { p50: ms(0.5)?, p95: ms(0.95)?, p99: ms(0.99)? })
    }

    /// The youngest look that is at least `window` old, else the oldest.
    fn since(&self, now: Duration, window: Duration) -> Option<(Duration, &Look)> {
        let old = self.0.iter().rev().find(|(at, _)| now.saturating_sub(*at) >= window);
        old.or_else(|| self.0.front()).map(|(at, look)| (*at, look))
    }
}

/// As Prometheus' `histogram_quantile`: even within a bucket, and no more than the last finite bound.
fn quantile(buckets: &[(f64, f64)], q: f64) -> Option<f64> {
    let total = buckets.last().map(|&(_, count)| count).filter(|&total| total > 0.0)?;
    let rank = q * total;
    let at = buckets.iter().position(|&(_, count)| count >= rank)?;
    let (lower, below) = if at == 0 { (0.0, 0.0) } else { buckets[at - 1] };
    let (upper, count) = buckets[at];
    if upper.is_infinite() {
        return Some(lower);
    }
    Some(lower + (upper - lower) * (rank - below) / (count - below).max(1.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(ok: u64, slow: u64, refused: u64, held: u64) -> String {
        let all = ok + slow;
        format!(
            "spotscale_front_requests_total{{service=\"a\",code=\"200\",tier=\"cpu\"}} {all}\n\
             spotscale_front_requests_total{{service=\"a\",code=\"502\",tier=\"none\"}} {refused}\n\
             spotscale_front_held_requests{{service=\"a\"}} {held}\n\
             spotscale_front_request_duration_seconds_bucket{{le=\"0.1\",service=\"a\"}} {ok}\n\
             spotscale_front_request_duration_seconds_bucket{{le=\"1.0\",service=\"a\"}} {all}\n\
             spotscale_front_request_duration_seconds_bucket{{le=\"+Inf\",service=\"a\"}} {all}\n"
        )
    }

    fn looks(pages: &[(u64, String)]) -> Looks {
        let mut looks = Looks::default();
        for (at, page) in pages {
            looks.push(Duration::from_secs(*at), Look::of(page));
        }
        looks
    }

    #[test]
    fn rates_are_over_the_last_seconds_and_totals_over_all() {
        let looks =
            looks(&[(0, page(0, 0, 0, 0)), (8, page(80, 0, 0, 0)), (10, page(90, 0, 2, 4))]);
        let traffic = looks.traffic();
        assert!((traffic.offered_per_second - 8.0).abs() < 1e-9, "10 + 2 + 4 in 2 s");
        assert!((traffic.answered_per_second[&200] - 5.0).abs() < 1e-9);
        assert_eq!(traffic.offered_total, 96);
        assert_eq!(traffic.lost_total, 2);
    }

    #[test]
    fn percentiles_are_of_the_last_ten_seconds_only() {
        let old = page(1000, 0, 0, 0);
        let looks = looks(&[(0, old.clone()), (5, old), (15, page(1090, 10, 0, 0))]);
        let latency = looks.latency_ms().unwrap();
        assert!(latency.p50 < 100.0);
        assert!((latency.p95 - 550.0).abs() < 1e-6, "{latency:?}: midway in 0.1 to 1.0 s");
    }

    #[test]
    fn nothing_ended_means_no_percentiles() {
        assert_eq!(looks(&[]).latency_ms(), None);
        let same = page(5, 0, 0, 0);
        assert_eq!(looks(&[(0, same.clone()), (10, same)]).latency_ms(), None);
        assert!(looks(&[(0, String::new()), (1, page(5, 0, 0, 0))]).latency_ms().is_some());
    }
}
