//! Slow signals: a Prometheus that answers well, badly, late or not at all.
#![allow(clippy::float_cmp, reason = "whole numbers pass through unchanged")]

use std::{
    sync::atomic::Ordering,
    time::{Duration, Instant},
};

use serde_json::Value;
use tonic::Code;

use crate::{
    harness::*,
    stand_in::{Answer, Prometheus},
};

#[tokio::test]
async fn gpu_utilisation_and_price_reach_the_decision() {
    let prometheus = Prometheus::start(Answer::Series(vec!["0.25"])).await;
    let server = Server::start_with(prometheus.config()).await;
    let (mut keda, mut front) = (server.keda().await, server.front("a").await);
    front.says(vec![demand("resnet", 1, 0)]).await;
    let metadata = [("gpuQuery", "gpu"), ("priceQuery", "spot"), ("onDemandUsdPerHour", "0.5")];
    keda.get_metric_spec(trigger("resnet", &metadata)).await.unwrap();
    let signals = |object: &Value| object["snapshot"]["signals"].clone();
    let object = until(&server, |object| {
        let signals = signals(object);
        !signals["gpu"].is_null() && !signals["price"].is_null()
    })
    .await;
    assert_eq!(signals(&object)["gpu"]["value"], 0.25);
    assert_eq!(signals(&object)["price"]["value"], 0.5);
}

#[tokio::test]
async fn what_is_no_reading_is_a_reason_and_the_last_good_one_stays() {
    let prometheus = Prometheus::start(Answer::Series(vec!["0.75"])).await;
    let server = Server::start_with(prometheus.config()).await;
    let mut keda = server.keda().await;
    keda.get_metric_spec(trigger("resnet", &[("gpuQuery", "gpu")])).await.unwrap();
    let reading = |object: &Value| object["readings"][0].clone();
    until(&server, |object| reading(object)["good"]["value"] == 0.75).await;
    for (answer, kind) in [
        (Answer::Series(vec!["NaN"]), "out_of_range"),
        (Answer::Series(vec!["+Inf"]), "out_of_range"),
        (Answer::Series(vec!["87"]), "out_of_range"),
        (Answer::Series(vec![]), "empty"),
        (Answer::Series(vec!["0.1", "0.2"]), "ambiguous"),
        (Answer::Fails, "request"),
        (Answer::Hangs, "timeout"),
    ] {
        prometheus.answers(answer);
        let object = until(&server, |object| reading(object)["trouble"]["kind"] == kind).await;
        assert_eq!(reading(&object)["good"]["value"], 0.75, "{kind} replaced the last good one");
    }
    prometheus.answers(Answer::Series(vec!["0.5"]));
    let object = until(&server, |object| reading(object)["good"]["value"] == 0.5).await;
    assert!(reading(&object)["trouble"].is_null());
}

#[tokio::test]
async fn an_old_sample_is_as_old_as_its_own_timestamp_says() {
    let prometheus = Prometheus::start(Answer::SampledAgo(Duration::from_mins(10))).await;
    let server = Server::start_with(prometheus.config()).await;
    let (mut keda, mut front) = (server.keda().await, server.front("a").await);
    front.says(vec![demand("resnet", 0, 4)]).await;
    let resnet = trigger("resnet", &[("gpuQuery", "gpu")]);
    keda.get_metric_spec(resnet.clone()).await.unwrap();
    let object = until(&server, |object| object["ages_ms"]["gpu"].is_u64()).await;
    let age = object["ages_ms"]["gpu"].as_u64().unwrap();
    assert!((599_000..700_000).contains(&age), "{age} ms");
}

#[tokio::test]
async fn a_sample_that_is_no_longer_fresh_is_not_asked_for() {
    // Prometheus stamps what it finds with the time of the question: an old sample would pass for one of now.
    let prometheus = Prometheus::start(Answer::Series(vec!["0.5"])).await;
    let server = Server::start_with(prometheus.config()).await;
    let metadata = [("gpuQuery", "gpu"), ("priceQuery", "spot"), ("onDemandUsdPerHour", "0.5")];
    server.keda().await.get_metric_spec(trigger("resnet", &metadata)).await.unwrap();
    let good = |object: &Value, n: usize| object["readings"][n]["good"].is_object();
    until(&server, |object| good(object, 0) && good(object, 1)).await;
    let asked = prometheus.asked.lock().unwrap().clone();
    assert_eq!(asked.len(), 2, "{asked:?}");
    for (query, lookback) in
        [("query=gpu", "lookback_delta=45s"), ("query=spot", "lookback_delta=900s")]
    {
        let of = asked.iter().find(|question| question.contains(query)).unwrap();
        assert!(of.contains(lookback), "{of}");
    }
}

#[tokio::test]
async fn a_server_that_looks_back_as_far_as_it_likes_is_told_of_also_when_it_comes_back_as_one() {
    let prometheus = Prometheus::start(Answer::Series(vec!["0.5"])).await;
    let server = Server::start_with(prometheus.config()).await;
    let mut keda = server.keda().await;
    keda.get_metric_spec(trigger("resnet", &[("gpuQuery", "gpu")])).await.unwrap();
    until(&server, |object| object["readings"][0]["good"].is_object()).await;
    for (is_old, value) in [(false, "0"), (true, "1"), (false, "0")] {
        prometheus.answers(Answer::Fails);
        until(&server, |object| object["readings"][0]["trouble"]["kind"] == "request").await;
        prometheus.is_old.store(is_old, Ordering::SeqCst);
        prometheus.answers(Answer::Series(vec!["0.5"]));
        let object = until(&server, |object| {
            object["readings"][0]["trouble"].is_null() && object["caution"].is_string() == is_old
        });
        let object = object.await;
        let said = object["caution"].as_str().unwrap_or("Prometheus 2.42.0+ds ignores");
        assert!(said.starts_with("Prometheus 2.42.0+ds ignores"), "{said}");
        let gauge = format!("spotscale_scaler_prometheus_lookback_ignored {value}\n");
        until_metric(&server, &gauge).await;
    }
}

#[tokio::test]
async fn checklist_06_a_hanging_prometheus_delays_no_call() {
    let prometheus = Prometheus::start(Answer::Hangs).await;
    let mut config = prometheus.config();
    config.prometheus.timeout = "60s".parse().unwrap();
    let server = Server::start_with(config).await;
    let (mut keda, mut front) = (server.keda().await, server.front("a").await);
    front.says(vec![demand("resnet", 1, 0)]).await;
    let resnet = trigger("resnet", &[("gpuQuery", "gpu")]);
    let asked = Instant::now();
    until_desired(&mut keda, &resnet, |value| value >= 1.0).await;
    for _ in 0..100 {
        desired(&mut keda, &resnet).await.unwrap();
    }
    assert!(asked.elapsed() < Duration::from_secs(15), "{:?}", asked.elapsed());
}

#[tokio::test]
async fn checklist_15_without_prometheus_nothing_shrinks_and_the_own_queue_still_wakes() {
    let prometheus = Prometheus::start(Answer::Fails).await;
    let server = Server::start_with(prometheus.config()).await;
    let (mut keda, mut front) = (server.keda().await, server.front("a").await);
    let warm = trigger("warm", &[("gpuQuery", "gpu")]);
    let asleep = trigger("asleep", &[("gpuQuery", "gpu")]);
    front.says(vec![demand("warm", 0, 4), demand("asleep", 0, 0)]).await;
    until_desired(&mut keda, &asleep, |value| value == 0.0).await;
    let held = desired(&mut keda, &warm).await.unwrap_err();
    assert_eq!(held.code(), Code::Unavailable, "{held}");
    assert!(held.message().contains("gpu"), "{held}");
    let mut stream = keda.stream_is_active(asleep.clone()).await.unwrap().into_inner();
    front.says(vec![demand("warm", 0, 4), demand("asleep", 1, 0)]).await;
    assert_eq!(pushed(&mut stream, PATIENCE).await, Some(true));
    until_desired(&mut keda, &asleep, |value| value >= 1.0).await;
}

#[tokio::test]
async fn checklist_15_the_last_good_value_counts_within_its_budget() {
    let prometheus = Prometheus::start(Answer::Series(vec!["0.5"])).await;
    let server = Server::start_with(prometheus.config()).await;
    let (mut keda, mut front) = (server.keda().await, server.front("a").await);
    let resnet = trigger("resnet", &[("gpuQuery", "gpu")]);
    front.says(vec![demand("resnet", 0, 4)]).await;
    keda.get_metric_spec(resnet.clone()).await.unwrap();
    until_desired(&mut keda, &resnet, |value| value == 4.0).await;
    prometheus.answers(Answer::Fails);
    until(&server, |object| object["readings"][0]["trouble"]["kind"] == "request").await;
    assert_eq!(desired(&mut keda, &resnet).await.unwrap(), 4.0);
}

/// Idle, and allowed to shrink after a second.
const SHRINKS: [(&str, &str); 3] =
    [("gpuQuery", "gpu"), ("idleAfterSeconds", "1"), ("shrinkWindowSeconds", "1")];

fn told(object: &Value, part: &str) -> bool {
    let because = object["because"].as_array().unwrap();
    because.iter().any(|sentence| sentence.as_str().unwrap().contains(part))
}

#[tokio::test]
async fn x05_a_prometheus_that_fails_or_hangs_forbids_every_shrink_and_delays_no_call() {
    let idle = || vec![demand("resnet", 0, 4)];
    let resnet = trigger("resnet", &SHRINKS);
    for (answer, trouble) in [(Answer::Fails, "request"), (Answer::Hangs, "timeout")] {
        let sound = Prometheus::start(Answer::Series(vec!["0.05"])).await;
        let broken = Prometheus::start(answer).await;
        let (sound, broken) =
            (Server::start_with(sound.config()).await, Server::start_with(broken.config()).await);
        let (mut shrinking, mut held) = (sound.keda().await, broken.keda().await);
        let (mut one, mut other) = (sound.front("a").await, broken.front("a").await);
        let reports = tokio::spawn(async move {
            loop {
                one.says(idle()).await;
                other.says(idle()).await;
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        });
        held.get_metric_spec(resnet.clone()).await.unwrap();
        until_desired(&mut shrinking, &resnet, |value| value == 0.0).await;
        let object =
            until(&broken, |object| object["readings"][0]["trouble"]["kind"] == trouble).await;
        assert!(told(&object, "no shrink: the gpu signal is missing"), "{object:#}");
        assert_eq!(object["snapshot"]["decision"]["scale"]["desired"], 4, "{object:#}");
        let asked = Instant::now();
        for _ in 0..50 {
            let refused = desired(&mut held, &resnet).await.unwrap_err();
            assert_eq!(refused.code(), Code::Unavailable, "{refused}");
        }
        // Less than one query may hang, let alone fifty.
        assert!(asked.elapsed() < Duration::from_secs(5), "{:?}", asked.elapsed());
        reports.abort();
    }
}

#[tokio::test]
async fn x06_a_price_that_is_gone_or_ten_times_as_high_changes_no_number_and_is_told() {
    let prometheus = Prometheus::start(Answer::Series(vec![])).await;
    let server = Server::start_with(prometheus.config()).await;
    let (mut keda, mut front) = (server.keda().await, server.front("a").await);
    front.says(vec![demand("resnet", 50, 4)]).await;
    let resnet = trigger("resnet", &[("priceQuery", "spot"), ("onDemandUsdPerHour", "0.5")]);
    until_desired(&mut keda, &resnet, |value| value >= 1.0).await;
    let alone = desired(&mut keda, &resnet).await.unwrap();
    until(&server, |object| told(object, "the price signal is missing")).await;
    for (price, sentence) in [("0.15", None), ("1.5", Some("the price is 300 % of on-demand, for"))]
    {
        prometheus.answers(Answer::Series(vec![price]));
        front.says(vec![demand("resnet", 50, 4)]).await;
        let object = until(&server, |object| {
            object["readings"][0]["good"]["value"] == price.parse::<f64>().unwrap()
                && sentence.is_none_or(|sentence| told(object, sentence))
        });
        object.await;
        assert_eq!(desired(&mut keda, &resnet).await.unwrap(), alone, "at {price}");
    }
}
