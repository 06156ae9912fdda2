//! The slow signals as KEDA and its HPA feel them, from a real Prometheus.

use std::time::{Duration, Instant};

use serde_json::Value;

use crate::{
    keda::{Keda, METRIC, Trigger, until},
    reading::demand,
    scaler::{Front, Scaler, page},
    series::{ago, hanging, scraping},
};

/// Four replicas, idle for long enough to shrink as soon as the GPU signal allows it.
const SHRINKS: [(&str, &str); 2] = [("idleAfterSeconds", "1"), ("shrinkWindowSeconds", "1")];
const REPLICAS: u32 = 4;

#[tokio::test]
async fn x05_nan_empty_or_old_samples_forbid_every_shrink_and_say_why() {
    let old = format!("0.05 {}", ago(Duration::from_mins(10)));
    let known = [("healthy", "0.05"), ("not_a_number", "NaN"), ("old", old.as_str())];
    let prometheus = scraping(&known).await;
    let flags = [format!("--prometheus-url={}", prometheus.url), interval()];
    let scaler = Scaler::start(&flags.each_ref().map(String::as_str)).await;
    let keda = Keda::start();
    let series = ["healthy", "not_a_number", "absent", "old"];
    let idle = series.map(|name| demand(name, 0, REPLICAS)).to_vec();
    let _front = Front::of(&scaler, idle);
    let mut triggers = Vec::new();
    for name in series {
        let metadata = [&SHRINKS[..], &[("gpuQuery", name)]].concat();
        let trigger = Trigger { metadata: &metadata, ..Trigger::poll(name, &scaler.grpc) };
        triggers.push(keda.open(trigger).await.unwrap());
    }
    let polled = until("the sound one has shrunk", async || {
        let mut polled = Vec::new();
        for trigger in &triggers {
            polled.push(keda.poll(trigger, METRIC).await);
        }
        let shrunk = matches!(&polled[0], Ok(answer) if answer.values[0].value == 0.0);
        shrunk.then_some(polled)
    });
    let polled = polled.await;
    for ((name, answer), trouble) in
        series.iter().zip(polled).skip(1).zip(["out_of_range", "empty", "empty"])
    {
        let error = answer.expect_err(name);
        assert!(error.contains("Unavailable") && error.contains("gpu signal"), "{error}");
        let object = until(trouble, async || {
            let object = scaler.explains(name).await;
            (object["readings"][0]["trouble"]["kind"] == trouble).then_some(object)
        });
        let object = object.await;
        assert_eq!(object["snapshot"]["decision"]["scale"]["desired"], REPLICAS, "{object:#}");
        assert!(told(&object, "no shrink: the gpu signal is missing"), "{object:#}");
    }
}

#[tokio::test]
async fn x06_a_price_that_prometheus_has_from_half_an_hour_ago_is_not_taken_for_todays() {
    let old = format!("0.2 {}", ago(Duration::from_mins(30)));
    let prometheus = scraping(&[("today", "0.2"), ("old", &old)]).await;
    let flags = [format!("--prometheus-url={}", prometheus.url), interval()];
    let scaler = Scaler::start(&flags.each_ref().map(String::as_str)).await;
    let keda = Keda::start();
    let _front = Front::of(&scaler, vec![demand("today", 1, 2), demand("old", 1, 2)]);
    let mut values = Vec::new();
    for name in ["today", "old"] {
        let metadata = [("priceQuery", name), ("onDemandUsdPerHour", "0.5")];
        let trigger = Trigger { metadata: &metadata, ..Trigger::poll(name, &scaler.grpc) };
        let trigger = keda.open(trigger).await.unwrap();
        until("a value", async || keda.poll(&trigger, METRIC).await.ok()).await;
        until("Prometheus was asked", async || {
            let object = scaler.explains(name).await;
            (!object["readings"][0]["asked_at"].is_null()).then_some(())
        })
        .await;
        values.push(keda.poll(&trigger, METRIC).await.unwrap());
    }
    assert_eq!(values[0], values[1], "a price asks for no replicas");
    let object = scaler.explains("old").await;
    assert!(object["snapshot"]["signals"]["price"].is_null(), "{object:#}");
    assert!(told(&object, "the price signal is missing"), "{object:#}");
}

#[tokio::test]
async fn a_sample_that_is_no_longer_fresh_is_refused_or_told_of_whatever_the_server() {
    let before = format!("0.05 {}", ago(Duration::from_mins(2)));
    let prometheus = scraping(&[("before", &before)]).await;
    let flags = [format!("--prometheus-url={}", prometheus.url), interval()];
    let scaler = Scaler::start(&flags.each_ref().map(String::as_str)).await;
    let _front = Front::of(&scaler, vec![demand("before", 0, REPLICAS)]);
    let trigger =
        Trigger { metadata: &[("gpuQuery", "before")], ..Trigger::poll("before", &scaler.grpc) };
    let keda = Keda::start();
    let trigger = keda.open(trigger).await.unwrap();
    let object = until("Prometheus was asked", async || {
        let _ = keda.poll(&trigger, METRIC).await;
        let object = scaler.explains("before").await;
        let reading = &object["readings"][0];
        let is_refused = reading["trouble"]["kind"] == "empty";
        let is_told = reading["good"].is_object() && object["caution"].is_string();
        (is_refused || is_told).then_some(object)
    });
    let object = object.await;
    let about = page(&format!("{}/api/v1/status/buildinfo", prometheus.url)).await;
    let about: Value = serde_json::from_str(&about).unwrap();
    let version = about["data"]["version"].as_str().unwrap();
    let numbers: Vec<u32> = version.split('.').take(2).map(|n| n.parse().unwrap()).collect();
    if numbers < vec![2, 44] {
        assert!(object["caution"].as_str().unwrap().contains(version), "{object:#}");
        assert!(object["readings"][0]["good"].is_object(), "that is why it is told: {object:#}");
    } else {
        assert!(object["caution"].is_null() && object["readings"][0]["good"].is_null());
    }
}

#[tokio::test]
async fn x05_a_hanging_prometheus_slows_no_call() {
    let url = hanging().await;
    let flags = [format!("--prometheus-url={url}"), "--prometheus-timeout=30s".to_owned()];
    let scaler = Scaler::start(&flags.each_ref().map(String::as_str)).await;
    let keda = Keda::start();
    let _front = Front::of(&scaler, vec![demand("resnet", 5, 1)]);
    let metadata = [("gpuQuery", "gpu")];
    let trigger = Trigger { metadata: &metadata, ..Trigger::poll("resnet", &scaler.grpc) };
    let trigger = keda.open(trigger).await.unwrap();
    let first = until("a value", async || keda.poll(&trigger, METRIC).await.ok()).await;
    let started = Instant::now();
    for _ in 0..50 {
        assert_eq!(keda.poll(&trigger, METRIC).await.unwrap(), first);
    }
    // One call that waited for Prometheus would take longer than all of them may.
    assert!(started.elapsed() < Duration::from_secs(30), "{:?}", started.elapsed());
}

fn interval() -> String {
    "--prometheus-interval=100ms".to_owned()
}

/// Whether the explanation has this sentence.
fn told(object: &Value, sentence: &str) -> bool {
    object["because"].as_array().is_some_and(|because| because.iter().any(|one| one == sentence))
}
