//! From zero, again and again: how soon a held request has the Deployment scaled, and how long it still waits once the
//! replica is ready.

use std::time::{Duration, Instant};

use kube::api::{Patch, PatchParams};
use serde_json::json;
use spotscale_test_cluster::{tiny, until};
use tokio::time::sleep;

use crate::{install::Install, loss::ALONE, traffic::tiny_models};

const WAKES: usize = 8;
/// What is promised on a quiet machine, and printed. A busy one gets four times as long for half of the wakes.
const SCALED_WITHIN: Duration = Duration::from_secs(1);
const ANSWERED_WITHIN: Duration = Duration::from_millis(250);
const BUSY: u32 = 4;
/// KEDA polls more rarely than is asserted, so that only the push can be in time.
const POLL: u64 = 12;
const AT_WORST: Duration = Duration::from_secs(10);

#[tokio::test(flavor = "multi_thread")]
async fn a_held_request_scales_from_zero_at_once_and_is_answered_as_soon_as_the_replica_is_ready() {
    let _alone = ALONE.lock().await;
    let install = Install::new("cold").await;
    let values = json!({
        "scaler": {}, "front": { "preStopSeconds": 0 },
        "model": {
            "models": ["tiny=/models/logits.onnx"],
            "volume": { "hostPath": { "path": tiny_models() } },
            "trigger": { "idleAfterSeconds": "1", "shrinkWindowSeconds": "1", "coldStartSeconds": "5" },
        },
    });
    install.helm("install", values).await;
    install.introduce_the_scaler_to_keda().await;
    let quick = Patch::Merge(json!({ "spec": { "cooldownPeriod": 1, "pollingInterval": POLL } }));
    install
        .scaled_objects()
        .patch("spotscale-model", &PatchParams::default(), &quick)
        .await
        .unwrap();

    let (mut scaled, mut answered) = (Vec::new(), Vec::new());
    for _ in 0..WAKES {
        until("the model to sleep", || async {
            Ok(install.models_wanted().await == 0 && install.pods("model").is_empty())
        })
        .await
        .unwrap();
        let (to_scale, to_answer) = wake(&install).await;
        scaled.push(to_scale);
        answered.push(to_answer);
    }
    scaled.sort();
    answered.sort();
    println!("first held request to the scale patch: {scaled:?}");
    println!("replica ready to the answer: {answered:?}");
    assert!(scaled[WAKES / 2] < SCALED_WITHIN * BUSY, "{scaled:?}");
    assert!(answered[WAKES / 2] < ANSWERED_WITHIN * BUSY, "{answered:?}");
    // The others may meet a moment in which the machine does nothing for us.
    assert!(
        scaled[WAKES - 1] < AT_WORST && answered[WAKES - 1] < AT_WORST,
        "{scaled:?} {answered:?}"
    );
}

/// Sends one request; how long until the Deployment was scaled, and from the Pod's readiness to the answer.
async fn wake(install: &Install) -> (Duration, Duration) {
    let sent = Instant::now();
    let answer = async {
        assert_eq!(install.classify(&tiny::pixel(0)).await, Ok(200));
        Instant::now()
    };
    let scaled = async {
        while install.models_wanted().await == 0 {
            sleep(Duration::from_millis(5)).await;
        }
        sent.elapsed()
    };
    let ready = async {
        while !install.pods("model").iter().any(|pod| pod.ready) {
            sleep(Duration::from_millis(2)).await;
        }
        Instant::now()
    };
    let (answered, scaled, ready) = tokio::join!(answer, scaled, ready);
    (scaled, answered.saturating_duration_since(ready))
}
