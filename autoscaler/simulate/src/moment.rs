//! Points in simulated time: microseconds since the simulation began, because a request may take less than a millisecond.

use spotscale_decide::units::Millis;

/// Microseconds since the simulation began; also a span of them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Moment(pub u64);

impl Moment {
    /// From seconds that are not negative; what is, or is not a number, is the beginning.
    pub fn from_secs_f64(seconds: f64) -> Self {
        Self((seconds * 1e6).round() as u64)
    }

    /// As the decisions count, rounded down.
    pub const fn millis(self) -> Millis {
        Millis(self.0 / 1000)
    }

    /// As seconds.
    pub fn as_secs_f64(self) -> f64 {
        self.0 as f64 / 1e6
    }

    /// So much later.
    pub const fn plus(self, span: Self) -> Self {
        Self(self.0.saturating_add(span.0))
    }

    /// From an earlier moment to this one; nothing if it is not earlier.
    pub const fn since(self, earlier: Self) -> Self {
        Self(self.0.saturating_sub(earlier.0))
    }
}

impl From<Millis> for Moment {
    fn from(millis: Millis) -> Self {
        Self(millis.0.saturating_mul(1000))
    }
}
