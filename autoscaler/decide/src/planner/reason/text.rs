//! The short names of reasons, what their sentences need, and how several of them are one.

use super::Reason;
use crate::units::Millis;

/// How old prices are, in words.
pub(super) fn age(age: Option<Millis>, expired: bool) -> String {
    match age {
        None => "not known yet".to_owned(),
        Some(age) if expired => format!("{age} old and count for nothing"),
        Some(age) => format!("{age} old"),
    }
}

impl Reason {
    /// Why something is done, in words: the action and its reasons.
    pub fn tell(what: impl std::fmt::Display, reasons: &[Self]) -> String {
        let reasons: Vec<_> = reasons.iter().map(ToString::to_string).collect();
        format!("{what}: {}", reasons.join("; "))
    }

    /// The name for a metric label.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Interruption { .. } => "interruption",
            Self::Rebalance { .. } => "rebalance",
            Self::Maintenance { .. } => "maintenance",
            Self::NoticeWithdrawn { .. } => "notice-withdrawn",
            Self::GivenUp { .. } => "given-up",
            Self::UnknownNode { .. } => "unknown-node",
            Self::PastDeadline { .. } => "past-deadline",
            Self::ReplacementFirst { .. } => "replacement-first",
            Self::Replaced { .. } => "replaced",
            Self::NotServing { .. } => "not-serving",
            Self::DeadlineForces { .. } => "deadline-forces",
            Self::AwaitingReplacement { .. } => "awaiting-replacement",
            Self::CriticalLast { .. } => "critical-last",
            Self::DrainBudget { .. } => "drain-budget",
            Self::NoRoom { .. } => "no-room",
            Self::SpotGap { .. } => "spot-gap",
            Self::NoSpotOffer => "no-spot-offer",
            Self::NoOffer => "no-offer",
            Self::Surplus { .. } => "surplus",
            Self::NodeLimit { .. } => "node-limit",
            Self::BestOffer { .. } => "best-offer",
            Self::Empty { .. } => "empty",
            Self::Drained { .. } => "drained",
            Self::RefundAhead { .. } => "refund-ahead",
            Self::NeverReady { .. } => "never-ready",
            Self::NotHeardOf { .. } => "not-heard-of",
            Self::SurgedLately { .. } => "surged-lately",
            Self::LeftLately { .. } => "left-lately",
            Self::SteeringFirst { .. } => "steering-first",
            Self::WorkPrice { .. } => "work-price",
            Self::LeftAlone { .. } => "left-alone",
            Self::TooDear { .. } => "too-dear",
            Self::LastResort { .. } => "last-resort",
            Self::NotForSale { .. } => "not-for-sale",
            Self::SpotFirst => "spot-first",
            Self::SteeredLately { .. } => "steered-lately",
            Self::OldPrices { .. } => "old-prices",
            Self::ReturnToSpot { .. } => "return-to-spot",
            Self::AwaitingSteady { .. } => "awaiting-steady",
            Self::SpotNotHad { .. } => "spot-not-had",
            Self::HourlyBudget { .. } => "hourly-budget",
            Self::MonthlyBudget { .. } => "monthly-budget",
            Self::SpendUnknown { .. } => "spend-unknown",
            Self::HourlyBudgetNear { .. } => "hourly-budget-near",
            Self::MonthlyBudgetNear { .. } => "monthly-budget-near",
        }
    }
}
