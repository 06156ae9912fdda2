//! Chance from a seed: each part of the world has dice of its own, so that more traffic does not change which node is
//! taken.

use fastrand::Rng;
use spotscale_decide::{capacity::ServiceTime, units::Millis};

use crate::moment::Moment;

/// Dice for one purpose.
#[derive(Debug, Clone)]
pub(crate) struct Dice(Rng);

/// What dice are for.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Purpose {
    Arrivals = 1,
    Service,
    Delays,
    Interruptions,
    Prices,
}

impl Dice {
    pub(crate) fn new(seed: u64, purpose: Purpose) -> Self {
        // Seeds that differ by one must not make streams that resemble each other.
        let mut mixed = Rng::with_seed(seed);
        let mut own = mixed.u64(..);
        for _ in 0..purpose as u8 {
            own = mixed.u64(..);
        }
        Self(Rng::with_seed(own))
    }

    /// Uniform in [0, 1).
    pub(crate) fn uniform(&mut self) -> f64 {
        self.0.f64()
    }

    /// One of `0..choices`; 0 where there is no choice.
    pub(crate) fn below(&mut self, choices: usize) -> usize {
        self.0.usize(..choices.max(1))
    }

    /// Exponential with this mean.
    pub(crate) fn exponential(&mut self, mean: f64) -> f64 {
        -mean * (1.0 - self.uniform()).ln()
    }

    /// Standard normal (Box and Muller).
    pub(crate) fn normal(&mut self) -> f64 {
        let radius = (-2.0 * (1.0 - self.uniform()).ln()).sqrt();
        radius * (std::f64::consts::TAU * self.uniform()).cos()
    }

    /// A service time: lognormal with that mean and variation, as the queueing model takes it to be.
    pub(crate) fn service(&mut self, time: &ServiceTime) -> Moment {
        let variance = (1.0 + time.scv()).ln();
        let spread = if variance > 0.0 { variance.sqrt() * self.normal() } else { 0.0 };
        let seconds = time.mean_seconds() * (spread - variance / 2.0).exp();
        Moment::from_secs_f64(seconds).max(Moment(1))
    }

    /// A delay from 80 % to 120 % of the usual one.
    pub(crate) fn delay(&mut self, usual: Millis) -> Millis {
        Millis((usual.0 as f64 * (0.8 + 0.4 * self.uniform())).round() as u64)
    }

    /// So many events of a Poisson process with this mean; it counts one by one.
    pub(crate) fn poisson(&mut self, mean: f64) -> u32 {
        let (mut events, mut passed) = (0, self.exponential(1.0));
        while passed < mean {
            events += 1;
            passed += self.exponential(1.0);
        }
        events
    }

    /// A whole number whose mean is `mean`: its floor, or one more.
    pub(crate) fn rounded(&mut self, mean: f64) -> u32 {
        let more = self.uniform() < mean.fract();
        (mean.floor() as u32).saturating_add(u32::from(more))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mean(count: u32, mut draw: impl FnMut() -> f64) -> f64 {
        (0..count).map(|_| draw()).sum::<f64>() / f64::from(count)
    }

    #[test]
    fn what_is_drawn_has_the_mean_and_the_variation_it_should() {
        let mut dice = Dice::new(7, Purpose::Service);
        let time = ServiceTime::new(0.02, 0.5).unwrap();
        let mut seconds = || dice.service(&time).as_secs_f64();
        let draws: Vec<f64> = (0..200_000).map(|_| seconds()).collect();
        let average = draws.iter().sum::<f64>() / draws.len() as f64;
        let squares = draws.iter().map(|x| (x - average).powi(2)).sum::<f64>();
        let scv = squares / draws.len() as f64 / average.powi(2);
        assert!(
            (average / 0.02 - 1.0).abs() < 0.02 && (scv / 0.5 - 1.0).abs() < 0.1,
            "{average} {scv}"
        );
        assert!((mean(100_000, || dice.exponential(3.0)) / 3.0 - 1.0).abs() < 0.02);
        assert!((mean(100_000, || f64::from(dice.rounded(2.3))) - 2.3).abs() < 0.02);
        assert!((mean(50_000, || f64::from(dice.poisson(4.0))) / 4.0 - 1.0).abs() < 0.02);
        assert!((mean(1000, || dice.delay(Millis(100)).0 as f64) - 100.0).abs() < 3.0);
    }

    #[test]
    fn each_seed_and_each_purpose_has_its_own_stream() {
        let first = |seed, purpose| Dice::new(seed, purpose).0.u64(..);
        assert_eq!(first(1, Purpose::Arrivals), first(1, Purpose::Arrivals));
        assert_ne!(first(1, Purpose::Arrivals), first(2, Purpose::Arrivals));
        assert_ne!(first(1, Purpose::Arrivals), first(1, Purpose::Service));
    }
}
