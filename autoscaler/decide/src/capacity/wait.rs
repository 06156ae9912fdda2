//! How wait and service add up in an M/G/k queue, as a share of requests within a time.
//!
//! Exact: the probability of waiting and the exponential wait of M/M/k (Erlang 1917). Approximate: that both carry over to
//! other service times when the mean wait is scaled by `(1 + scv) / 2` (Allen 1978, Cunneen; exact for one slot, known to
//! be within a few percent for several); that a service time is lognormal with the measured mean and variation.

use super::{ServiceTime, erlang};
use crate::units::{Millis, Ratio};

/// The wait of a request that arrives: with probability `waits` it is exponential with rate `clears`, else none.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Queue {
    waits: f64,
    clears_per_second: f64,
}

/// Simpson's rule over the standard normal, cut at eight deviations: far finer than any quantile that is asked for.
const DEVIATIONS: f64 = 8.0;
const INTERVALS: u32 = 128;

impl Queue {
    /// With `offered` slots' worth of load on `slots` slots. Where the load is too much every request waits for ever.
    pub fn new(offered: f64, slots: f64, service: &ServiceTime) -> Self {
        let spare = (slots - offered).max(0.0) / service.mean_seconds();
        Self {
            waits: erlang::waits(offered, slots),
            clears_per_second: spare * 2.0 / (1.0 + service.scv()),
        }
    }

    /// The probability of waiting longer than this many seconds.
    fn exceeds(&self, seconds: f64) -> f64 {
        self.waits * (-self.clears_per_second * seconds).exp()
    }
}

/// The share of requests whose wait (none where there is no queue) and service together are within `time`.
///
/// The lognormal service is `exp(mu + sigma z)`: one integral over the normal density of `z`, up to where service alone
/// takes the whole time, of the probability that the wait fits into the rest. Its nodes do not depend on the queue, so
/// the share rises with every slot and falls with every arrival, also in floating point.
pub fn share_within(time: Millis, service: &ServiceTime, queue: Option<&Queue>) -> Ratio {
    let sigma_squared = (1.0 + service.scv()).ln();
    let (mu, sigma) = (service.mean_seconds().ln() - sigma_squared / 2.0, sigma_squared.sqrt());
    let seconds = time.as_secs_f64();
    let last = last_deviation(seconds.ln() - mu, sigma);
    let step = (last + DEVIATIONS) / f64::from(INTERVALS);
    let node = |i: u32| {
        let z = -DEVIATIONS + step * f64::from(i);
        let rest = (seconds - (mu + sigma * z).exp()).max(0.0);
        let fits = 1.0 - queue.map_or(0.0, |queue| queue.exceeds(rest));
        let weight = if i == 0 || i == INTERVALS { 1.0 } else { f64::from(2 + i % 2 * 2) };
        weight * (-z * z / 2.0).exp() * fits
    };
    let sum: f64 = (0..=INTERVALS).map(node).sum();
    let share = sum * step / 3.0 / (2.0 * std::f64::consts::PI).sqrt();
    Ratio::try_from(share.clamp(0.0, 1.0)).unwrap_or(Ratio::ZERO)
}

/// The deviation at which service alone takes the whole time, within the cut.
fn last_deviation(log_room: f64, sigma: f64) -> f64 {
    if sigma > 0.0 {
        (log_room / sigma).clamp(-DEVIATIONS, DEVIATIONS)
    } else if log_room >= 0.0 {
        DEVIATIONS
    } else {
        -DEVIATIONS
    }
}
