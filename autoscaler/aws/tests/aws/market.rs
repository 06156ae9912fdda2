//! Spot prices: what is asked, what is kept, and what remains when EC2 does not answer.

use std::{collections::BTreeMap, time::Duration};

use jiff::Timestamp;
use spotscale_autoscaler::{Market as _, MarketError, PriceBook, TypesSince};
use spotscale_aws::{Ec2Market, Metrics};
use spotscale_decide::{offers::Shape, units::InstanceType};
use tokio::time::timeout;

use crate::scripted::{Answer, Scripted, config, connect, connect_briefly, scrape};

pub(crate) const SPOT: &str = "DescribeSpotPriceHistory";
pub(crate) const NOW: &str = "2026-03-04T12:00:00Z";
/// Nothing is needed besides what may be bought.
pub(crate) const NONE: TypesSince = TypesSince::new();

pub(crate) fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

pub(crate) fn types(names: &[&str]) -> Vec<InstanceType> {
    names.iter().map(|name| name.parse().unwrap()).collect()
}

/// An entry of the price history of g4dn.xlarge.
pub(crate) fn price(zone: &str, when: &str, usd: &str) -> String {
    format!(
        "<item><instanceType>g4dn.xlarge</instanceType><productDescription>Linux/UNIX</productDescription>\
         <spotPrice>{usd}</spotPrice><timestamp>{when}</timestamp><availabilityZone>{zone}</availabilityZone></item>"
    )
}

pub(crate) fn prices(items: &str, token: &str) -> Answer {
    Answer::page(SPOT, "spotPriceHistorySet", items, token)
}

/// Spot prices of a book: zone, since when, dollars.
fn spot(book: &PriceBook) -> Vec<(String, String, f64)> {
    let offerings = book.offerings().filter(|one| one.capacity_type.to_string() == "spot");
    let lines = offerings.flat_map(|offering| {
        let line = |change: &spotscale_autoscaler::PriceChange| {
            (offering.zone.to_string(), change.at.to_string(), change.price.as_usd())
        };
        book.changes(offering).iter().map(line).collect::<Vec<_>>()
    });
    lines.collect()
}

fn line(zone: &str, when: &str, usd: f64) -> (String, String, f64) {
    (zone.to_owned(), when.to_owned(), usd)
}

pub(crate) async fn market(service: &Scripted, metrics: &Metrics) -> Ec2Market {
    let sdk = connect(service.endpoint()).await;
    let config = config(&["--price-history-days=7"]).market;
    Ec2Market::new(&config, &sdk, types(&["g4dn.xlarge"]), metrics.clone()).unwrap()
}

/// What is known although EC2 did not answer.
fn known(answer: Result<PriceBook, MarketError>) -> PriceBook {
    match answer {
        Err(MarketError::Partly { known, .. }) => known,
        other => panic!("wanted a part of the prices: {other:?}"),
    }
}

#[tokio::test]
async fn an_empty_page_is_not_the_last() {
    let service = Scripted::start().await;
    let (first, second) = ("2026-03-01T00:00:00Z", "2026-02-01T00:00:00Z");
    let (a, b) = (price("us-east-1a", first, "0.2101"), price("us-east-1b", second, "0.1999"));
    service.on(SPOT, [prices(&a, "one"), prices("", "two"), prices(&b, "")]);
    let book = market(&service, &Metrics::default()).await.prices(at(NOW), &NONE).await.unwrap();
    let wanted = [line("us-east-1a", first, 0.2101), line("us-east-1b", second, 0.1999)];
    assert_eq!(spot(&book), wanted);
    let asked = service.asked(SPOT);
    let tokens = ["", "&NextToken=one", "&NextToken=two"];
    assert_eq!(asked.len(), tokens.len());
    for (asked, token) in asked.iter().zip(tokens) {
        assert!(asked.contains(token), "{asked}");
        assert!(asked.contains("&InstanceType.1=g4dn.xlarge&"), "{asked}");
        assert!(asked.contains("&ProductDescription.1=Linux%2FUNIX"), "{asked}");
        assert!(asked.contains("&StartTime=2026-02-25T12%3A00%3A00Z"), "{asked}");
    }
    // The last change before the window is in force when it begins.
    let offering = book.offerings().find(|one| one.zone.as_str() == "us-east-1b").unwrap();
    assert_eq!(book.at(offering, at("2026-02-25T12:00:00Z")).unwrap().0, 199_900);
}

#[tokio::test]
async fn later_only_what_is_new_is_asked_and_nothing_known_is_lost() {
    let service = Scripted::start().await;
    let (old, new) = ("2026-03-04T00:00:00Z", "2026-03-04T12:30:00Z");
    service.on(SPOT, [prices(&price("us-east-1a", old, "0.21"), "")]);
    let market = market(&service, &Metrics::default()).await;
    market.prices(at(NOW), &NONE).await.unwrap();
    let tomorrow = "2026-03-05T00:00:00Z";
    let told = [(old, "0.21"), (new, "0.22"), (tomorrow, "0.23")];
    let items = told.map(|(when, usd)| price("us-east-1a", when, usd)).concat();
    service.on(SPOT, [prices(&items, "")]);
    let book = market.prices(at("2026-03-04T13:00:00Z"), &NONE).await.unwrap();
    // What comes into force tomorrow is not told today.
    assert_eq!(spot(&book), [line("us-east-1a", old, 0.21), line("us-east-1a", new, 0.22)]);
    let asked = service.asked(SPOT);
    assert!(asked[1].contains("&StartTime=2026-03-04T11%3A00%3A00Z"), "{}", asked[1]);
}

#[tokio::test]
async fn what_cannot_be_meant_is_left_out_and_counted() {
    let service = Scripted::start().await;
    let when = "2026-03-01T00:00:00Z";
    let told = [("us-east-1a", "0"), ("us-east-1b", "cheap"), ("us-east-1c", "0.2"), ("", "0.2")];
    let items = told.map(|(zone, usd)| price(zone, when, usd)).concat();
    service.on(SPOT, [prices(&items, "")]);
    let metrics = Metrics::default();
    let book = market(&service, &metrics).await.prices(at(NOW), &NONE).await.unwrap();
    assert_eq!(spot(&book), [line("us-east-1c", when, 0.2)]);
    let scrape = scrape(&metrics);
    for reason in ["zero", "price", "incomplete"] {
        let counted = format!("spotscale_aws_prices_skipped_total{{reason=\"{reason}\"}} 1");
        assert!(scrape.contains(&counted), "{scrape}");
    }
}

/// Scenario 24, and the market's part of scenario H: a feed that fails changes nothing, for as long as it fails.
#[tokio::test]
async fn s24_sh_when_the_history_fails_old_prices_stay() {
    let service = Scripted::start().await;
    let when = "2026-03-04T00:00:00Z";
    service.on(SPOT, [prices(&price("us-east-1a", when, "0.21"), "")]);
    let metrics = Metrics::default();
    let market = market(&service, &metrics).await;
    let book = market.prices(at(NOW), &NONE).await.unwrap();
    let confirmed = "spotscale_aws_prices_timestamp_seconds{prices=\"spot\"} 1772625600.0";
    assert!(scrape(&metrics).contains(confirmed), "{}", scrape(&metrics));
    service.on(SPOT, [Answer::refusal(400, "InvalidParameterValue")]);
    for hour in ["2026-03-04T18:00:00Z", "2026-03-05T00:00:00Z", "2026-03-05T12:00:00Z"] {
        let answer = market.prices(at(hour), &NONE).await;
        assert!(answer.as_ref().unwrap_err().to_string().contains("as told"), "{answer:?}");
        assert_eq!(spot(&known(answer)), spot(&book));
    }
    // The age of the prices is told by when they were right, and that stands still.
    assert!(scrape(&metrics).contains(confirmed), "{}", scrape(&metrics));
    service.on(SPOT, [prices(&price("us-east-1a", "2026-03-05T12:30:00Z", "0.25"), "")]);
    let back = market.prices(at("2026-03-05T13:00:00Z"), &NONE).await.unwrap();
    assert_eq!(spot(&back).len(), 2);
    // The window reaches back to the last answer, so that no change of the outage is missed.
    let asked = service.asked(SPOT);
    assert!(asked[4].contains("&StartTime=2026-03-04T11%3A00%3A00Z"), "{}", asked[4]);
}

/// Scenario 25: a spot price is what the history says from the first answer on; before it there is none, and that a
/// permission is missing can be seen.
#[tokio::test]
async fn s25_a_spot_price_is_the_historys_or_none() {
    let service = Scripted::start().await;
    let sold =
        "<item><instanceType>g4dn.xlarge</instanceType><location>us-east-1a</location></item>";
    let offerings = "DescribeInstanceTypeOfferings";
    service.on(offerings, [Answer::page(offerings, "instanceTypeOfferingSet", sold, "")]);
    service.on(SPOT, [Answer::refusal(403, "UnauthorizedOperation")]);
    let metrics = Metrics::default();
    let market = market(&service, &metrics).await;
    let before = known(market.prices(at(NOW), &NONE).await);
    assert_eq!(spot(&before), []);
    // What is known without the history is told all the same: this price is the built-in table's.
    let on_demand = before.all_at(at(NOW));
    assert_eq!(on_demand.values().map(|price| price.as_usd()).collect::<Vec<_>>(), [0.526]);
    let denied = format!("{{call=\"{SPOT}\",kind=\"access-denied\"}} 1");
    assert!(scrape(&metrics).contains(&denied), "{}", scrape(&metrics));
    let when = "2026-03-01T00:00:00Z";
    service.on(SPOT, [prices(&price("us-east-1a", when, "0.1578"), "")]);
    let after = market.prices(at(NOW), &NONE).await.unwrap();
    assert_eq!(spot(&after), [line("us-east-1a", when, 0.1578)]);
    let mut prices: Vec<f64> = after.all_at(at(NOW)).values().map(|price| price.as_usd()).collect();
    prices.sort_by(f64::total_cmp);
    assert_eq!(prices, [0.1578, 0.526]);
}

#[tokio::test]
async fn a_throttled_call_is_repeated_and_then_told_as_such() {
    let service = Scripted::start().await;
    let throttled = || Answer::refusal(503, "RequestLimitExceeded");
    let when = "2026-03-01T00:00:00Z";
    service.on(SPOT, [throttled(), prices(&price("us-east-1a", when, "0.2"), "")]);
    let metrics = Metrics::default();
    let market = market(&service, &metrics).await;
    assert_eq!(spot(&market.prices(at(NOW), &NONE).await.unwrap()).len(), 1);
    assert_eq!(service.asked(SPOT).len(), 2);
    service.on(SPOT, [throttled()]);
    assert_eq!(spot(&known(market.prices(at(NOW), &NONE).await)).len(), 1);
    let counted = format!("{{call=\"{SPOT}\",kind=\"throttled\"}} 1");
    assert!(scrape(&metrics).contains(&counted), "{}", scrape(&metrics));
}

#[tokio::test]
async fn an_endpoint_that_hangs_or_is_not_there_ends_the_call_in_time() {
    let service = Scripted::start().await;
    service.on(SPOT, [prices("", "").after(Duration::from_mins(10))]);
    let unused = "http://127.0.0.1:9";
    // Nobody there is found out at once, but the SDK tries again for a while.
    let (brief, long) = (Duration::from_millis(300), Duration::from_secs(20));
    let cases = [(service.endpoint(), brief, "timeout"), (unused, long, "unreachable")];
    for (endpoint, patience, kind) in cases {
        let sdk = connect_briefly(endpoint, patience).await;
        let metrics = Metrics::default();
        let types = types(&["g4dn.xlarge"]);
        let market = Ec2Market::new(&config(&[]).market, &sdk, types, metrics.clone()).unwrap();
        let answer = timeout(Duration::from_secs(30), market.prices(at(NOW), &NONE)).await;
        known(answer.unwrap());
        let counted = format!("{{call=\"{SPOT}\",kind=\"{kind}\"}} 1");
        assert!(scrape(&metrics).contains(&counted), "{}", scrape(&metrics));
    }
    let timeouts = connect(unused).await.timeout_config().cloned().unwrap();
    assert!(timeouts.operation_timeout().unwrap() <= Duration::from_secs(30));
    assert!(timeouts.connect_timeout().is_some() && timeouts.operation_attempt_timeout().is_some());
}

#[tokio::test]
async fn a_look_that_was_given_up_goes_on_for_the_next() {
    let service = Scripted::start().await;
    let when = "2026-03-01T00:00:00Z";
    let slow = prices(&price("us-east-1a", when, "0.2"), "").after(Duration::from_secs(1));
    service.on(SPOT, [slow]);
    let market = market(&service, &Metrics::default()).await;
    let hasty = timeout(Duration::from_millis(50), market.prices(at(NOW), &NONE)).await;
    assert!(hasty.is_err(), "{hasty:?}");
    let book = market.prices(at(NOW), &NONE).await.unwrap();
    assert_eq!(spot(&book), [line("us-east-1a", when, 0.2)]);
    assert_eq!(service.asked(SPOT).len(), 1, "the history was asked a second time");
}

#[tokio::test]
async fn what_types_are_is_asked_beside_the_prices_and_one_that_ec2_does_not_know_is_left_out() {
    let service = Scripted::start().await;
    let action = "DescribeInstanceTypes";
    let known = "<item><instanceType>g4dn.xlarge</instanceType><vCpuInfo><defaultVCpus>4</defaultVCpus></vCpuInfo>\
                 <memoryInfo><sizeInMiB>16384</sizeInMiB></memoryInfo><gpuInfo><gpus><item><name>T4</name>\
                 <manufacturer>NVIDIA</manufacturer><count>1</count><memoryInfo><sizeInMiB>16384</sizeInMiB>\
                 </memoryInfo></item></gpus></gpuInfo></item>";
    service.on(action, [Answer::page(action, "instanceTypeSet", known, "")]);
    let sdk = connect(service.endpoint()).await;
    let market = |names: &[&str], metrics: &Metrics| {
        Ec2Market::new(&config(&[]).market, &sdk, types(names), metrics.clone()).unwrap()
    };
    let metrics = Metrics::default();
    let known = market(&["g4dn.xlarge"], &metrics);
    assert_eq!((known.instance_types(), known.shapes()), (vec![], BTreeMap::new()), "not asked");
    let _ = known.prices(at(NOW), &NONE).await;
    let infos = known.instance_types();
    let shape = Shape { vcpus: 4, gpus: 1 };
    assert_eq!(known.shapes(), [("g4dn.xlarge".parse().unwrap(), shape)].into());
    let (info, gpu) = (&infos[0], &infos[0].gpus[0]);
    assert_eq!((info.vcpus, info.memory_mib), (4, 16_384));
    assert_eq!((gpu.name.as_str(), gpu.count, gpu.memory_mib), ("T4", 1, 16_384));
    assert!(scrape(&metrics).contains("gpu=\"T4\",gpus=\"1\""), "{}", scrape(&metrics));
    assert!(scrape(&metrics).contains("spotscale_aws_instance_types_unknown 0"));
    let half = market(&["g4dn.xlarge", "g4dn.xlrage"], &metrics);
    let _ = half.prices(at(NOW), &NONE).await;
    assert_eq!(half.instance_types(), infos);
    assert!(scrape(&metrics).contains("spotscale_aws_instance_types_unknown 1"));
}
