//! How old a fact is, and whether it still counts. Each signal has its own budget: the front's queue goes stale in
//! seconds, a spot price in hours.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::units::Millis;

/// A fact and when it was true.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Aged<T> {
    /// The fact.
    pub value: T,
    /// When it was measured, on the same clock as the `now` of every decision.
    pub at: Millis,
}

/// Two ages that part a signal's life into fresh, stale and expired.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Freshness {
    /// Older than this is stale: good enough to grow on, no longer a ground to shrink.
    pub warn: Millis,
    /// Older than this is as good as nothing.
    pub expired: Millis,
}

/// What a signal is worth at a given moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Standing {
    /// Within its budget.
    Fresh,
    /// Past the warning age, not yet expired.
    Stale {
        /// How old it is.
        age: Millis,
    },
    /// Too old to be used at all.
    Expired {
        /// How old it is.
        age: Millis,
    },
    /// Never seen.
    Missing,
}

impl<T> Aged<T> {
    /// How old the fact is; nothing for one from the future, since clocks may differ a little.
    pub const fn age(&self, now: Millis) -> Millis {
        now.saturating_sub(self.at)
    }
}

impl Freshness {
    /// Judges a signal at `now`.
    pub fn judge<T>(&self, signal: Option<&Aged<T>>, now: Millis) -> Standing {
        let Some(age) = signal.map(|signal| signal.age(now)) else { return Standing::Missing };
        if age > self.expired {
            Standing::Expired { age }
        } else if age > self.warn {
            Standing::Stale { age }
        } else {
            Standing::Fresh
        }
    }
}

impl fmt::Display for Standing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fresh => f.write_str("is fresh"),
            Self::Stale { age } => write!(f, "is stale ({age} old)"),
            Self::Expired { age } => write!(f, "has expired ({age} old)"),
            Self::Missing => f.write_str("is missing"),
        }
    }
}

impl Standing {
    /// Fresh or stale: the value may still be read.
    pub const fn is_usable(self) -> bool {
        matches!(self, Self::Fresh | Self::Stale { .. })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signal_ages_from_fresh_to_stale_to_expired() {
        let budget = Freshness { warn: Millis(50), expired: Millis(100) };
        let signal = Aged { value: (), at: Millis(1000) };
        let judge = |now| budget.judge(Some(&signal), Millis(now));
        assert_eq!(judge(900), Standing::Fresh);
        assert_eq!(judge(1050), Standing::Fresh);
        assert_eq!(judge(1051), Standing::Stale { age: Millis(51) });
        assert_eq!(judge(1100), Standing::Stale { age: Millis(100) });
        assert_eq!(judge(1101), Standing::Expired { age: Millis(101) });
        assert_eq!(budget.judge::<()>(None, Millis(0)), Standing::Missing);
    }
}
