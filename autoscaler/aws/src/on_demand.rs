//! On-demand prices: AWS' price list where it answers, else a table that is built in and says how old it is.

mod price_list;
mod table;

use std::{collections::BTreeMap, fmt};

use jiff::{Timestamp, civil::Date};
use spotscale_autoscaler::PriceChange;
use spotscale_decide::units::InstanceType;

pub(crate) use self::price_list::PriceList;

/// The on-demand prices in use. They are the same in every zone of a region.
#[derive(Debug, Clone)]
pub(crate) struct OnDemand {
    region: String,
    /// What the price list has said so far.
    listed: BTreeMap<InstanceType, Vec<PriceChange>>,
    listed_at: Option<Timestamp>,
}

/// Where the on-demand prices in use come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OnDemandSource {
    /// When the price list last answered.
    pub listed_at: Option<Timestamp>,
    /// Types whose price is the built-in table's.
    pub tabled: Vec<InstanceType>,
    /// The day on which the table's prices were AWS' own.
    pub tabled_at: Date,
    /// Types without any on-demand price.
    pub unknown: Vec<InstanceType>,
}

impl OnDemand {
    pub(crate) fn new(region: String) -> Self {
        Self { region, listed: BTreeMap::new(), listed_at: None }
    }

    /// Takes in what the price list says of a type now, if it has it. A price that has not changed keeps its first date.
    pub(crate) fn learn(
        &mut self,
        instance_type: &InstanceType,
        listed: Option<PriceChange>,
        now: Timestamp,
    ) {
        self.listed_at = Some(now);
        let Some(change) = listed else {
            return;
        };
        let changes = self.listed.entry(instance_type.clone()).or_default();
        match changes.last_mut() {
            Some(last) if last.price == change.price => {}
            Some(last) if last.at >= change.at => last.price = change.price,
            _ => changes.push(change),
        }
    }

    /// The price of a type and its changes, oldest first.
    pub(crate) fn changes(&self, instance_type: &InstanceType) -> Vec<PriceChange> {
        match self.listed.get(instance_type) {
            Some(changes) => changes.clone(),
            None => table::price(&self.region, instance_type).into_iter().collect(),
        }
    }

    pub(crate) fn source(&self, types: &[InstanceType]) -> OnDemandSource {
        let unlisted = types.iter().filter(|one| !self.listed.contains_key(one)).cloned();
        let (tabled, unknown) = unlisted.partition(|one| table::price(&self.region, one).is_some());
        OnDemandSource { listed_at: self.listed_at, tabled, tabled_at: table::DAY, unknown }
    }
}

// === impl OnDemandSource ===

impl fmt::Display for OnDemandSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.listed_at {
            Some(at) => write!(f, "AWS' price list as of {at:.0}")?,
            None => f.write_str("not from AWS' price list")?,
        }
        let list = |types: &[InstanceType]| {
            types.iter().map(InstanceType::as_str).collect::<Vec<_>>().join(", ")
        };
        if !self.tabled.is_empty() {
            write!(f, "; a table of {} for {}", self.tabled_at, list(&self.tabled))?;
        }
        if !self.unknown.is_empty() {
            write!(f, "; none for {}", list(&self.unknown))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use spotscale_decide::units::UsdPerHour;

    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn change(second: i64, price: u64) -> PriceChange {
        PriceChange { at: at(second), price: UsdPerHour(price) }
    }

    #[test]
    fn the_price_list_takes_the_place_of_the_table_type_by_type() {
        let [listed, tabled, unknown] = ["g4dn.xlarge", "g5.xlarge", "x9.huge"]
            .map(|name| name.parse::<InstanceType>().unwrap());
        let types = [listed.clone(), tabled.clone(), unknown.clone()];
        let mut prices = OnDemand::new("us-east-1".to_owned());
        assert_eq!(prices.changes(&listed)[0].price, UsdPerHour(526_000));
        assert_eq!(prices.source(&types).tabled, [listed.clone(), tabled.clone()]);
        prices.learn(&listed, Some(change(100, 530_000)), at(1000));
        assert_eq!(prices.changes(&listed), [change(100, 530_000)]);
        assert_eq!(prices.changes(&unknown), []);
        let source = prices.source(&types);
        assert_eq!(
            (source.tabled.as_slice(), source.unknown.as_slice()),
            (&[tabled][..], &[unknown][..])
        );
        assert_eq!(
            source.to_string(),
            "AWS' price list as of 1970-01-01T00:16:40Z; a table of 2024-06-13 for g5.xlarge; \
             none for x9.huge"
        );
    }

    #[test]
    fn a_price_that_stays_keeps_its_date_and_one_that_moves_gets_a_new_one() {
        let name: InstanceType = "g4dn.xlarge".parse().unwrap();
        let mut prices = OnDemand::new("us-east-1".to_owned());
        for (told, now) in [(change(100, 5), 200), (change(300, 5), 400), (change(500, 6), 600)] {
            prices.learn(&name, Some(told), at(now));
        }
        assert_eq!(prices.changes(&name), [change(100, 5), change(500, 6)]);
        // A correction of the same date replaces what was wrong.
        prices.learn(&name, Some(change(500, 7)), at(700));
        assert_eq!(prices.changes(&name), [change(100, 5), change(500, 7)]);
    }
}
