//! Latencies in buckets that are a little over one percent wide: quantiles of any number of requests in bounded memory.

use spotscale_decide::units::{Millis, Ratio};

use crate::moment::Moment;

/// Buckets for each doubling.
const PER_DOUBLING: f64 = 64.0;

/// How often each latency came up, from a microsecond on.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Histogram {
    buckets: Vec<u64>,
    count: u64,
}

impl Histogram {
    pub(crate) fn add(&mut self, latency: Moment) {
        let bucket = ((latency.0.max(1) as f64).log2() * PER_DOUBLING) as usize;
        if self.buckets.len() <= bucket {
            self.buckets.resize(bucket + 1, 0);
        }
        self.buckets[bucket] += 1;
        self.count += 1;
    }

    /// The upper edge of the bucket that the quantile lies in; nothing before anything was added.
    pub(crate) fn quantile(&self, quantile: Ratio) -> Option<Moment> {
        let rank = ((self.count as f64 * quantile.get()).ceil() as u64).max(1);
        let mut seen = 0;
        let bucket = self.buckets.iter().position(|count| {
            seen += count;
            seen >= rank
        })?;
        Some(Moment(((bucket + 1) as f64 / PER_DOUBLING).exp2().ceil() as u64))
    }

    /// How many were within a span, bucket edges aside.
    pub(crate) fn within(&self, span: Millis) -> u64 {
        let last = (Moment::from(span).0.max(1) as f64).log2() * PER_DOUBLING;
        self.buckets.iter().take(last as usize + 1).sum()
    }

    pub(crate) const fn count(&self) -> u64 {
        self.count
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_right_to_a_bucket() {
        let mut histogram = Histogram::default();
        assert_eq!(histogram.quantile(Ratio::from_percent(95)), None);
        (1..=1000).for_each(|ms| histogram.add(Moment(ms * 1000)));
        for percent in [1, 50, 95, 99, 100] {
            let found = histogram.quantile(Ratio::from_percent(percent)).unwrap().as_secs_f64();
            let true_value = f64::from(percent) / 100.0;
            assert!((1.0..1.012).contains(&(found / true_value)), "{percent}: {found}");
        }
        assert!(histogram.within(Millis(500)).abs_diff(500) <= 6);
        assert_eq!((histogram.within(Millis(2000)), histogram.count()), (1000, 1000));
    }
}
