//! Answers about prices in AWS' words. Pure: what is known and what was asked give the text.

use std::collections::BTreeSet;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::REGION;

/// From a moment on, a spot instance costs so much.
#[derive(Debug, Clone)]
pub(super) struct Change {
    pub(super) instance_type: String,
    pub(super) zone: String,
    /// $/h, as AWS writes it.
    pub(super) usd: String,
    pub(super) since: Timestamp,
}

/// What an on-demand instance costs.
#[derive(Debug, Clone)]
pub(super) struct OnDemand {
    pub(super) instance_type: String,
    /// $/h, as AWS writes it.
    pub(super) usd: String,
}

/// `DescribeSpotPriceHistory`: the changes within the window, and of each type and zone the one in force at its start.
/// Newest first, on one page.
pub(super) fn spot_history(changes: &[Change], fields: &[(String, String)]) -> String {
    let field = |name: &str| fields.iter().find(|(key, _)| key == name).map(|(_, value)| &**value);
    let time = |name: &str| field(name).and_then(|text| text.parse::<Timestamp>().ok());
    let start = time("StartTime").unwrap_or(Timestamp::MIN);
    let end = time("EndTime").unwrap_or(Timestamp::MAX);
    let named = |types: &[&str], one: &str| types.is_empty() || types.contains(&one);
    let (listed, filtered) = (values(fields, "InstanceType."), filter(fields, "instance-type"));
    let asked = |change: &&Change| {
        named(&listed, &change.instance_type)
            && named(&filtered, &change.instance_type)
            && field("AvailabilityZone").is_none_or(|zone| zone == change.zone)
            && change.since <= end
    };
    let mut asked: Vec<&Change> = changes.iter().filter(asked).collect();
    asked.sort_by_key(|change| std::cmp::Reverse(change.since));
    let mut in_force = BTreeSet::new();
    let shown = asked.iter().filter(|change| {
        let place = (&change.instance_type, &change.zone);
        change.since >= start || in_force.insert(place)
    });
    let product = field("ProductDescription.1").unwrap_or("Linux/UNIX");
    let items: String = shown.map(|change| item(change, product)).collect();
    format!(
        "<DescribeSpotPriceHistoryResponse xmlns=\"http://ec2.amazonaws.com/doc/2016-11-15/\">\
         <requestId>test</requestId><spotPriceHistorySet>{items}</spotPriceHistorySet><nextToken/>\
         </DescribeSpotPriceHistoryResponse>"
    )
}

/// The values of the fields whose names begin so.
fn values<'a>(fields: &'a [(String, String)], begins: &str) -> Vec<&'a str> {
    let its = fields.iter().filter(|(name, _)| name.starts_with(begins));
    its.map(|(_, value)| &**value).collect()
}

/// The values of a filter, which is `Filter.N.Name` and `Filter.N.Value.M`.
fn filter<'a>(fields: &'a [(String, String)], name: &str) -> Vec<&'a str> {
    let is_it = |(key, value): &&(String, String)| key.ends_with(".Name") && value == name;
    let key = fields.iter().find(is_it).and_then(|(key, _)| key.strip_suffix("Name"));
    key.map_or(vec![], |key| values(fields, &format!("{key}Value.")))
}

fn item(change: &Change, product: &str) -> String {
    let Change { instance_type, zone, usd, since } = change;
    let since = since.strftime("%Y-%m-%dT%H:%M:%S.000Z");
    format!(
        "<item><instanceType>{instance_type}</instanceType><productDescription>{product}</productDescription>\
         <spotPrice>{usd}</spotPrice><timestamp>{since}</timestamp><availabilityZone>{zone}</availabilityZone></item>"
    )
}

/// `GetProducts`: of each type that the filters let through, one product, as a JSON text within JSON.
pub(super) fn price_list(known: &[OnDemand], body: &[u8]) -> String {
    let question: Value = serde_json::from_slice(body).unwrap_or_default();
    let filters = question["Filters"].as_array().cloned().unwrap_or_default();
    let wanted = |name: &str| {
        let one = filters.iter().find(|filter| filter["Field"] == name);
        one.and_then(|filter| filter["Value"].as_str())
    };
    let asked = |one: &&OnDemand| {
        wanted("instanceType").is_none_or(|name| name == one.instance_type)
            && wanted("regionCode").is_none_or(|name| name == REGION)
    };
    let list: Vec<String> = known.iter().filter(asked).map(product).collect();
    json!({ "FormatVersion": "aws_v1", "PriceList": list }).to_string()
}

fn product(one: &OnDemand) -> String {
    let OnDemand { instance_type, usd } = one;
    let dimension = json!({ "unit": "Hrs", "pricePerUnit": { "USD": usd } });
    json!({
        "product": {
            "productFamily": "Compute Instance", "sku": instance_type,
            "attributes": {
                "instanceType": instance_type, "regionCode": REGION, "operatingSystem": "Linux",
                "tenancy": "Shared", "preInstalledSw": "NA", "capacitystatus": "Used",
            },
        },
        "serviceCode": "AmazonEC2",
        "terms": { "OnDemand": { "term": { "priceDimensions": { "rate": dimension } } } },
    })
    .to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cloud::http::elements;

    fn change(zone: &str, usd: &str, since: &str) -> Change {
        Change {
            instance_type: "g4dn.xlarge".to_owned(),
            zone: zone.to_owned(),
            usd: usd.to_owned(),
            since: since.parse().unwrap(),
        }
    }

    #[test]
    fn a_window_starts_with_the_price_that_is_in_force() {
        let changes = [
            change("us-east-1a", "0.10", "2026-01-01T00:00:00Z"),
            change("us-east-1a", "0.20", "2026-01-02T00:00:00Z"),
            change("us-east-1a", "0.30", "2026-01-03T00:00:00Z"),
            change("us-east-1b", "0.15", "2026-01-01T00:00:00Z"),
            change("us-east-1b", "0.40", "2026-01-09T00:00:00Z"),
        ];
        let field = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        let window = [
            field("StartTime", "2026-01-02T12:00:00Z"),
            field("EndTime", "2026-01-04T00:00:00Z"),
            field("InstanceType.1", "g4dn.xlarge"),
        ];
        let xml = spot_history(&changes, &window);
        assert_eq!(elements(&xml, "spotPrice"), ["0.30", "0.20", "0.15"]);
        let other = spot_history(&changes, &[field("InstanceType.1", "p5.48xlarge")]);
        assert!(elements(&other, "spotPrice").is_empty());
        let filtered = |name: &str| {
            let filter = [field("Filter.1.Name", "instance-type"), field("Filter.1.Value.1", name)];
            elements(&spot_history(&changes, &filter), "spotPrice").len()
        };
        assert_eq!((filtered("g4dn.xlarge"), filtered("p5.48xlarge")), (5, 0));
    }

    #[test]
    fn a_product_is_json_within_json() {
        let known = [OnDemand { instance_type: "g4dn.xlarge".to_owned(), usd: "0.526".to_owned() }];
        let filter = json!({ "Type": "TERM_MATCH", "Field": "instanceType", "Value": "g5.xlarge" });
        let ask = |filters: Value| {
            let text = price_list(&known, json!({ "Filters": filters }).to_string().as_bytes());
            serde_json::from_str::<Value>(&text).unwrap()["PriceList"].as_array().unwrap().clone()
        };
        assert!(ask(json!([filter])).is_empty());
        let product: Value = serde_json::from_str(ask(json!([]))[0].as_str().unwrap()).unwrap();
        let price = product.pointer("/terms/OnDemand/term/priceDimensions/rate/pricePerUnit/USD");
        assert_eq!(price.unwrap(), "0.526");
    }
}
