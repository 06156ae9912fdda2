//! What is expected of spot capacity: placement scores and the advisor's bands.

use spotscale_autoscaler::{Market as _, Prior};
use spotscale_aws::{Ec2Market, Metrics};

use crate::{
    market::{NONE, NOW, at, types},
    scripted::{Answer, Scripted, config, connect, scrape},
};

const SCORES: &str = "GetSpotPlacementScores";
const SPOT: &str = "DescribeSpotPriceHistory";
const ZONES: &str = "DescribeAvailabilityZones";

/// A service with a spot price in each of two zones.
async fn service() -> Scripted {
    let service = Scripted::start().await;
    let price = |zone| {
        format!(
            "<item><instanceType>g4dn.xlarge</instanceType><spotPrice>0.2</spotPrice>\
             <timestamp>2026-03-01T00:00:00Z</timestamp><availabilityZone>{zone}</availabilityZone></item>"
        )
    };
    let prices = price("us-east-1a") + &price("us-east-1b");
    service.on(SPOT, [Answer::page(SPOT, "spotPriceHistorySet", &prices, "")]);
    let zone = |name, id| format!("<item><zoneName>{name}</zoneName><zoneId>{id}</zoneId></item>");
    let zones = zone("us-east-1a", "use1-az4") + &zone("us-east-1b", "use1-az6");
    service.on(ZONES, [Answer::page(ZONES, "availabilityZoneInfo", &zones, "")]);
    service
}

fn scores(scores: &[(&str, u8)]) -> Answer {
    let item = |(zone, score): &(&str, u8)| {
        format!(
            "<item><region>us-east-1</region><availabilityZoneId>{zone}</availabilityZoneId>\
             <score>{score}</score></item>"
        )
    };
    let items: String = scores.iter().map(item).collect();
    Answer::page(SCORES, "spotPlacementScoreSet", &items, "")
}

async fn market(
    service: &Scripted,
    flags: &[&str],
    names: &[&str],
    metrics: &Metrics,
) -> Ec2Market {
    let sdk = connect(service.endpoint()).await;
    Ec2Market::new(&config(flags).market, &sdk, types(names), metrics.clone()).unwrap()
}

/// Zone and rate of each offering.
fn rates(prior: &Prior) -> Vec<(String, f64)> {
    let rates = prior.interruptions_per_hour.iter();
    rates.map(|(offering, rate)| (offering.zone.to_string(), *rate)).collect()
}

const THREE: [&str; 3] = ["g6.xlarge", "g4dn.xlarge", "g5.xlarge"];

#[tokio::test]
async fn one_question_is_asked_of_all_types_and_scores_order_the_zones() {
    let service = service().await;
    service.on(SCORES, [scores(&[("use1-az4", 9), ("use1-az6", 3), ("use1-az9", 1)])]);
    let market = market(&service, &[], &THREE, &Metrics::default()).await;
    assert_eq!(market.prior(0.1), Prior::default(), "nothing was asked yet");
    for now in [NOW, "2026-03-04T12:59:59Z", "2026-03-04T13:00:00Z"] {
        market.prices(at(now), &NONE).await.unwrap();
    }
    // The mean of the two zones that have a name is 6.
    let wanted = [("us-east-1a".to_owned(), 0.1 * 6.0 / 9.0), ("us-east-1b".to_owned(), 0.2)];
    for ((zone, rate), (wanted_zone, wanted)) in rates(&market.prior(0.1)).iter().zip(&wanted) {
        assert_eq!(zone, wanted_zone);
        assert!((rate - wanted).abs() < 1e-12, "{zone}: {rate}");
    }
    let asked = service.asked(SCORES);
    assert_eq!(asked.len(), 2, "asked more often than once an hour");
    let question = |asked: &str| {
        let types = "InstanceType.1=g4dn.xlarge&InstanceType.2=g5.xlarge&InstanceType.3=g6.xlarge";
        assert!(asked.contains(types), "{asked}");
        assert!(asked.contains("&SingleAvailabilityZone=true"), "{asked}");
        assert!(asked.contains("&RegionName.1=us-east-1"), "{asked}");
        asked.to_owned()
    };
    assert_eq!(question(&asked[0]), question(&asked[1]), "a question that varies is capped");
}

#[tokio::test]
async fn a_capped_or_forbidden_question_leaves_no_prior_and_hurts_nothing() {
    for (code, kind) in
        [("MaxConfigLimitExceeded", "refused"), ("UnauthorizedOperation", "access-denied")]
    {
        let service = service().await;
        service.on(SCORES, [Answer::refusal(400, code)]);
        let metrics = Metrics::default();
        let market = market(&service, &[], &THREE, &metrics).await;
        let book = market.prices(at(NOW), &NONE).await.unwrap();
        assert!(book.offerings().count() >= 2);
        assert_eq!(market.prior(0.1), Prior::default());
        let counted = format!("{{call=\"{SCORES}\",kind=\"{kind}\"}} 1");
        assert!(scrape(&metrics).contains(&counted), "{}", scrape(&metrics));
    }
}

#[tokio::test]
async fn too_few_types_are_not_asked_about() {
    let service = service().await;
    service.on(SCORES, [scores(&[("use1-az4", 1)])]);
    let market = market(&service, &[], &THREE[..2], &Metrics::default()).await;
    market.prices(at(NOW), &NONE).await.unwrap();
    assert_eq!(service.asked(SCORES).len(), 0);
    assert_eq!(market.prior(0.1), Prior::default());
}

#[tokio::test]
async fn the_advisors_bands_are_read_from_a_file() {
    let service = service().await;
    let file = tempfile::NamedTempFile::new().unwrap();
    let data = r#"{"spot_advisor": {"us-east-1": {"Linux": {"g4dn.xlarge": {"s": 70, "r": 3}}}}}"#;
    std::fs::write(file.path(), data).unwrap();
    let flag = format!("--advisor={}", file.path().display());
    let market = market(&service, &[&flag], &["g4dn.xlarge"], &Metrics::default()).await;
    market.prices(at(NOW), &NONE).await.unwrap();
    let rates = rates(&market.prior(0.1));
    assert_eq!(
        rates.iter().map(|(zone, _)| zone.as_str()).collect::<Vec<_>>(),
        ["us-east-1a", "us-east-1b"]
    );
    // The band of 15 to 20 percent a month.
    let wanted = -(1.0_f64 - 0.175).ln() / 730.0;
    assert!(rates.iter().all(|(_, rate)| (rate - wanted).abs() < 1e-12), "{rates:?}");
    let sdk = connect(service.endpoint()).await;
    std::fs::write(file.path(), "{}").unwrap();
    let broken =
        Ec2Market::new(&config(&[&flag]).market, &sdk, types(&["g4dn.xlarge"]), Metrics::default());
    let error = broken.err().unwrap().to_string();
    assert!(error.starts_with("--advisor: it is not the Spot Instance Advisor's data"), "{error}");
}
