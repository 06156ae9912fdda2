//! The built-in table, for a daemon that may not read the price list or cannot reach it.

use jiff::{
    Timestamp,
    civil::{Date, date},
    tz::TimeZone,
};
use spotscale_autoscaler::PriceChange;
use spotscale_decide::units::InstanceType;

/// When the table's prices were AWS' own.
pub(super) const DAY: Date = date(2024, 6, 13);

const TABLE: &str = include_str!("../../data/on_demand.csv");

/// The price of a type in a region, if the table has it.
pub(super) fn price(region: &str, instance_type: &InstanceType) -> Option<PriceChange> {
    let mut lines = TABLE.lines().filter(|line| !line.starts_with('#'));
    let column = lines.next()?.split(',').position(|title| title == region)?;
    let mut rows = lines.map(|line| line.split(','));
    let mut row =
        rows.find_map(|mut row| (row.next()? == instance_type.as_str()).then_some(row))?;
    let price = row.nth(column.checked_sub(1)?)?.parse().ok()?;
    Some(PriceChange { at: since(), price })
}

fn since() -> Timestamp {
    TimeZone::UTC.to_timestamp(DAY.at(0, 0, 0, 0)).unwrap_or(Timestamp::UNIX_EPOCH)
}

#[cfg(test)]
mod tests {
    use spotscale_decide::units::UsdPerHour;

    use super::*;

    #[test]
    fn every_price_can_be_read() {
        let mut lines = TABLE.lines().filter(|line| !line.starts_with('#'));
        let regions: Vec<&str> = lines.next().unwrap().split(',').skip(1).collect();
        assert_eq!(regions.len(), 5);
        for line in lines {
            let (name, prices) = line.split_once(',').unwrap();
            for (region, text) in regions.iter().zip(prices.split(',')) {
                let price = price(region, &name.parse().unwrap()).map(|change| change.price);
                let wanted = (!text.is_empty()).then(|| text.parse::<UsdPerHour>().unwrap());
                assert_eq!(price, wanted, "{name} in {region}");
                assert_ne!(price, Some(UsdPerHour::ZERO), "{name} in {region}");
            }
        }
    }

    #[test]
    fn it_knows_what_it_holds_and_nothing_else() {
        let price = |region, name: &str| price(region, &name.parse().unwrap()).map(|c| c.price.0);
        assert_eq!(price("eu-west-1", "g4dn.xlarge"), Some(587_000));
        assert_eq!(price("eu-west-1", "g6.xlarge"), None);
        assert_eq!(price("ap-east-1", "g4dn.xlarge"), None);
        assert_eq!(price("instance_type", "g4dn.xlarge"), None);
        assert_eq!(price("us-east-1", "x9.huge"), None);
        assert_eq!(since().to_string(), "2024-06-13T00:00:00Z");
    }
}
