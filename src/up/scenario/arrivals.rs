//! When requests are due: a pure, seeded list of moments. It never looks at how the answers are
//! doing; that is what makes the load open-loop.

use std::time::Duration;

use super::Arrivals;

/// The moments, from the start of a stretch of `length`, at which requests are due at `per_second`
/// on average.
pub(super) fn schedule(
    spacing: Arrivals,
    per_second: f64,
    length: Duration,
    seed: u64,
) -> impl Iterator<Item = Duration> {
    let mut rng = fastrand::Rng::with_seed(seed);
    let mut poisson_seconds = 0.0;
    let requests = if per_second > 0.0 { 0..u32::MAX } else { 0..0 };
    requests
        .map(move |nth| match spacing {
            Arrivals::Poisson => {
                poisson_seconds += -(1.0 - rng.f64()).ln() / per_second;
                poisson_seconds
            }
            Arrivals::Fixed => f64::from(nth) / per_second,
        })
        .take_while(move |due_seconds| *due_seconds < length.as_secs_f64())
        .map(Duration::from_secs_f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_mins(1);

    fn gaps(spacing: Arrivals, seed: u64) -> Vec<f64> {
        let due = schedule(spacing, 100.0, MINUTE, seed).map(|due| due.as_secs_f64());
        due.collect::<Vec<_>>().windows(2).map(|pair| pair[1] - pair[0]).collect()
    }

    #[test]
    fn poisson_gaps_have_the_mean_and_the_deviation_of_their_rate() {
        let gaps = gaps(Arrivals::Poisson, 1);
        let mean = gaps.iter().sum::<f64>() / gaps.len() as f64;
        let variance = gaps.iter().map(|g| (g - mean).powi(2)).sum::<f64>() / gaps.len() as f64;
        assert!((5_600..6_400).contains(&gaps.len()), "{} arrivals", gaps.len());
        // Exponential gaps: the coefficient of variation is 1. Even spacing would give 0.
        assert!((variance.sqrt() / mean - 1.0).abs() < 0.1);
    }

    #[test]
    fn fixed_gaps_are_even_and_start_at_once() {
        assert!(gaps(Arrivals::Fixed, 1).iter().all(|gap| (gap - 0.01).abs() < 1e-6));
        assert_eq!(schedule(Arrivals::Fixed, 1.0, MINUTE, 1).next(), Some(Duration::ZERO));
    }

    #[test]
    fn a_seed_names_one_schedule_and_silence_is_silent() {
        assert_eq!(gaps(Arrivals::Poisson, 7), gaps(Arrivals::Poisson, 7));
        assert_ne!(gaps(Arrivals::Poisson, 7), gaps(Arrivals::Poisson, 8));
        assert_eq!(schedule(Arrivals::Poisson, 0.0, MINUTE, 1).count(), 0);
    }
}
