//! Prices as `SkyPilot`'s catalog shows them over time: both prices of a type in a zone, whenever one changes.

use std::{collections::BTreeSet, io::BufRead};

use jiff::Timestamp;
use spotscale_decide::{
    cluster::{CapacityType, Offering},
    prices::{PriceBook, PriceChange},
    units::{InstanceType, Millis, UsdPerHour},
};

use super::ReadError;

/// The first line.
pub const PRICES_HEADER: &str =
    "observed_at_utc,instance_type,region,az_id,ondemand_usd_h,spot_usd_h";

/// What is wanted of a table of all regions.
#[derive(Debug, Clone)]
pub struct Wanted {
    /// These types.
    pub types: BTreeSet<InstanceType>,
    /// This region; all where none is given.
    pub region: Option<String>,
    /// From this moment on: it becomes the beginning. The first that is recorded where none is given.
    pub from: Option<Timestamp>,
    /// The beginning as it is played.
    pub begins_at: Timestamp,
}

/// Reads what is wanted. A type that a zone does not sell for a while keeps its last price there.
pub fn prices(input: impl BufRead, wanted: &Wanted) -> Result<PriceBook, ReadError> {
    let mut book = PriceBook::default();
    let mut from = wanted.from;
    for (index, line) in input.lines().enumerate() {
        let line = line?;
        if index == 0 {
            if line.trim_end() != PRICES_HEADER {
                return Err(ReadError::unknown(&line));
            }
            continue;
        }
        let number = index + 1;
        let fields: Vec<&str> = line.trim_end().split(',').collect();
        let [at, kind, region, zone, on_demand, spot] = fields[..] else {
            return Err(ReadError::line(
                number,
                format!("{} fields where 6 are wanted", fields.len()),
            ));
        };
        let in_region = wanted.region.as_deref().is_none_or(|wanted| wanted == region);
        if !in_region || !wanted.types.iter().any(|wanted| wanted.as_str() == kind) {
            continue;
        }
        let at: Timestamp = at.parse().map_err(|error| ReadError::line(number, error))?;
        let from = *from.get_or_insert(at);
        let played = Millis::between(from, at).after(wanted.begins_at);
        for (capacity_type, price) in
            [(CapacityType::OnDemand, on_demand), (CapacityType::Spot, spot)]
        {
            if price.is_empty() {
                continue;
            }
            let wrong = |error| ReadError::line(number, error);
            let price: UsdPerHour = price.parse().map_err(wrong)?;
            let instance_type = kind.parse().map_err(wrong)?;
            let zone = zone.parse().map_err(wrong)?;
            let offering = Offering { instance_type, zone, capacity_type };
            // What was before the beginning is in force at it: the last of it wins.
            book.record(offering, PriceChange { at: played, price });
        }
    }
    if book.offerings().next().is_some() { Ok(book) } else { Err(ReadError::Empty) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &str = "\
observed_at_utc,instance_type,region,az_id,ondemand_usd_h,spot_usd_h
2024-01-01T00:00:00Z,g4dn.xlarge,us-east-1,use1-az1,0.526,0.20
2024-01-01T00:00:00Z,p3.2xlarge,us-east-1,use1-az1,3.06,0.9
2024-01-01T00:00:00Z,g4dn.xlarge,eu-west-1,euw1-az1,0.587,0.2
2024-01-02T00:00:00Z,g4dn.xlarge,us-east-1,use1-az1,0.526,
2024-01-03T00:00:00Z,g4dn.xlarge,us-east-1,use1-az1,0.526,0.25
";

    fn read(text: &str, from: Option<&str>) -> Result<Vec<(i64, u64)>, ReadError> {
        let wanted = Wanted {
            types: ["g4dn.xlarge".parse().unwrap()].into(),
            region: Some("us-east-1".to_owned()),
            from: from.map(|text| text.parse().unwrap()),
            begins_at: Timestamp::UNIX_EPOCH,
        };
        let book = prices(text.as_bytes(), &wanted)?;
        assert_eq!(book.offerings().count(), 2, "both capacity types, and nothing of elsewhere");
        let spot = book.offerings().find(|it| it.capacity_type == CapacityType::Spot).unwrap();
        Ok(book
            .changes(spot)
            .iter()
            .map(|change| (change.at.as_second(), change.price.0))
            .collect())
    }

    #[test]
    fn only_what_is_wanted_is_read_from_its_beginning_on() {
        assert_eq!(read(TABLE, None).unwrap(), [(0, 200_000), (172_800, 250_000)]);
        let later = read(TABLE, Some("2024-01-02T12:00:00Z")).unwrap();
        assert_eq!(later, [(0, 200_000), (43_200, 250_000)]);
    }

    #[test]
    fn what_is_wrong_is_told() {
        assert_eq!(read("a,b\n", None).unwrap_err().kind(), "unknown");
        assert_eq!(read(PRICES_HEADER, None).unwrap_err().kind(), "empty");
        let wrong = read(&TABLE.replace("0.25", "-1"), None).unwrap_err();
        assert!(wrong.to_string().starts_with("line 6: "), "{wrong}");
    }
}
