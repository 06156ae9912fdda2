//! Types that may not be bought and of which there are nodes: what is asked of them, and what that may not cost the others.

use std::time::Duration;

use jiff::Timestamp;
use spotscale_autoscaler::{Market as _, PriceBook, TypesSince};
use spotscale_aws::Metrics;
use tokio::time::timeout;

use crate::{
    market::{NONE, NOW, SPOT, at, market, price, prices},
    scripted::{Answer, Scripted, json, scrape},
};

/// Nodes of c5.xlarge, the oldest of them launched then.
fn since(launch: &str) -> TypesSince {
    [("c5.xlarge".parse().unwrap(), at(launch))].into()
}

fn sold(when: &str, usd: &str) -> Answer {
    prices(&price("us-east-1a", when, usd), "")
}

fn other(when: &str, usd: &str) -> Answer {
    let item = price("us-east-1a", when, usd).replace("g4dn.xlarge", "c5.xlarge");
    prices(&item, "")
}

/// Since when each question was, and whether it was about c5.xlarge by a filter or about g4dn.xlarge by its name.
fn questions(service: &Scripted) -> Vec<(bool, String)> {
    let question = |asked: String| {
        let (named, filtered) = (
            asked.contains("&InstanceType.1=g4dn.xlarge&"),
            asked.contains("&Filter.1.Name=instance-type&Filter.1.Value.1=c5.xlarge"),
        );
        assert!(named != filtered, "{asked}");
        let start = asked.split("&StartTime=").nth(1).unwrap();
        (filtered, start.split('&').next().unwrap().replace("%3A", ":"))
    };
    service.asked(SPOT).into_iter().map(question).collect()
}

fn spot_price(book: &PriceBook, name: &str, when: &str) -> Option<f64> {
    let is_it = |one: &&spotscale_autoscaler::Offering| {
        one.instance_type.as_str() == name && one.capacity_type.to_string() == "spot"
    };
    let offering = book.offerings().find(is_it)?;
    Some(book.at(offering, at(when))?.as_usd())
}

#[tokio::test]
async fn the_history_is_asked_back_to_the_day_of_the_oldest_launch_and_then_for_what_is_new() {
    let service = Scripted::start().await;
    let old = "2026-03-01T00:00:00Z";
    service.on(SPOT, [sold(old, "0.2"), sold(old, "0.2"), other("2026-03-03T20:00:00Z", "0.06")]);
    let market = market(&service, &Metrics::default()).await;
    market.prices(at(NOW), &NONE).await.unwrap();
    let book = market.prices(at(NOW), &since("2026-03-04T10:30:00Z")).await.unwrap();
    assert_eq!(spot_price(&book, "c5.xlarge", NOW), Some(0.06));
    assert_eq!(spot_price(&book, "g4dn.xlarge", NOW), Some(0.2));
    let question = |is_other, from: &str| (is_other, from.to_owned());
    let first = question(false, "2026-02-25T12:00:00Z");
    let again = question(false, "2026-03-04T11:00:00Z");
    let day = question(true, "2026-03-04T00:00:00Z");
    assert_eq!(questions(&service), [first, again, day]);
    // Another of the same day takes no more, an older one does, and what EC2 would not be asked for is not.
    for (launch, from) in [
        ("2026-03-04T09:00:00Z", "2026-03-04T11:00:00Z"),
        ("2026-03-02T09:00:00Z", "2026-03-02T00:00:00Z"),
        ("2026-03-02T09:00:00Z", "2026-03-04T11:00:00Z"),
        ("2025-12-24T00:00:00Z", "2026-02-25T12:00:00Z"),
    ] {
        market.prices(at(NOW), &since(launch)).await.unwrap();
        assert_eq!(questions(&service).last().unwrap(), &question(true, from), "{launch}");
    }
}

/// The prices of what may be bought are as fresh as if nothing else had been asked.
#[tokio::test]
async fn a_question_about_others_that_fails_makes_no_price_old() {
    let service = Scripted::start().await;
    let refused = Answer::refusal(400, "InvalidParameterValue");
    let when = "2026-03-01T00:00:00Z";
    service.on(SPOT, [sold(when, "0.2"), refused]);
    let metrics = Metrics::default();
    let market = market(&service, &metrics).await;
    let book = market.prices(at(NOW), &since(when)).await.unwrap();
    assert_eq!(spot_price(&book, "g4dn.xlarge", NOW), Some(0.2));
    let told = scrape(&metrics);
    assert!(told.contains(&format!("{{call=\"{SPOT}\",kind=\"refused\"}} 1")), "{told}");
    // It has not been answered, so it is asked for the whole of the time again.
    service.on(SPOT, [sold(when, "0.2"), other(when, "0.06")]);
    let book = market.prices(at(NOW), &since(when)).await.unwrap();
    assert_eq!(spot_price(&book, "c5.xlarge", NOW), Some(0.06));
    assert_eq!(questions(&service).last().unwrap(), &(true, when.to_owned()));
}

/// The price list is asked about each type: at once about a new one, and once a day about all.
#[tokio::test]
async fn the_price_list_is_asked_about_a_new_type_at_once() {
    let service = Scripted::start().await;
    let list = "GetProducts";
    service.on(SPOT, [prices("", "")]);
    service.on(list, [Answer::ok(r#"{"FormatVersion":"aws_v1","PriceList":[]}"#)]);
    let market = market(&service, &Metrics::default()).await;
    let asked = || -> Vec<String> {
        let asked = service.asked(list).into_iter().map(|asked| json(&asked));
        asked.map(|asked| asked["Filters"][0]["Value"].as_str().unwrap().to_owned()).collect()
    };
    market.prices(at(NOW), &NONE).await.unwrap();
    market.prices(at(NOW), &since(NOW)).await.unwrap();
    market.prices(at("2026-03-04T13:00:00Z"), &since(NOW)).await.unwrap();
    assert_eq!(asked(), ["g4dn.xlarge", "c5.xlarge"]);
    market.prices(at("2026-03-05T12:00:00Z"), &since(NOW)).await.unwrap();
    assert_eq!(asked()[2..], ["g4dn.xlarge", "c5.xlarge"]);
}

#[tokio::test]
async fn a_look_that_was_given_up_is_followed_by_the_one_that_is_wanted_by_now() {
    let service = Scripted::start().await;
    let when = "2026-03-01T00:00:00Z";
    let slow = sold(when, "0.2").after(Duration::from_millis(500));
    service.on(SPOT, [slow, sold(when, "0.2"), other(when, "0.06")]);
    let market = market(&service, &Metrics::default()).await;
    let hasty = timeout(Duration::from_millis(50), market.prices(at(NOW), &NONE)).await;
    assert!(hasty.is_err(), "{hasty:?}");
    let now: Timestamp = at(NOW);
    let book = market.prices(now, &since(when)).await.unwrap();
    assert_eq!(spot_price(&book, "c5.xlarge", NOW), Some(0.06));
}
