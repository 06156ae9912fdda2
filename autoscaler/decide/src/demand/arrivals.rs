//! Arrivals over the last minute, in slots of half a second: enough to read any window from, bounded by the number of slots.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::STABLE_WINDOW;
use crate::units::Millis;

const SLOT_MS: u64 = 500;

/// Arrivals by slot (time divided by the slot's width).
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Arrivals(BTreeMap<u64, f64>);

impl Arrivals {
    /// Spreads `count` arrivals evenly over the time between two reports, so that a late report is not a spike.
    pub(super) fn add(&mut self, from: Millis, to: Millis, count: f64) {
        let oldest = to.saturating_sub(STABLE_WINDOW);
        let span = to.saturating_sub(from).0.max(1) as f64;
        let (mut start, end) = (from.max(oldest).0, to.0.max(from.0.saturating_add(1)));
        while count > 0.0 && start < end {
            let slot = start / SLOT_MS;
            let stop = end.min((slot + 1).saturating_mul(SLOT_MS));
            *self.0.entry(slot).or_default() += count * (stop - start) as f64 / span;
            start = stop;
        }
        self.0 = self.0.split_off(&(oldest.0 / SLOT_MS));
    }

    /// Arrivals in the `span` that ends at `until`; of a slot that is cut by its beginning, the share inside.
    pub(super) fn within(&self, span: Millis, until: Millis) -> f64 {
        let begin = until.saturating_sub(span).0;
        let first = begin / SLOT_MS;
        let cut = (begin % SLOT_MS) as f64 / SLOT_MS as f64;
        let share = |slot: u64| if slot == first { 1.0 - cut } else { 1.0 };
        self.0.range(first..).map(|(&slot, count)| count * share(slot)).sum()
    }
}
