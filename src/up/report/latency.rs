//! Percentiles. Exact: every value is kept and sorted, and a percentile is a value that occurred
//! (nearest rank).

use serde::Serialize;

/// Latency percentiles of some requests, in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub(crate) struct Latency {
    /// How many requests.
    pub count: usize,
    /// Half of them took at most this.
    pub p50: f64,
    /// 95 % took at most this.
    pub p95: f64,
    /// 99 % took at most this.
    pub p99: f64,
    /// None took longer.
    pub max: f64,
}

impl Latency {
    /// Of these values; `None` without any.
    pub(super) fn of(values: impl IntoIterator<Item = f64>) -> Option<Self> {
        let mut sorted: Vec<f64> = values.into_iter().collect();
        sorted.sort_by(f64::total_cmp);
        let max = *sorted.last()?;
        let rank = |share: f64| {
            let nth = (share * sorted.len() as f64).ceil() as usize;
            sorted[nth.clamp(1, sorted.len()) - 1]
        };
        Some(Self { count: sorted.len(), p50: rank(0.50), p95: rank(0.95), p99: rank(0.99), max })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_percentile_is_the_nearest_rank() {
        let hundred = Latency::of((1..=100).rev().map(f64::from)).unwrap();
        let expected = Latency { count: 100, p50: 50.0, p95: 95.0, p99: 99.0, max: 100.0 };
        assert_eq!(hundred, expected);
        let one = Latency::of([7.0]).unwrap();
        assert_eq!((one.p50, one.p99), (7.0, 7.0));
        // Rounded up: of 10 values the 95th percentile is the largest, or 5 % would be left above
        // it unseen.
        let ten = Latency::of((1..=10).map(f64::from)).unwrap();
        assert_eq!((ten.p95, ten.max), (10.0, 10.0));
        assert_eq!(Latency::of([]), None);
    }
}
