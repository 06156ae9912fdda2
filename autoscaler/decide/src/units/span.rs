//! A span of time as the flags of every role spell it: `500ms`, `30s`, `5m`.

use std::{fmt, str::FromStr, time::Duration};

use jiff::SignedDuration;
use serde::{Serialize, Serializer};

use super::{Millis, UnitError};

/// A span of time, never negative. Read and printed the way people write it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Span(pub Duration);

impl Span {
    /// The same span in the unit that decisions are made in.
    pub fn millis(self) -> Millis {
        Millis(u64::try_from(self.0.as_millis()).unwrap_or(u64::MAX))
    }
}

impl FromStr for Span {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        let refuse = || UnitError::new(text, "a span of time such as 500ms, 30s or 5m");
        let signed: SignedDuration = text.parse().map_err(|_| refuse())?;
        Duration::try_from(signed).map(Self).map_err(|_| refuse())
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match SignedDuration::try_from(self.0) {
            Ok(signed) => write!(f, "{signed:#}"),
            Err(_) => write!(f, "{:?}", self.0),
        }
    }
}

impl Serialize for Span {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_span_reads_and_prints_the_way_people_write_it() {
        for (text, millis) in [("500ms", 500), ("30s", 30_000), ("5m", 300_000), ("0s", 0)] {
            let span: Span = text.parse().unwrap();
            assert_eq!(span.millis(), Millis(millis));
            assert_eq!(span.to_string(), text);
        }
        for wrong in ["", "5", "-3s", "soon", "NaN"] {
            assert!(wrong.parse::<Span>().is_err(), "{wrong:?} was accepted");
        }
    }
}
