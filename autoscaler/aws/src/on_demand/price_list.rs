//! AWS' price list: `GetProducts`, which answers with JSON texts within JSON.

use std::collections::BTreeMap;

use aws_config::{Region, SdkConfig};
use aws_sdk_pricing::{
    Client,
    types::{Filter, FilterType},
};
use jiff::Timestamp;
use serde::Deserialize;
use spotscale_autoscaler::PriceChange;
use spotscale_decide::units::{InstanceType, UsdPerHour};
use tracing::debug;

use crate::{call::CallError, metrics::Metrics};

const ACTION: &str = "GetProducts";

/// The price list of one region.
#[derive(Debug, Clone)]
pub(crate) struct PriceList {
    client: Client,
    region: String,
}

/// One entry of the list: a product and its terms.
#[derive(Deserialize)]
struct Product {
    terms: Terms,
}

#[derive(Deserialize)]
struct Terms {
    #[serde(rename = "OnDemand", default)]
    on_demand: BTreeMap<String, Term>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Term {
    effective_date: Option<Timestamp>,
    price_dimensions: BTreeMap<String, Dimension>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Dimension {
    unit: String,
    price_per_unit: BTreeMap<String, String>,
}

impl PriceList {
    /// The list has an address in few regions and speaks of all of its partition. None for a partition without it.
    pub(crate) fn new(sdk: &SdkConfig, region: &str) -> Option<Self> {
        let address = Region::new(address(region)?);
        let config = aws_sdk_pricing::config::Builder::from(sdk).region(address).build();
        Some(Self { client: Client::from_conf(config), region: region.to_owned() })
    }

    /// The price of a type; none where the list does not have it.
    pub(crate) async fn price(
        &self,
        instance_type: &InstanceType,
        now: Timestamp,
        metrics: &Metrics,
    ) -> Result<Option<PriceChange>, CallError> {
        let call = self.client.get_products().service_code("AmazonEC2");
        let call = call.set_filters(Some(self.filters(instance_type)));
        let texts = call.into_paginator().items().send().try_collect().await;
        let texts: Vec<String> = texts.map_err(|error| CallError::new(ACTION, &error))?;
        let prices = texts.iter().flat_map(|text| {
            read(text, now).unwrap_or_else(|error| {
                debug!(text, %error, "an entry of the price list is left out");
                metrics.skipped("price-list");
                vec![]
            })
        });
        // One is expected. Of several the one that came into force last is right, as far as can be told.
        Ok(prices.max_by_key(|change| (change.at, change.price)))
    }

    fn filters(&self, instance_type: &InstanceType) -> Vec<Filter> {
        let wanted = [
            ("instanceType", instance_type.as_str()),
            ("regionCode", &self.region),
            ("operatingSystem", "Linux"),
            ("preInstalledSw", "NA"),
            ("capacitystatus", "Used"),
            ("marketoption", "OnDemand"),
            ("tenancy", "Shared"),
            ("productFamily", "Compute Instance"),
        ];
        let filter = |(field, value)| {
            Filter::builder().r#type(FilterType::TermMatch).field(field).value(value).build().ok()
        };
        wanted.into_iter().filter_map(filter).collect()
    }
}

/// Where the list that speaks of a region is asked. China's gives no dollars, and the US government's regions have none.
fn address(region: &str) -> Option<&'static str> {
    match region.split_once('-')?.0 {
        "cn" => None,
        "us" if region.starts_with("us-gov-") => None,
        "ap" => Some("ap-south-1"),
        "eu" | "me" | "af" | "il" => Some("eu-central-1"),
        _ => Some("us-east-1"),
    }
}

/// The hourly prices of an entry, with the day that they came into force. Zeroes stand for what is not sold so.
fn read(text: &str, now: Timestamp) -> Result<Vec<PriceChange>, serde_json::Error> {
    let product: Product = serde_json::from_str(text)?;
    let of_term = |term: &Term| {
        let at = term.effective_date.map_or(now, |date| date.min(now));
        let hourly = term.price_dimensions.values().filter(|dimension| dimension.unit == "Hrs");
        let dollars = hourly.filter_map(|dimension| dimension.price_per_unit.get("USD"));
        let prices = dollars.filter_map(|price| price.parse().ok());
        let sold = prices.filter(|price| *price != UsdPerHour::ZERO);
        sold.map(|price| PriceChange { at, price }).collect::<Vec<_>>()
    };
    Ok(product.terms.on_demand.values().flat_map(of_term).collect())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const NOW: &str = "2026-11-23T00:00:00Z";

    fn product(effective: &str, unit: &str, currency: &str, price: &str) -> String {
        json!({
            "product": {"sku": "ABC", "attributes": {"instanceType": "g4dn.xlarge"}},
            "serviceCode": "AmazonEC2",
            "terms": {
                "OnDemand": {"ABC.DEF": {
                    "effectiveDate": effective,
                    "priceDimensions": {"ABC.DEF.GHI": {
                        "unit": unit, "endRange": "Inf", "pricePerUnit": {currency: price},
                    }},
                }},
                "Reserved": {"ABC.JKL": {"priceDimensions": {}}},
            },
        })
        .to_string()
    }

    fn prices(text: &str) -> Vec<(String, u64)> {
        let changes = read(text, NOW.parse().unwrap()).unwrap();
        changes.iter().map(|change| (change.at.to_string(), change.price.0)).collect()
    }

    #[test]
    fn an_entry_tells_a_price_and_since_when() {
        let since = "2026-11-01T00:00:00Z";
        let one = |at: &str, price| vec![(at.to_owned(), price)];
        assert_eq!(prices(&product(since, "Hrs", "USD", "0.5260000000")), one(since, 526_000));
        let tomorrow = product("2026-11-24T00:00:00Z", "Hrs", "USD", "0.53");
        assert_eq!(prices(&tomorrow), one(NOW, 530_000), "the future is not told");
        let undated = product(since, "Hrs", "USD", "0.53").replace("effectiveDate", "date");
        assert_eq!(prices(&undated), one(NOW, 530_000));
    }

    #[test]
    fn what_is_no_hourly_price_in_dollars_is_no_price() {
        let since = "2026-11-01T00:00:00Z";
        assert_eq!(prices(&product(since, "Hrs", "USD", "0.0000000000")), []);
        assert_eq!(prices(&product(since, "Hrs", "CNY", "3.70")), []);
        assert_eq!(prices(&product(since, "Quantity", "USD", "3000")), []);
        assert_eq!(prices(&product(since, "Hrs", "USD", "dear")), []);
        let reserved = product(since, "Hrs", "USD", "1").replace("OnDemand", "Other");
        assert_eq!(prices(&reserved), []);
        assert!(read("{}", NOW.parse().unwrap()).is_err());
    }

    #[test]
    fn the_list_is_asked_where_it_has_an_address() {
        for (region, wanted) in [
            ("us-west-2", Some("us-east-1")),
            ("sa-east-1", Some("us-east-1")),
            ("ap-northeast-1", Some("ap-south-1")),
            ("eu-west-1", Some("eu-central-1")),
            ("us-gov-west-1", None),
            ("cn-north-1", None),
            ("nowhere", None),
        ] {
            assert_eq!(address(region), wanted, "{region}");
        }
    }
}
