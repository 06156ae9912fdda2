//! Which policies make sense. Checked once, where a policy comes in; a decision is safe with any.

use super::{GpuPolicy, Policy, PricePolicy};
use crate::{
    capacity::REPLICAS_MAX,
    freshness::Freshness,
    units::{Millis, Ratio, Replicas},
};

/// Settings that contradict each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PolicyError {
    /// `max` is 0.
    #[error("max must be at least 1")]
    MaxZero,
    /// `max` is out of reach.
    #[error("max must be at most {REPLICAS_MAX}")]
    MaxTooLarge,
    /// A floor is above `max`.
    #[error("{floor} must be at most max ({max})")]
    FloorAboveMax {
        /// Which floor: `min`, `warm` or `warm_when_dear`.
        floor: &'static str,
        /// The ceiling.
        max: Replicas,
    },
    /// A span is zero.
    #[error("{0} must be longer than 0")]
    Zero(&'static str),
    /// A share is at an end of its range where it means nothing.
    #[error("{0} must be above 0 and below 1")]
    ShareAtEnd(&'static str),
    /// A signal warns later than it expires.
    #[error("the {0} signal must warn before it expires")]
    WarnsAfterExpiry(&'static str),
    /// The price would lengthen what it may only shorten, or raise what it may only lower.
    #[error("{0} must be at most what holds without the price")]
    PriceWorksBackwards(&'static str),
}

impl PolicyError {
    /// A label for metrics.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::MaxZero => "max_zero",
            Self::MaxTooLarge => "max_too_large",
            Self::FloorAboveMax { .. } => "floor_above_max",
            Self::Zero(_) => "zero",
            Self::ShareAtEnd(_) => "share_at_end",
            Self::WarnsAfterExpiry(_) => "warns_after_expiry",
            Self::PriceWorksBackwards(_) => "price_works_backwards",
        }
    }
}

impl Policy {
    /// Refuses settings that contradict each other. [`super::decide`] is safe with them all the same.
    pub fn validate(&self) -> Result<(), PolicyError> {
        if self.max == Replicas::ZERO {
            return Err(PolicyError::MaxZero);
        }
        if self.max > REPLICAS_MAX {
            return Err(PolicyError::MaxTooLarge);
        }
        self.check_floor("min", self.min)?;
        self.check_floor("warm", self.warm)?;
        for (name, span) in [
            ("slo", self.promise.slo),
            ("drain", self.promise.drain),
            ("idle_after", self.idle_after),
            ("stabilisation", self.stabilisation),
        ] {
            check(span > Millis::ZERO, PolicyError::Zero(name))?;
        }
        check_share("quantile", self.promise.quantile)?;
        check_share("utilisation_max", self.promise.utilisation_max)?;
        check_freshness("demand", self.demand)?;
        self.gpu.as_ref().map_or(Ok(()), GpuPolicy::validate)?;
        self.price.as_ref().map_or(Ok(()), |price| price.validate(self))
    }

    fn check_floor(&self, floor: &'static str, replicas: Replicas) -> Result<(), PolicyError> {
        check(replicas <= self.max, PolicyError::FloorAboveMax { floor, max: self.max })
    }
}

impl GpuPolicy {
    fn validate(&self) -> Result<(), PolicyError> {
        check_share("busy", self.busy)?;
        check_freshness("gpu", self.freshness)
    }
}

impl PricePolicy {
    fn validate(&self, policy: &Policy) -> Result<(), PolicyError> {
        let backwards = PolicyError::PriceWorksBackwards;
        let shorter = self.stabilisation_when_dear <= policy.stabilisation;
        check(shorter, backwards("stabilisation_when_dear"))?;
        check(self.warm_when_dear <= policy.warm, backwards("warm_when_dear"))?;
        let above_zero = self.stabilisation_when_dear > Millis::ZERO;
        check(above_zero, PolicyError::Zero("stabilisation_when_dear"))?;
        check_freshness("price", self.freshness)
    }
}

fn check(holds: bool, error: PolicyError) -> Result<(), PolicyError> {
    if holds { Ok(()) } else { Err(error) }
}

fn check_share(name: &'static str, share: Ratio) -> Result<(), PolicyError> {
    check(share > Ratio::ZERO && share < Ratio::ONE, PolicyError::ShareAtEnd(name))
}

fn check_freshness(signal: &'static str, freshness: Freshness) -> Result<(), PolicyError> {
    check(freshness.warn <= freshness.expired, PolicyError::WarnsAfterExpiry(signal))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(change: impl FnOnce(&mut Policy)) -> &'static str {
        let mut policy = Policy {
            gpu: Some(GpuPolicy::default()),
            price: Some(PricePolicy::default()),
            ..Policy::default()
        };
        assert_eq!(policy.validate(), Ok(()), "the defaults must be sound");
        change(&mut policy);
        policy.validate().unwrap_err().kind()
    }

    #[test]
    fn a_policy_that_contradicts_itself_is_refused() {
        let price =
            |policy: &mut Policy| policy.price.as_mut().unwrap().warm_when_dear = Replicas(1);
        let gpu =
            |policy: &mut Policy| policy.gpu.as_mut().unwrap().freshness.warn = Millis(u64::MAX);
        assert_eq!(refused(|policy| policy.max = Replicas(0)), "max_zero");
        assert_eq!(refused(|policy| policy.max = Replicas(1_000_000)), "max_too_large");
        assert_eq!(refused(|policy| policy.min = Replicas(21)), "floor_above_max");
        assert_eq!(refused(|policy| policy.warm = Replicas(21)), "floor_above_max");
        assert_eq!(refused(|policy| policy.promise.slo = Millis(0)), "zero");
        assert_eq!(refused(|policy| policy.stabilisation = Millis(0)), "zero");
        assert_eq!(refused(|policy| policy.promise.quantile = Ratio::ONE), "share_at_end");
        assert_eq!(refused(|policy| policy.demand.expired = Millis(0)), "warns_after_expiry");
        assert_eq!(refused(gpu), "warns_after_expiry");
        assert_eq!(refused(price), "price_works_backwards");
    }
}
