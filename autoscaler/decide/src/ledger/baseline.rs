//! What the spend is held against.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{Ledger, exact::Exact};
use crate::{
    prices::PriceBook,
    units::{InstanceType, MicroUsd},
};

/// What the spend is held against: a fleet of one machine type, on demand, that never shrinks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Baseline {
    /// The machine type.
    pub instance_type: InstanceType,
    /// Pods that fit on one.
    pub pods_max: u32,
    /// How many; without it, as many as the most pods that have served at once need.
    pub nodes: Option<u32>,
}

impl Ledger {
    /// What it would have cost up to a moment, and what it is, in words.
    pub(super) fn baseline(
        &self,
        baseline: &Baseline,
        prices: &PriceBook,
        now: Timestamp,
    ) -> (MicroUsd, String) {
        let Baseline { instance_type, pods_max, nodes } = baseline;
        let opened_at = self.opened_at.unwrap_or(now);
        let Some(offering) = prices.on_demand_of(instance_type) else {
            return (MicroUsd::ZERO, format!("unknown: {instance_type} has no on-demand price"));
        };
        let count = nodes.unwrap_or_else(|| self.serving_max.div_ceil((*pods_max).max(1)));
        let one = prices.stretches(offering, opened_at, now).map(Exact::of).sum::<Exact>();
        let sized = if nodes.is_some() { "as configured" } else { "enough for the highest load" };
        let is = format!(
            "{count} x {instance_type} on demand, day and night since {opened_at:.0} ({sized})"
        );
        (one.times(count).rounded(), is)
    }
}
