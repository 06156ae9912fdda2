//! The quantities this system reasons in. Each is checked once, where it enters; no money or time travels as a bare
//! number. Times since an arbitrary origin are [`Millis`]; points in calendar time are `jiff::Timestamp`.

mod newtype;
mod span;

use std::{fmt, str::FromStr, sync::Arc};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use self::newtype::{amount, bounded, name};
pub use self::span::Span;

/// A value that its unit does not allow, or text that does not spell one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{given:?} is not {wanted}")]
pub struct UnitError {
    /// What was given.
    pub given: String,
    /// What would have been accepted, in words.
    pub wanted: &'static str,
}

impl UnitError {
    pub(crate) fn new(given: impl fmt::Display, wanted: &'static str) -> Self {
        Self { given: given.to_string(), wanted }
    }
}

amount!(
    /// A count of requests.
    Requests(u64), ""
);
amount!(
    /// A count of replicas (pods of one service).
    Replicas(u32), ""
);
amount!(
    /// A span of time, or a point on a clock with an arbitrary origin, in milliseconds.
    Millis(u64), " ms"
);
amount!(
    /// Processors in thousandths, as Kubernetes counts them.
    MilliCpus(u32), "m"
);
amount!(
    /// Money in millionths of a US dollar; negative for refunds.
    MicroUsd(i64), " µUSD"
);
amount!(
    /// A price in millionths of a US dollar per hour.
    UsdPerHour(u64), " µUSD/h"
);

impl Millis {
    /// From whole seconds.
    pub const fn from_secs(secs: u64) -> Self {
        Self(secs.saturating_mul(1000))
    }

    /// As seconds.
    pub fn as_secs_f64(self) -> f64 {
        self.0 as f64 / 1000.0
    }

    /// From one moment to a later one; nothing if it is not later, as after a clock was set back.
    pub fn between(from: Timestamp, to: Timestamp) -> Self {
        Self(u64::try_from(to.as_millisecond() - from.as_millisecond()).unwrap_or(0))
    }

    /// The moment so long after another, or the last one that can be told.
    pub fn after(self, at: Timestamp) -> Timestamp {
        let millis = at.as_millisecond().saturating_add_unsigned(self.0);
        Timestamp::from_millisecond(millis).unwrap_or(Timestamp::MAX)
    }

    /// The moment so long before another, or the first one that can be told.
    pub fn before(self, at: Timestamp) -> Timestamp {
        let millis = at.as_millisecond().saturating_sub_unsigned(self.0);
        Timestamp::from_millisecond(millis).unwrap_or(Timestamp::MIN)
    }
}

impl MicroUsd {
    /// As dollars, for people to read; never to calculate on.
    pub fn as_usd(self) -> f64 {
        self.0 as f64 / 1e6
    }
}

impl UsdPerHour {
    /// What a span at this price costs, rounded to the nearest micro-dollar.
    ///
    /// ```
    /// use spotscale_decide::units::{MicroUsd, Millis, UsdPerHour};
    /// let price: UsdPerHour = "0.36".parse().unwrap();
    /// assert_eq!(price.cost(Millis::from_secs(10)), MicroUsd(1000));
    /// ```
    pub fn cost(self, span: Millis) -> MicroUsd {
        const MILLIS_PER_HOUR: u128 = 3_600_000;
        let exact = u128::from(self.0) * u128::from(span.0);
        let rounded = (exact + MILLIS_PER_HOUR / 2) / MILLIS_PER_HOUR;
        MicroUsd(i64::try_from(rounded).unwrap_or(i64::MAX))
    }

    /// As dollars per hour, for people to read; never to calculate on.
    pub fn as_usd(self) -> f64 {
        self.0 as f64 / 1e6
    }
}

impl FromStr for UsdPerHour {
    type Err = UnitError;

    /// Decimal dollars, as EC2 spells them (`"0.526000"`); digits past the sixth decimal are cut.
    fn from_str(text: &str) -> Result<Self, UnitError> {
        let refuse = || UnitError::new(text, "a price in US dollars per hour, such as 0.526");
        micros(text).map(Self).ok_or_else(refuse)
    }
}

impl FromStr for MicroUsd {
    type Err = UnitError;

    /// Decimal dollars, none owed; digits past the sixth decimal are cut.
    fn from_str(text: &str) -> Result<Self, UnitError> {
        let refuse = || UnitError::new(text, "an amount of US dollars, such as 180 or 12.50");
        let amount = micros(text).and_then(|micros| micros.try_into().ok());
        amount.map(Self).ok_or_else(refuse)
    }
}

impl FromStr for MilliCpus {
    type Err = UnitError;

    /// As Kubernetes spells them: `500m`, `2`, `0.5`.
    fn from_str(text: &str) -> Result<Self, UnitError> {
        let millis = match text.trim().strip_suffix('m') {
            Some(millis) if millis.bytes().all(|b| b.is_ascii_digit()) => millis.parse().ok(),
            Some(_) => None,
            None => micros(text).and_then(|micros| u32::try_from(micros / 1000).ok()),
        };
        let refuse = || UnitError::new(text, "an amount of processors above 0, such as 500m or 2");
        millis.filter(|millis| *millis > 0).map(Self).ok_or_else(refuse)
    }
}

/// The millionths of a decimal number.
fn micros(text: &str) -> Option<u64> {
    let (whole, fraction) = text.trim().split_once('.').unwrap_or((text.trim(), ""));
    let all_digits = |s: &str| s.bytes().all(|b| b.is_ascii_digit());
    if (whole.is_empty() && fraction.is_empty()) || !all_digits(whole) || !all_digits(fraction) {
        return None;
    }
    let micros: String = fraction.chars().chain("000000".chars()).take(6).collect();
    format!("{whole}{micros}").parse().ok()
}

bounded!(
    /// A share between 0 and 1, both included.
    Ratio in 0.0..=1.0, "a ratio between 0 and 1"
);
bounded!(
    /// How often something happens, per second.
    PerSecond in 0.0..=1e9, "a rate between 0 and 1e9 per second"
);
bounded!(
    /// One price over another, such as spot over on-demand; above 1 where the first is dearer.
    PriceRatio in 0.0..=1e6, "a ratio of prices between 0 and 1e6"
);

impl Ratio {
    /// All of it.
    pub const ONE: Self = Self(1.0);

    /// From a whole number of percent; more than a hundred is all of it.
    pub const fn from_percent(percent: u8) -> Self {
        Self(if percent < 100 { percent as f64 / 100.0 } else { 1.0 })
    }
}

impl PriceRatio {
    /// From a whole number of percent.
    pub const fn from_percent(percent: u16) -> Self {
        Self(percent as f64 / 100.0)
    }
}

impl PerSecond {
    /// `count` over `span`, cut to the bounds; nothing where either is not a positive number.
    pub fn over(count: f64, span: Millis) -> Self {
        let rate = count / span.as_secs_f64();
        if rate > 0.0 { Self(rate.min(1e9)) } else { Self::ZERO }
    }
}

name!(
    /// A machine type, such as `g4dn.xlarge`.
    InstanceType
);
name!(
    /// An availability zone; its id where the provider has one, since names differ per account.
    ZoneId
);
name!(
    /// A node's name.
    NodeName
);
name!(
    /// A machine as its provider names it, such as `i-0123456789abcdef0`.
    InstanceId
);
name!(
    /// One process of the front; a restart is a new one.
    FrontId
);
name!(
    /// A pod's name, with its namespace (`NAMESPACE/NAME`) where there are namespaces.
    PodName
);
name!(
    /// What keeps a number of equal pods, such as a Deployment, named as its pods are.
    WorkloadName
);
name!(
    /// A group of nodes with one set of rules, such as Karpenter's `NodePool`.
    PoolName
);

impl NodeName {
    /// A name from its parts, for a node that we name ourselves.
    pub(crate) fn numbered(prefix: impl fmt::Display, moment: i64, number: u32) -> Self {
        Self(format!("{prefix}-{moment}-{number}").into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_price_is_read_exactly() {
        let micros = |s: &str| s.parse::<UsdPerHour>().map(|p| p.0);
        assert_eq!(micros("0.526"), Ok(526_000));
        assert_eq!(micros("0.2135009"), Ok(213_500));
        assert_eq!(micros("12"), Ok(12_000_000));
        assert_eq!(micros(".5"), Ok(500_000));
        for wrong in ["", ".", "-1", "1e3", "NaN", "0,5", "99999999999999999999"] {
            assert!(micros(wrong).is_err(), "{wrong:?} was accepted");
        }
    }

    #[test]
    fn processors_are_read_as_kubernetes_spells_them() {
        for (text, millis) in [("500m", 500), ("2", 2000), ("0.5", 500), ("1.25", 1250)] {
            assert_eq!(text.parse(), Ok(MilliCpus(millis)), "{text}");
        }
        for wrong in ["", "m", "0", "0m", "-1", "1.5m", "+1m", "2k"] {
            assert!(wrong.parse::<MilliCpus>().is_err(), "{wrong:?} was accepted");
        }
    }

    #[test]
    fn cost_rounds_to_the_nearest_micro_dollar_and_never_overflows() {
        assert_eq!(UsdPerHour(3_600_000).cost(Millis(1)), MicroUsd(1));
        assert_eq!(UsdPerHour(1_799_999).cost(Millis(1)), MicroUsd(0));
        assert_eq!(UsdPerHour(u64::MAX).cost(Millis(u64::MAX)), MicroUsd(i64::MAX));
    }

    #[test]
    fn a_ratio_is_never_outside_its_range() {
        for wrong in [-0.1, 1.1, f64::NAN, f64::INFINITY] {
            assert!(Ratio::try_from(wrong).is_err());
        }
        assert!(serde_json::from_str::<Ratio>("2").is_err());
    }

    #[test]
    fn a_name_is_visible_ascii() {
        assert!("g4dn.xlarge".parse::<InstanceType>().is_ok());
        for wrong in ["", "a b", "é", "a\n"] {
            assert!(wrong.parse::<NodeName>().is_err(), "{wrong:?} was accepted");
        }
    }
}
