//! The push loop of KEDA: activations and streamed specs, and what becomes of it when a scaler goes.

use std::collections::BTreeSet;

use jiff::SignedDuration;
use serde_json::Value;

use crate::{
    keda::{Keda, METRIC, Spec, Trigger, until},
    reading::demand,
    scaler::{Front, Scaler},
};

/// Of KEDA's own test of its push loop.
const SERVERS: usize = 5;
const STREAMS: usize = 500;

#[tokio::test(flavor = "multi_thread")]
async fn external_push_scaler_run_delivers_all_2500_activations_of_five_servers() {
    let keda = Keda::start();
    let names: Vec<String> = (0..STREAMS).map(|n| format!("service-{n}")).collect();
    let all = |held| names.iter().map(|name| demand(name, held, 0)).collect::<Vec<_>>();
    let mut servers = Vec::new();
    let mut opened = BTreeSet::new();
    for _ in 0..SERVERS {
        let scaler = Scaler::start(&[]).await;
        let front = Front::of(&scaler, all(0));
        for name in &names {
            let trigger = keda.open(Trigger::push(name, &scaler.grpc)).await.unwrap();
            keda.run(&trigger).await;
            opened.insert(trigger);
        }
        servers.push((scaler, front));
    }
    for (scaler, _) in &servers {
        for method in ["StreamIsActive", "StreamMetricSpec"] {
            let line = format!("spotscale_scaler_streams{{method=\"{method}\"}} {STREAMS}\n");
            scaler.until_metric(&line).await;
        }
    }
    assert_eq!(keda.activated(), [""; 0], "nothing is held yet");
    for (_, front) in &servers {
        front.says(all(1));
    }
    let activated = until("2,500 activations", async || {
        let activated: BTreeSet<String> = keda.activated().into_iter().collect();
        (activated.len() == SERVERS * STREAMS).then_some(activated)
    });
    assert_eq!(activated.await, opened);
}

#[tokio::test]
async fn stream_metric_spec_tells_the_spec_at_once_as_get_metric_spec_does_and_never_an_empty_one()
{
    let keda = Keda::start();
    // Streams end and are opened again every second: each time the spec comes anew.
    let scaler = Scaler::start(&["--stream-age-max=1s"]).await;
    let trigger = keda.open(Trigger::push("resnet", &scaler.grpc)).await.unwrap();
    let unary = keda.specs(&trigger).await.unwrap();
    let spec = Spec { name: METRIC.to_owned(), kind: "AverageValue".to_owned(), target: 1.0 };
    assert_eq!(unary, [spec]);
    keda.run(&trigger).await;
    let streamed = until("three specs", async || {
        let events = keda.events("specs", &trigger);
        (events.len() >= 3).then_some(events)
    });
    for event in streamed.await {
        let specs: Vec<Spec> = serde_json::from_value(event["specs"].clone()).unwrap();
        assert_eq!(specs, unary);
    }
    assert!(keda.events("specs_ended", &trigger).is_empty(), "KEDA takes it for unimplemented");
}

#[tokio::test]
async fn x01_a_clean_end_of_the_stream_resets_kedas_delay_and_a_crash_does_not() {
    let keda = Keda::start();
    let mut scaler = Scaler::start_alone("127.7.0.1").await;
    let _front = Front::of(&scaler, vec![demand("resnet", 1, 0)]);
    let trigger = keda.open(Trigger::push("resnet", &scaler.grpc)).await.unwrap();
    keda.run(&trigger).await;
    until("the first activation", async || keda.activated().first().cloned()).await;
    for _ in 0..3 {
        scaler.kill().await;
        activated_after_restart(&keda, &mut scaler).await;
    }
    let grown = delays(&keda);
    assert!(grown.len() >= 3, "{grown:?}");
    assert!(grown.windows(2).all(|pair| pair[0] < pair[1]), "a crash has reset it: {grown:?}");

    assert!(scaler.terminate().await.success());
    activated_after_restart(&keda, &mut scaler).await;
    let after = delays(&keda);
    assert_eq!(after[grown.len()], 2, "not reset: {after:?}");
}

#[tokio::test]
async fn x01_after_six_crashes_polling_still_answers() {
    let keda = Keda::start();
    let mut scaler = Scaler::start_alone("127.7.0.2").await;
    let _front = Front::of(&scaler, vec![demand("resnet", 3, 0)]);
    let trigger = keda.open(Trigger::push("resnet", &scaler.grpc)).await.unwrap();
    keda.run(&trigger).await;
    for _ in 0..6 {
        scaler.kill().await;
        keda.poll(&trigger, METRIC).await.unwrap_err();
        scaler.restart().await;
        let answer =
            until("an answer after a crash", async || keda.poll(&trigger, METRIC).await.ok());
        let answer = answer.await;
        assert!(answer.active && answer.values[0].value >= 1.0, "{answer:?}");
    }
}

/// Starts the scaler again and waits for what its push loop then tells.
async fn activated_after_restart(keda: &Keda, scaler: &mut Scaler) {
    let before = keda.activated().len();
    scaler.restart().await;
    until("an activation after the restart", async || {
        (keda.activated().len() > before).then_some(())
    })
    .await;
}

/// How long KEDA has waited before it opened the stream again, each time, in seconds.
fn delays(keda: &Keda) -> Vec<i64> {
    let seconds = |line: &Value| line["duration"].as_str().unwrap().parse::<SignedDuration>();
    let lines = keda.logged("StreamIsActive retry backoff");
    lines.iter().map(|line| seconds(line).unwrap().as_secs()).collect()
}
