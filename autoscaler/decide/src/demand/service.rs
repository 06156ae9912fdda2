//! The service time of recent requests: mean and variation, in three running sums.

use serde::{Deserialize, Serialize};

use super::report::Growth;
use crate::{capacity::ServiceTime, units::Millis};

/// What is older than this weighs less than 1/e.
const FADE: Millis = Millis::from_secs(60);

/// Fading stops here: after an idle night the last requests seen are still the best guess there is.
const SAMPLES_KEPT: f64 = 30.0;

/// A measured service time, and how much it is worth.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct MeasuredService {
    /// Mean and variation.
    pub time: ServiceTime,
    /// Requests that it was measured on; a fraction, since old ones fade.
    pub samples: f64,
}

/// Sums over served requests, each fading with age.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct ServiceMoments {
    samples: f64,
    seconds: f64,
    seconds_squared: f64,
    faded_at: Millis,
}

impl ServiceMoments {
    pub(super) fn add(&mut self, now: Millis, growth: Growth) {
        self.fade(now);
        self.samples += growth.served as f64;
        self.seconds += growth.service_seconds;
        self.seconds_squared += growth.service_seconds_squared;
    }

    pub(super) fn measured(&self) -> Option<MeasuredService> {
        let mean = self.seconds / self.samples;
        let variance = self.seconds_squared / self.samples - mean * mean;
        let time = ServiceTime::measured(mean, variance / (mean * mean))?;
        Some(MeasuredService { time, samples: self.samples })
    }

    fn fade(&mut self, now: Millis) {
        let passed = now.saturating_sub(self.faded_at);
        self.faded_at = self.faded_at.max(now);
        if self.samples > SAMPLES_KEPT {
            let by_age = (-passed.as_secs_f64() / FADE.as_secs_f64()).exp();
            let keep = by_age.max(SAMPLES_KEPT / self.samples);
            self.samples *= keep;
            self.seconds *= keep;
            self.seconds_squared *= keep;
        }
    }
}
