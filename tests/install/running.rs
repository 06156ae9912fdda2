//! What the chart installs, at work: it sleeps, wakes, is upgraded under load, and speaks TLS.

use std::path::Path;

use bytes::Bytes;
use futures::future::join;
use serde_json::{Value, json};
use spotscale_test_cluster::{kubelet::Running, parts::part, pki::Authority, until};
use tokio::sync::oneshot;

use crate::{
    cluster::{kubectl, quiet},
    install::Install,
};

/// The model that is at hand, with an idle time that a test can wait for.
fn values() -> Value {
    let model = part("SPOTSCALE_MODEL");
    let (folder, name) = (model.parent().unwrap(), model.file_name().unwrap().to_str().unwrap());
    json!({
        "scaler": {}, "front": { "preStopSeconds": 3 },
        "model": {
            "models": [format!("resnet50=/models/{name}")],
            "volume": { "hostPath": { "path": folder } },
            "trigger": { "idleAfterSeconds": "1", "coldStartSeconds": "60" },
        },
    })
}

pub(crate) fn picture() -> Bytes {
    std::fs::read(part("SPOTSCALE_PICTURES").join("coins.png")).unwrap().into()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_wakes_the_model_and_an_upgrade_loses_none() {
    let install = Install::new("running").await;
    install.helm("install", values()).await;
    for front in install.pods("front") {
        install.assert_follows_the_cluster(&front).await;
    }
    install.introduce_the_scaler_to_keda().await;
    until("the model to sleep", || async {
        Ok(install.models_wanted().await == 0 && install.pods("model").is_empty())
    })
    .await
    .unwrap();
    let picture = picture();
    assert_eq!(install.classify(&picture).await, Ok(200), "{:#?}", install.kubelet.pods());

    // Something that every role shows in its arguments, so that all pods are replaced.
    let mut changed = values();
    changed["log"] = json!("info,h2=warn");
    let before = install.pods("front");
    let (upgraded, mut done) = oneshot::channel();
    let upgrade = async {
        install.helm("upgrade", changed).await;
        upgraded.send(()).unwrap();
    };
    let client = async {
        let mut answers = Vec::new();
        while done.try_recv().is_err() {
            answers.push(install.classify(&picture).await);
        }
        answers
    };
    let ((), answers) = join(upgrade, client).await;
    let lost: Vec<_> = answers.iter().filter(|answer| **answer != Ok(200)).collect();
    assert!(lost.is_empty(), "{} of {} were lost: {lost:?}", lost.len(), answers.len());
    assert!(answers.len() > 20, "only {} requests", answers.len());
    let is_old = |pod: &Running| before.iter().any(|old| old.name == pod.name && pod.ready);
    until("the old fronts to end", || async { Ok(!install.pods("front").iter().any(is_old)) })
        .await
        .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn with_mutual_tls_every_front_reports_to_every_scaler_and_keda_asks() {
    let install = Install::new("mtls").await;
    let folder = install.folder.path().join("pki");
    let authority = Authority::new(&folder, "spotscale").unwrap();
    let host = format!("spotscale-scaler.{}.svc", install.namespace);
    for (name, hosts) in [("server", vec![host.as_str()]), ("client", vec![])] {
        let pair = authority.issue(&folder, name, (name, None), &hosts).unwrap();
        let file = |key: &str, path: &Path| format!("--from-file={key}={}", path.display());
        quiet(&kubectl(
            &[
                &["create", "secret", "generic", name, "-n", &install.namespace],
                [
                    file("tls.crt", &pair.cert).as_str(),
                    &file("tls.key", &pair.key),
                    &file("ca.crt", &authority.file),
                ]
                .as_slice(),
            ]
            .concat(),
        ));
    }
    let mut values = values();
    values["tls"] = json!({
        "enabled": true, "mutual": true, "serverSecret": "server", "clientSecret": "client",
    });
    install.helm("install", values).await;
    let scalers = install.pods("scaler");
    assert_eq!(scalers.len(), 2);
    let service = format!("{}/spotscale-model", install.namespace);
    let wanted = format!("spotscale_scaler_fronts{{service=\"{service}\"}} 2");
    for scaler in &scalers {
        until(&format!("two fronts at {}", scaler.name), || async {
            Ok(install.get(scaler, 8091, "/metrics").await.contains(&wanted))
        })
        .await
        .unwrap();
    }
    install.introduce_the_scaler_to_keda().await;
}
