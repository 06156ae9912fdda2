//! On-demand prices: the price list, and the table that stands in for it.

use serde_json::json;
use spotscale_autoscaler::{CapacityType, Market as _, MarketError, Offering, PriceBook};
use spotscale_aws::{Ec2Market, Metrics};

use crate::{
    market::{NONE, NOW, at, types},
    scripted::{Answer, Scripted, config, connect, json, scrape},
};

const LIST: &str = "GetProducts";
const SPOT: &str = "DescribeSpotPriceHistory";
const OFFERINGS: &str = "DescribeInstanceTypeOfferings";

/// The price list's answer: JSON texts within JSON.
fn products(prices: &[(&str, &str)]) -> Answer {
    let product = |(since, usd): &(&str, &str)| {
        let rate = json!({"unit": "Hrs", "pricePerUnit": {"USD": usd}});
        json!({
            "product": {"attributes": {"instanceType": "g4dn.xlarge"}},
            "terms": {"OnDemand": {"T": {"effectiveDate": since, "priceDimensions": {"R": rate}}}},
        })
        .to_string()
    };
    let list: Vec<String> = prices.iter().map(product).collect();
    Answer::ok(json!({"FormatVersion": "aws_v1", "PriceList": list}).to_string())
}

/// A service that sells g4dn.xlarge in two zones and has no spot prices.
async fn service() -> Scripted {
    let service = Scripted::start().await;
    let sold = |zone| {
        format!("<item><instanceType>g4dn.xlarge</instanceType><location>{zone}</location></item>")
    };
    let zones = sold("us-east-1a") + &sold("us-east-1b");
    service.on(OFFERINGS, [Answer::page(OFFERINGS, "instanceTypeOfferingSet", &zones, "")]);
    service.on(SPOT, [Answer::page(SPOT, "spotPriceHistorySet", "", "")]);
    service
}

async fn market(service: &Scripted, metrics: &Metrics) -> Ec2Market {
    let sdk = connect(service.endpoint()).await;
    Ec2Market::new(&config(&[]).market, &sdk, types(&["g4dn.xlarge"]), metrics.clone()).unwrap()
}

fn changes(answer: Result<PriceBook, MarketError>, zone: &str) -> Vec<(String, f64)> {
    let offering = Offering {
        instance_type: "g4dn.xlarge".parse().unwrap(),
        zone: zone.parse().unwrap(),
        capacity_type: CapacityType::OnDemand,
    };
    let book = answer.unwrap();
    let told = book.changes(&offering).iter();
    told.map(|change| (change.at.to_string(), change.price.as_usd())).collect()
}

#[tokio::test]
async fn the_list_is_asked_once_a_day_and_holds_in_every_zone() {
    let service = service().await;
    let (march, april) = ("2026-03-01T00:00:00Z", "2026-04-01T00:00:00Z");
    service.on(LIST, [products(&[(march, "0.0000000000"), (march, "0.5300000000")])]);
    let metrics = Metrics::default();
    let market = market(&service, &metrics).await;
    let first = market.prices(at(NOW), &NONE).await;
    assert_eq!(changes(first.clone(), "us-east-1a"), [(march.to_owned(), 0.53)]);
    assert_eq!(changes(first, "us-east-1b"), [(march.to_owned(), 0.53)]);
    market.prices(at("2026-03-05T11:59:59Z"), &NONE).await.unwrap();
    let asked = service.asked(LIST);
    assert_eq!(asked.len(), 1, "the list was asked twice in a day");
    let filters = json(&asked[0])["Filters"].as_array().unwrap().clone();
    for (field, value) in [
        ("instanceType", "g4dn.xlarge"),
        ("regionCode", "us-east-1"),
        ("operatingSystem", "Linux"),
        ("preInstalledSw", "NA"),
        ("capacitystatus", "Used"),
        ("marketoption", "OnDemand"),
        ("tenancy", "Shared"),
        ("productFamily", "Compute Instance"),
    ] {
        let filter = json!({"Type": "TERM_MATCH", "Field": field, "Value": value});
        assert!(filters.contains(&filter), "no {filter} in {filters:?}");
    }
    service.on(LIST, [products(&[(april, "0.50")])]);
    let later = changes(market.prices(at("2026-04-02T00:00:00Z"), &NONE).await, "us-east-1a");
    assert_eq!(later, [(march.to_owned(), 0.53), (april.to_owned(), 0.5)]);
    assert_eq!(market.source().listed_at, Some(at("2026-04-02T00:00:00Z")));
    assert!(scrape(&metrics).contains("spotscale_aws_on_demand_prices_tabled 0"));
}

/// Scenario 24, for on-demand prices.
#[tokio::test]
async fn s24_without_the_list_a_dated_table_stands_in_and_says_so() {
    let service = service().await;
    service.on(LIST, [Answer::json_refusal(400, "AccessDeniedException")]);
    let metrics = Metrics::default();
    let market = market(&service, &metrics).await;
    let tabled = changes(market.prices(at(NOW), &NONE).await, "us-east-1a");
    assert_eq!(tabled, [("2024-06-13T00:00:00Z".to_owned(), 0.526)]);
    let source = market.source().to_string();
    assert_eq!(source, "not from AWS' price list; a table of 2024-06-13 for g4dn.xlarge");
    let told = scrape(&metrics);
    assert!(told.contains("spotscale_aws_on_demand_prices_tabled 1"), "{told}");
    assert!(told.contains("{call=\"GetProducts\",kind=\"access-denied\"} 1"), "{told}");
    assert!(!told.contains("prices=\"on-demand\""), "{told}");
    // It is asked again before a day has passed, and then the table is out.
    service.on(LIST, [products(&[("2026-03-01T00:00:00Z", "0.53")])]);
    let listed = changes(market.prices(at("2026-03-04T12:15:00Z"), &NONE).await, "us-east-1a");
    assert_eq!(listed, [("2026-03-01T00:00:00Z".to_owned(), 0.53)]);
    // What the list said stays when it fails later.
    service.on(LIST, [Answer::json_refusal(400, "AccessDeniedException")]);
    let later = changes(market.prices(at("2026-03-06T00:00:00Z"), &NONE).await, "us-east-1a");
    assert_eq!(later, listed);
    assert_eq!(market.source().tabled, []);
}
