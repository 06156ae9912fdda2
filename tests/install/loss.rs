//! A hundred thousand requests through the installed front, while model pods are deleted and killed and every role is
//! rolled: how many are lost. And that a loss is counted.

use std::{collections::BTreeMap, path::Path, sync::Arc, time::Duration};

use serde_json::{Value, json};
use spotscale_test_cluster::{kubelet::Signal, until};
use tokio::time::sleep;

use crate::{
    cluster::{kubectl, quiet},
    install::Install,
    traffic::{Traffic, tiny_models},
};

const REQUESTS: u64 = 100_000;
/// Bounds the search for a loss, which begins after so many requests; the first kill shows one.
const PLANTED: (u64, u64) = (2_000, 50_000);

/// Held by two tests of which one measures what the other's load would spoil.
pub(crate) static ALONE: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

/// Three replicas of a model that costs little, next to nothing of which is arithmetic.
fn values(folder: &Path) -> Value {
    json!({
        "scaler": {}, "front": { "preStopSeconds": 5 },
        "model": {
            "minReplicas": 3, "maxReplicas": 4,
            "models": ["tiny=/models/logits.onnx"],
            "volume": { "hostPath": { "path": folder } },
            "args": ["--threads=1"],
        },
    })
}

/// Until the traffic is over, one mishap after the other; how many there were of each kind.
async fn mishaps(install: &Install, traffic: &Traffic) -> BTreeMap<&'static str, usize> {
    let mut happened = BTreeMap::new();
    for kind in ["killed", "deleted", "fronts rolled", "scalers rolled"].into_iter().cycle() {
        let enough = || async {
            Ok(traffic.is_over() || install.ready_addresses("spotscale-model").await.len() >= 3)
        };
        until("three replicas of the model", enough).await.unwrap();
        if traffic.is_over() {
            break;
        }
        let pods = install.pods("model");
        let victim = &pods.iter().find(|pod| pod.ready).expect("three are ready").name;
        let namespace = &install.namespace;
        match kind {
            "killed" => assert!(install.kubelet.kill(namespace, victim, Signal::KILL) > 0),
            "deleted" => {
                on_a_thread(["delete", "pod", "-n", namespace, victim, "--wait=false"]).await;
            }
            "fronts rolled" => restart(install, "spotscale-front").await,
            _ => {
                restart(install, "spotscale-scaler").await;
                install.name_the_scalers_to_keda().await;
            }
        }
        *happened.entry(kind).or_default() += 1;
        sleep(Duration::from_secs(2)).await;
    }
    happened
}

/// Rolls a Deployment, and waits until that is done.
async fn restart(install: &Install, name: &str) {
    let deployment = format!("deployment/{name}");
    on_a_thread(["rollout", "restart", "-n", &install.namespace, &deployment]).await;
    on_a_thread(["rollout", "status", "-n", &install.namespace, &deployment, "--timeout=3m"]).await;
}

async fn on_a_thread<const N: usize>(args: [&str; N]) {
    let args = args.map(str::to_owned);
    let call = move || kubectl(&args.each_ref().map(String::as_str));
    quiet(&tokio::task::spawn_blocking(call).await.unwrap());
}

/// A release of the model that costs little, and requests for it.
async fn under_load(name: &str, values: Value, requests: u64) -> (Install, Arc<Traffic>) {
    let install = Install::new(name).await;
    install.helm("install", values).await;
    let traffic = Traffic::of(requests, &install).await;
    (install, traffic)
}

#[tokio::test(flavor = "multi_thread")]
async fn of_a_hundred_thousand_requests_none_is_lost_while_pods_die_and_every_role_is_rolled() {
    let _alone = ALONE.lock().await;
    let (install, traffic) = under_load("loss", values(tiny_models()), REQUESTS).await;
    install.introduce_the_scaler_to_keda().await;
    let start = std::time::Instant::now();
    let ((), mishaps) = tokio::join!(traffic.flow(&install), mishaps(&install, &traffic));
    let (lost, sent) = (traffic.lost(), traffic.sent());
    println!("{sent} requests, {mishaps:?}, {} lost, {:?}", lost.len(), start.elapsed());
    assert!(
        lost.is_empty(),
        "{} of {sent} were lost: {:#?}",
        lost.len(),
        &lost[..lost.len().min(20)]
    );
    assert!(mishaps.len() == 4 && mishaps.values().sum::<usize>() >= 8, "only {mishaps:?}");
    let is_asked = || async { Ok(install.is_asked_by_keda().await) };
    until("KEDA to follow the scalers to where they are now", is_asked).await.unwrap();
}

/// The same ground and the same count, with a front that may not send anything twice: what a killed pod had begun is
/// lost, and nothing else is.
#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_may_not_be_sent_twice_is_lost_with_its_pod_and_counted() {
    let mut values = values(tiny_models());
    values["front"]["idempotentPaths"] = json!([]);
    let (first, most) = PLANTED;
    let (install, traffic) = under_load("lossy", values, most).await;
    let killing = async {
        let mut kills = 0;
        while !traffic.is_over() && traffic.lost().is_empty() {
            sleep(Duration::from_millis(100)).await;
            if traffic.sent() < first {
                continue;
            }
            if let Some(victim) = install.pods("model").iter().find(|pod| pod.ready) {
                kills += install.kubelet.kill(&install.namespace, &victim.name, Signal::KILL);
            }
            sleep(Duration::from_millis(500)).await;
        }
        traffic.stop();
        kills
    };
    let ((), kills) = tokio::join!(traffic.flow(&install), killing);
    let (lost, sent) = (traffic.lost(), traffic.sent());
    println!("{sent} requests, {kills} kills, {} lost: {lost:#?}", lost.len());
    assert!(!lost.is_empty(), "{kills} kills have cost none of {sent} requests");
    assert!(lost.len() as u64 * 10 < sent, "{} of {sent} is no count of a few", lost.len());
}
