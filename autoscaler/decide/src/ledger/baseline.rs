//! What the spend is held against.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{Ledger, exact::Exact};
use crate::{
    prices::PriceBook,
    units::{InstanceType, MicroUsd},
};

/// What the spend is held against: a fleet of one machine type, on demand, that never shrinks. As many as the first load
/// needed stand since the ledger was opened. It grows when a load first needs more: a peak of today does not make yesterday
/// dearer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Baseline {
    /// The machine type.
    pub instance_type: InstanceType,
    /// Pods that fit on one.
    pub pods_max: u32,
    /// How many; without it, as many as the most pods that had served at once needed.
    pub nodes: Option<u32>,
}

/// The most pods that served at once, from each moment on at which that grew; the first of them ever since.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "SavedPeaks")]
pub(super) struct Peaks(Vec<(Timestamp, u32)>);

/// As they were saved: once as the highest alone.
#[derive(Deserialize)]
#[serde(untagged)]
enum SavedPeaks {
    Highest(u32),
    All(Vec<(Timestamp, u32)>),
}

// === impl Peaks ===

impl Peaks {
    /// So many serve now.
    pub(super) fn note(&mut self, now: Timestamp, serving: u32) {
        // By a clock that was set back since.
        self.0.retain(|(since, _)| *since <= now);
        if self.highest() < serving {
            let since = if self.0.is_empty() { Timestamp::MIN } else { now };
            self.0.push((since, serving));
        }
    }

    pub(super) fn highest(&self) -> u32 {
        self.0.last().map_or(0, |(_, serving)| *serving)
    }

    /// The stretches between two moments, each with its peak.
    fn stretches(
        &self,
        from: Timestamp,
        to: Timestamp,
    ) -> impl Iterator<Item = (Timestamp, Timestamp, u32)> {
        let ends = self.0.iter().skip(1).map(|(since, _)| *since).chain([to]);
        let peaks = self.0.iter().zip(ends);
        peaks.map(move |((since, serving), end)| (from.max(*since), end.min(to), *serving))
    }
}

impl From<u32> for Peaks {
    /// As if it had always been so.
    fn from(highest: u32) -> Self {
        Self(vec![(Timestamp::MIN, highest)])
    }
}

impl From<SavedPeaks> for Peaks {
    fn from(saved: SavedPeaks) -> Self {
        match saved {
            SavedPeaks::Highest(highest) => highest.into(),
            SavedPeaks::All(all) => Self(all),
        }
    }
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
        let machines = |serving: u32| serving.div_ceil((*pods_max).max(1));
        let cost = |from: Timestamp, to: Timestamp, count| {
            let one = prices.stretches(offering, from, to.max(from)).map(Exact::of).sum::<Exact>();
            one.times(count)
        };
        let peaks = || self.serving_max.stretches(opened_at, now);
        let sum: Exact = match nodes {
            Some(count) => cost(opened_at, now, *count),
            None => peaks().map(|(from, to, serving)| cost(from, to, machines(serving))).sum(),
        };
        let count = nodes.unwrap_or_else(|| machines(self.serving_max.highest()));
        let sized = nodes.map_or("each since the first load that needed it", |_| "as configured");
        let is = format!(
            "{count} x {instance_type} on demand, day and night since {opened_at:.0} ({sized})"
        );
        (sum.rounded(), is)
    }
}
