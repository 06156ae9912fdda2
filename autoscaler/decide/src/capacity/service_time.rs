//! A service time as the queueing model sees it: its mean and its squared coefficient of variation.

use serde::{Deserialize, Serialize};

/// Mean and squared coefficient of variation (variance over squared mean) of the time that one request is served.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Raw", into = "Raw")]
pub struct ServiceTime {
    mean_seconds: f64,
    scv: f64,
}

/// Not a service time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a service time has a mean from 1 µs to a day and a finite variation of at least 0")]
pub struct ServiceTimeError;

#[derive(Serialize, Deserialize)]
struct Raw {
    mean_seconds: f64,
    scv: f64,
}

const MEAN_SECONDS_MIN: f64 = 1e-6;
const MEAN_SECONDS_MAX: f64 = 86_400.0;
/// A hundred times as variable as an exponential: past any real service, and still safe to reckon with.
const SCV_MAX: f64 = 100.0;

impl Default for ServiceTime {
    /// A guess for a service that has never been measured: an image through a mid-sized network on a modest GPU, as
    /// variable as an exponential, which is more than such a service ever is.
    fn default() -> Self {
        Self { mean_seconds: 0.2, scv: 1.0 }
    }
}

impl ServiceTime {
    /// From a configured mean and variation: 0 always the same, 1 as variable as an exponential.
    pub fn new(mean_seconds: f64, scv: f64) -> Result<Self, ServiceTimeError> {
        let mean_fits = (MEAN_SECONDS_MIN..=MEAN_SECONDS_MAX).contains(&mean_seconds);
        if mean_fits && (0.0..=SCV_MAX).contains(&scv) {
            Ok(Self { mean_seconds, scv })
        } else {
            Err(ServiceTimeError)
        }
    }

    /// From a measurement, cut to the bounds; `None` where nothing was measured.
    pub fn measured(mean_seconds: f64, scv: f64) -> Option<Self> {
        let mean_seconds = mean_seconds.clamp(MEAN_SECONDS_MIN, MEAN_SECONDS_MAX);
        // Rounding in the sums can leave a variance just below zero, and NaN fails the comparison.
        let scv = if scv > 0.0 { scv.min(SCV_MAX) } else { 0.0 };
        mean_seconds.is_finite().then_some(Self { mean_seconds, scv })
    }

    /// Mean, in seconds.
    pub const fn mean_seconds(&self) -> f64 {
        self.mean_seconds
    }

    /// Squared coefficient of variation.
    pub const fn scv(&self) -> f64 {
        self.scv
    }
}

impl TryFrom<Raw> for ServiceTime {
    type Error = ServiceTimeError;

    fn try_from(raw: Raw) -> Result<Self, ServiceTimeError> {
        Self::new(raw.mean_seconds, raw.scv)
    }
}

impl From<ServiceTime> for Raw {
    fn from(time: ServiceTime) -> Self {
        Self { mean_seconds: time.mean_seconds, scv: time.scv }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_configured_time_is_checked_and_a_measured_one_is_cut() {
        for (mean, scv) in [(0.0, 1.0), (1e9, 1.0), (f64::NAN, 1.0), (1.0, -0.1), (1.0, f64::NAN)] {
            assert_eq!(ServiceTime::new(mean, scv), Err(ServiceTimeError), "{mean} {scv}");
        }
        let cut = |mean, scv| ServiceTime::measured(mean, scv).map(|t| (t.mean_seconds(), t.scv()));
        assert_eq!(cut(0.1, 0.5), Some((0.1, 0.5)));
        assert_eq!(cut(0.0, -1e-18), Some((1e-6, 0.0)));
        assert_eq!(cut(f64::INFINITY, 1e9), Some((86_400.0, 100.0)));
        assert_eq!(cut(0.1, f64::NAN), Some((0.1, 0.0)));
        // Nothing served: zero seconds over zero requests.
        assert_eq!(cut(f64::NAN, f64::NAN), None);
        assert!(serde_json::from_str::<ServiceTime>(r#"{"mean_seconds":-1,"scv":1}"#).is_err());
    }
}
