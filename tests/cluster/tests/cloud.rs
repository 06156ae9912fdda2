//! The stand-ins of the cloud, as Spotscale's own tests use them.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use spotscale_test_cluster::{
    cloud::{
        Instance, Interruption, Market, MetadataMock, Moto, Notices, events,
        moto::{Depth, environment},
    },
    programs::python,
    until,
};

#[tokio::test]
async fn moto_keeps_messages_and_instances_until_it_is_reset() {
    let moto = Moto::start().await.unwrap();
    let queue = moto.create_queue("notices", Duration::from_secs(20)).await.unwrap();
    let ids = moto.run_instances("g4dn.xlarge", "us-east-1a", 2).await.unwrap();
    assert_eq!(ids.len(), 2);
    let warning = events::spot_interruption(&ids[0], "us-east-1a", Timestamp::now());
    moto.send(&queue, &warning).await.unwrap();
    assert_eq!(moto.depth(&queue).await.unwrap(), Depth { visible: 1, in_flight: 0 });
    assert_eq!(moto.state(&ids[0]).await.unwrap(), "running");
    moto.terminate(&ids[0]).await.unwrap();
    assert_eq!(moto.state(&ids[0]).await.unwrap(), "terminated");
    assert_eq!(moto.state(&ids[1]).await.unwrap(), "running");
    moto.reset().await.unwrap();
    assert!(moto.depth(&queue).await.is_err());
    assert!(moto.state(&ids[1]).await.is_err());
}

/// A client of AWS' own makes sense of what the market says, and reaches moto through it.
#[tokio::test(flavor = "multi_thread")]
async fn a_real_client_reads_the_prices_that_were_set() {
    let moto = Moto::start().await.unwrap();
    let market = Market::start(&moto).await.unwrap();
    let since = "2026-01-01T00:00:00Z".parse().unwrap();
    market.spot_price("g4dn.xlarge", "us-east-1a", "0.1578", since);
    market.on_demand_price("g4dn.xlarge", "0.526");
    let queue = moto.create_queue("notices", Duration::from_secs(20)).await.unwrap();
    moto.send(&queue, "hello").await.unwrap();
    let failure = spotscale_test_cluster::cloud::Failure {
        status: 503,
        code: "RequestLimitExceeded",
        times: 1,
    };
    market.fail("DescribeSpotPriceHistory", failure);
    let script = r#"
import boto3, json
config = boto3.session.Config(retries={"mode": "standard"})
spot = boto3.client("ec2", config=config).describe_spot_price_history(InstanceTypes=["g4dn.xlarge"])
print([(p["AvailabilityZone"], p["SpotPrice"]) for p in spot["SpotPriceHistory"]])
products = boto3.client("pricing").get_products(ServiceCode="AmazonEC2")["PriceList"]
print([json.loads(p)["product"]["attributes"]["instanceType"] for p in products])
sqs = boto3.client("sqs")
url = sqs.get_queue_url(QueueName="notices")["QueueUrl"]
print(sqs.receive_message(QueueUrl=url)["Messages"][0]["Body"])
"#;
    let output = tokio::process::Command::new(python().unwrap())
        .args(["-c", script])
        .envs(environment(market.endpoint()))
        .output()
        .await
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    let expected = "[('us-east-1a', '0.1578')]\n['g4dn.xlarge']\nhello\n";
    assert_eq!(text, expected, "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(market.calls("DescribeSpotPriceHistory"), 2, "the first one fails");
    assert_eq!(moto.depth(&queue).await.unwrap(), Depth { visible: 0, in_flight: 1 });
}

#[tokio::test]
async fn the_metadata_service_tells_one_fixed_time_and_only_when_it_is_due() {
    let instance = Instance {
        id: "i-0123456789abcdef0".to_owned(),
        instance_type: "g4dn.xlarge".to_owned(),
        zone: "us-east-1a".to_owned(),
    };
    let mut mock = MetadataMock::start(&instance, &Notices::default()).await.unwrap();
    assert_eq!(mock.get("meta-data/instance-id").await.unwrap(), instance.id);
    assert_eq!(mock.get("meta-data/placement/availability-zone").await.unwrap(), instance.zone);
    let (action, rebalance) =
        ("meta-data/spot/instance-action", "meta-data/events/recommendations/rebalance");
    assert!(mock.get(action).await.is_err() && mock.get(rebalance).await.is_err());
    let now = Timestamp::now();
    let time = now + SignedDuration::from_secs(120);
    let interruption = Interruption {
        action: "terminate",
        time,
        // Far enough that the mock, started anew, is asked before it.
        shown: now + SignedDuration::from_secs(15),
    };
    let notices = Notices { interruption: Some(interruption), rebalance: Some(now) };
    mock.tell(&notices).await.unwrap();
    assert!(mock.get(rebalance).await.unwrap().contains("noticeTime"));
    assert!(mock.get(action).await.is_err(), "too early");
    until("the notice", || async { mock.get(action).await.map(|_| true) }).await.unwrap();
    let told = mock.get(action).await.unwrap();
    assert!(told.contains(&time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()), "{told}");
    tokio::time::sleep(Duration::from_millis(1100)).await;
    assert_eq!(mock.get(action).await.unwrap(), told, "the time slides");
}
