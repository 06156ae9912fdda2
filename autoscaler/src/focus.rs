//! The ledger as comma-separated values in the columns of FOCUS, the "`FinOps` Open Cost and Usage Specification" 1.2, as
//! far as a ledger of machines knows them: not the account, nor what else is on the invoice. What a machine saved is its
//! `ListCost` less its `EffectiveCost`.
//!
//! `ListCost` is what the same time costs on demand; as nothing is known of negotiated prices, `ContractedCost` is the same.
//! `BilledCost` and `EffectiveCost` are what the ledger has, refunds taken off; `x_RefundedCost` says how much that was.
//! `x_OnAdviceCost` says what of it was of a machine that was left on EC2's mere advice, from then to its end: what a false
//! alarm cost. What is not known is empty, where the specification would have a number.

use serde::Serialize;
use spotscale_decide::{
    cluster::CapacityType,
    ledger::Row,
    units::{MicroUsd, PoolName, WorkloadName},
};

type Column = (&'static str, fn(&Row) -> String);

const COLUMNS: [Column; 34] = [
    ("AvailabilityZone", |row| row.offering.zone.to_string()),
    ("BilledCost", |row| usd(row.billed)),
    ("BillingCurrency", |_| "USD".to_owned()),
    ("BillingPeriodEnd", |row| row.billed_to.to_string()),
    ("BillingPeriodStart", |row| row.billed_from.to_string()),
    ("ChargeCategory", |_| "Usage".to_owned()),
    ("ChargeClass", |_| String::new()),
    ("ChargeDescription", description),
    ("ChargeFrequency", |_| "Usage-Based".to_owned()),
    ("ChargePeriodEnd", |row| row.to.to_string()),
    ("ChargePeriodStart", |row| row.from.to_string()),
    ("ConsumedQuantity", hours),
    ("ConsumedUnit", |_| HOURS.to_owned()),
    ("ContractedCost", list),
    ("ContractedUnitPrice", list_price),
    ("EffectiveCost", |row| usd(row.billed)),
    ("ListCost", list),
    ("ListUnitPrice", list_price),
    ("PricingCategory", category),
    ("PricingQuantity", hours),
    ("PricingUnit", |_| HOURS.to_owned()),
    ("ProviderName", |_| "AWS".to_owned()),
    ("PublisherName", |_| "AWS".to_owned()),
    ("RegionId", |row| region(row.offering.zone.as_str()).unwrap_or_default().to_owned()),
    ("ResourceId", |row| known(row.instance.as_ref())),
    ("ResourceName", |row| known(row.node.as_ref())),
    ("ResourceType", |_| "Instance".to_owned()),
    ("ServiceCategory", |_| "Compute".to_owned()),
    ("ServiceName", |_| "Amazon Elastic Compute Cloud".to_owned()),
    ("ServiceSubcategory", |_| "Virtual Machines".to_owned()),
    ("SkuId", |row| row.offering.instance_type.to_string()),
    ("Tags", tags),
    ("x_OnAdviceCost", |row| usd(row.on_advice)),
    ("x_RefundedCost", |row| usd(row.refund)),
];

const HOURS: &str = "Hours";

/// Who a machine was paid for, by the labels that say so.
#[derive(Serialize)]
struct Tags<'a> {
    #[serde(rename = "spotscale.dev/idle", skip_serializing_if = "std::ops::Not::not")]
    idle: bool,
    #[serde(rename = "spotscale.dev/pool", skip_serializing_if = "Option::is_none")]
    pool: Option<&'a PoolName>,
    #[serde(rename = "spotscale.dev/workload", skip_serializing_if = "Option::is_none")]
    workload: Option<&'a WorkloadName>,
}

/// A header, and a line for each row.
pub(crate) fn csv(rows: &[Row]) -> Result<Vec<u8>, csv::Error> {
    let mut writer = csv::Writer::from_writer(Vec::new());
    writer.write_record(COLUMNS.map(|(name, _)| name))?;
    for row in rows {
        writer.write_record(COLUMNS.map(|(_, value)| value(row)))?;
    }
    writer.into_inner().map_err(|error| error.into_error().into())
}

/// What was paid for, in a sentence.
fn description(row: &Row) -> String {
    let of = row.node.as_ref().map_or_else(String::new, |node| format!(" of {node}"));
    match &row.workload {
        Some(workload) => format!("{}{of} for {workload}", row.offering),
        None => format!("{}{of}, idle", row.offering),
    }
}

fn category(row: &Row) -> String {
    let category = match row.offering.capacity_type {
        CapacityType::Spot => "Dynamic",
        CapacityType::OnDemand => "Standard",
    };
    category.to_owned()
}

fn hours(row: &Row) -> String {
    row.micro_hours.map(|micros| usd(MicroUsd(micros))).unwrap_or_default()
}

fn list(row: &Row) -> String {
    row.list.map(usd).unwrap_or_default()
}

fn list_price(row: &Row) -> String {
    row.list_price.map(|price| format!("{:.6}", price.as_usd())).unwrap_or_default()
}

fn tags(row: &Row) -> String {
    let idle = row.workload.is_none();
    let tags = Tags { idle, pool: row.pool.as_ref(), workload: row.workload.as_ref() };
    serde_json::to_string(&tags).unwrap_or_default()
}

/// The region of a zone's name, such as `us-east-1` of `us-east-1a` and `us-west-2` of `us-west-2-lax-1a`. A zone's id does
/// not spell it.
fn region(zone: &str) -> Option<&str> {
    let digit = |it: char| it.is_ascii_digit();
    let mut numbers = zone.match_indices('-').map(|(at, _)| at + 1);
    let number = numbers.find(|at| zone[*at..].starts_with(digit))?;
    let digits = zone[number..].find(|it| !digit(it))?;
    Some(&zone[..number + digits])
}

fn known(name: Option<&impl ToString>) -> String {
    name.map(ToString::to_string).unwrap_or_default()
}

/// Dollars of millionths of them.
fn usd(micros: MicroUsd) -> String {
    format!("{:.6}", micros.as_usd())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row() -> Row {
        let at = |text: &str| text.parse().unwrap();
        Row {
            from: at("2026-02-03T00:00:00Z"),
            to: at("2026-02-04T00:00:00Z"),
            billed_from: at("2026-02-01T00:00:00Z"),
            billed_to: at("2026-03-01T00:00:00Z"),
            node: Some("ip-10-0-0-1".parse().unwrap()),
            instance: Some("i-0a".parse().unwrap()),
            pool: Some("gpu".parse().unwrap()),
            offering: spotscale_decide::cluster::Offering {
                instance_type: "g4dn.xlarge".parse().unwrap(),
                zone: "us-east-1a".parse().unwrap(),
                capacity_type: CapacityType::Spot,
            },
            workload: Some("vision/resnet".parse().unwrap()),
            micro_hours: Some(1_500_000),
            list_price: Some("0.526".parse().unwrap()),
            list: Some(MicroUsd(789_000)),
            billed: MicroUsd(300_001),
            refund: MicroUsd(7),
            on_advice: MicroUsd(5),
        }
    }

    /// Read back as anybody would.
    fn read(rows: &[Row]) -> Vec<std::collections::BTreeMap<String, String>> {
        let bytes = csv(rows).unwrap();
        let mut reader = csv::Reader::from_reader(bytes.as_slice());
        reader.deserialize().map(Result::unwrap).collect()
    }

    #[test]
    fn a_row_is_told_in_the_words_of_focus() {
        let line = &read(&[row()])[0];
        for (column, value) in [
            ("ChargePeriodStart", "2026-02-03T00:00:00Z"),
            ("BillingPeriodEnd", "2026-03-01T00:00:00Z"),
            ("BilledCost", "0.300001"),
            ("EffectiveCost", "0.300001"),
            ("ListCost", "0.789000"),
            ("ListUnitPrice", "0.526000"),
            ("PricingQuantity", "1.500000"),
            ("PricingCategory", "Dynamic"),
            ("RegionId", "us-east-1"),
            ("ResourceId", "i-0a"),
            (
                "ChargeDescription",
                "spot g4dn.xlarge in us-east-1a of ip-10-0-0-1 for vision/resnet",
            ),
            ("Tags", r#"{"spotscale.dev/pool":"gpu","spotscale.dev/workload":"vision/resnet"}"#),
            ("x_OnAdviceCost", "0.000005"),
            ("x_RefundedCost", "0.000007"),
        ] {
            assert_eq!(line[column], value, "{column}");
        }
    }

    #[test]
    fn what_is_not_known_is_empty_and_idle_time_is_tagged() {
        let row = Row {
            node: None,
            instance: None,
            pool: None,
            workload: None,
            micro_hours: None,
            list_price: None,
            list: None,
            ..row()
        };
        let line = &read(&[row])[0];
        for column in ["ListCost", "ContractedCost", "PricingQuantity", "ResourceId"] {
            assert_eq!(line[column], "", "{column}");
        }
        assert_eq!(line["Tags"], r#"{"spotscale.dev/idle":true}"#);
        assert_eq!(line["ChargeDescription"], "spot g4dn.xlarge in us-east-1a, idle");
    }

    #[test]
    fn without_a_row_there_is_a_header() {
        let header = String::from_utf8(csv(&[]).unwrap()).unwrap();
        assert!(header.starts_with("AvailabilityZone,BilledCost,") && header.ends_with('\n'));
    }

    #[test]
    fn a_zone_names_its_region_and_its_id_does_not() {
        assert_eq!(region("us-west-2-lax-1a"), Some("us-west-2"));
        assert_eq!(region("us-gov-west-1b"), Some("us-gov-west-1"));
        for id in ["use1-az1", "a", "us-east-1", ""] {
            assert_eq!(region(id), None, "{id}");
        }
    }
}
