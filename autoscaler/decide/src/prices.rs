//! What every offering cost, and when that changed. It holds the past and the present, never the future.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{
    cluster::{CapacityType, Offering},
    pairs,
    units::{InstanceType, Millis, UsdPerHour},
};

/// Price changes of each offering, oldest first.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct PriceBook {
    #[serde(with = "pairs")]
    series: BTreeMap<Offering, Vec<PriceChange>>,
}

/// From this moment on the price was that.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct PriceChange {
    /// Since when.
    pub at: Timestamp,
    /// The price from then on.
    pub price: UsdPerHour,
}

impl PriceBook {
    /// Enters a change; one of the same moment replaces the earlier entry. Order of entry does not matter.
    pub fn record(&mut self, offering: Offering, change: PriceChange) {
        let series = self.series.entry(offering).or_default();
        match series.binary_search_by_key(&change.at, |known| known.at) {
            Ok(same) => series[same] = change,
            Err(place) => series.insert(place, change),
        }
    }

    /// The price in force at a moment. Before the first change it is the first price, since the provider's history
    /// need not reach back as far as the node's life does.
    pub fn at(&self, offering: &Offering, at: Timestamp) -> Option<UsdPerHour> {
        let series = self.series.get(offering)?;
        let later = series.partition_point(|change| change.at <= at);
        series.get(later.saturating_sub(1)).map(|change| change.price)
    }

    /// Every price in force at a moment.
    pub fn all_at(&self, at: Timestamp) -> BTreeMap<Offering, UsdPerHour> {
        let priced = |offering: &Offering| Some((offering.clone(), self.at(offering, at)?));
        self.series.keys().filter_map(priced).collect()
    }

    /// The stretches of one price between two moments, in order; none when the offering has no price at all.
    pub fn stretches(
        &self,
        offering: &Offering,
        from: Timestamp,
        to: Timestamp,
    ) -> impl Iterator<Item = (Millis, UsdPerHour)> {
        let series = self.changes(offering);
        let first = series.partition_point(|change| change.at <= from).saturating_sub(1);
        let within = series
            .iter()
            .enumerate()
            .skip(first)
            .take_while(move |(n, change)| *n == first || change.at < to);
        within.map(move |(n, change)| {
            let begins = if n == first { from } else { change.at };
            let ends = series.get(n + 1).map_or(to, |next| next.at.min(to));
            (Millis::between(begins, ends), change.price)
        })
    }

    /// The changes of an offering, oldest first.
    pub fn changes(&self, offering: &Offering) -> &[PriceChange] {
        self.series.get(offering).map_or(&[], Vec::as_slice)
    }

    /// What the same machine is on demand. That costs the same in every zone of a region, so any zone will do.
    pub fn on_demand(&self, offering: &Offering) -> Option<&Offering> {
        let there = Offering { capacity_type: CapacityType::OnDemand, ..offering.clone() };
        let there = self.series.get_key_value(&there).map(|(known, _)| known);
        there.or_else(|| self.on_demand_of(&offering.instance_type))
    }

    /// What a machine type is on demand, in any zone.
    pub fn on_demand_of(&self, instance_type: &InstanceType) -> Option<&Offering> {
        self.offerings().find(|known| {
            &known.instance_type == instance_type && known.capacity_type == CapacityType::OnDemand
        })
    }

    /// Every offering with a price.
    pub fn offerings(&self) -> impl Iterator<Item = &Offering> {
        self.series.keys()
    }
}

impl FromIterator<(Offering, PriceChange)> for PriceBook {
    fn from_iter<I: IntoIterator<Item = (Offering, PriceChange)>>(entries: I) -> Self {
        let mut book = Self::default();
        entries.into_iter().for_each(|(offering, change)| book.record(offering, change));
        book
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{at, spot};

    fn book() -> PriceBook {
        [(at(100), 200), (at(0), 100), (at(200), 300)]
            .map(|(at, micros)| (spot("a"), PriceChange { at, price: UsdPerHour(micros) }))
            .into_iter()
            .collect()
    }

    #[test]
    fn the_price_in_force_is_the_last_change() {
        let at_second = |s| book().at(&spot("a"), at(s)).map(|price| price.0);
        assert_eq!(at_second(99), Some(100));
        assert_eq!(at_second(100), Some(200));
        assert_eq!(at_second(1000), Some(300));
        assert_eq!(at_second(-5), Some(100), "the first price stands for the time before it");
        assert_eq!(book().at(&spot("b"), at(0)), None);
    }

    #[test]
    fn stretches_cover_the_time_between_exactly() {
        let stretches = |from, to| {
            book()
                .stretches(&spot("a"), at(from), at(to))
                .map(|(span, price)| (span.0 / 1000, price.0))
                .collect::<Vec<_>>()
        };
        assert_eq!(stretches(50, 250), [(50, 100), (100, 200), (50, 300)]);
        assert_eq!(stretches(-10, 10), [(20, 100)]);
        assert_eq!(stretches(100, 200), [(100, 200)]);
        assert_eq!(stretches(300, 310), [(10, 300)]);
        assert_eq!(stretches(-20, -10), [(10, 100)]);
        assert_eq!(stretches(10, 5), [(0, 100)]);
    }

    #[test]
    fn a_book_survives_json() {
        let json = serde_json::to_string(&book()).unwrap();
        assert_eq!(serde_json::from_str::<PriceBook>(&json).unwrap(), book());
    }
}
