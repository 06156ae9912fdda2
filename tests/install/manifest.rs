//! `install.yaml` as `kubectl apply` takes it: what it starts becomes ready, and answers.

use serde_json::json;
use spotscale_test_cluster::{kubelet::Image, parts::part};

use crate::{
    cluster::{cluster, kubectl, quiet, restrict, until_gone},
    install::{Install, LABEL, image},
    object::of_kind,
    render::{examples, file},
    running::picture,
};

const MANIFEST: &str = "manifests/install.yaml";
const APPLY: [&str; 4] = ["apply", "--server-side", "--validate=strict", "--filename"];

/// Puts the model where the manifest has it, and becomes the program.
const WITH_MODEL: &str =
    r#"mkdir -p /models && ln -s "$TEST_MODEL" /models/resnet50-v1-12.onnx && exec "$0" "$@""#;

/// An image that has the model in it, as `install.yaml` expects of one.
fn with_model() -> Image {
    let mut image = image().env("TEST_MODEL", &part("SPOTSCALE_MODEL").display().to_string());
    image.entrypoint.splice(0..0, ["/bin/sh", "-c", WITH_MODEL].map(str::to_owned));
    image
}

/// The manifest does not say on which machines its pods run: the namespace does.
fn place(namespace: &str) {
    let tolerations = json!([{ "key": LABEL, "operator": "Exists" }]);
    let annotation =
        |name: &str, value: &str| format!("scheduler.alpha.kubernetes.io/{name}={value}");
    quiet(&kubectl(&["create", "namespace", namespace]));
    quiet(&kubectl(&[
        "annotate",
        "namespace",
        namespace,
        &annotation("node-selector", &format!("{LABEL}={namespace}")),
        &annotation("defaultTolerations", &tolerations.to_string()),
    ]));
}

#[tokio::test(flavor = "multi_thread")]
async fn kubectl_applies_install_yaml_all_of_it_becomes_ready_and_a_picture_is_answered() {
    cluster().await;
    let namespace = "spotscale";
    place(namespace);
    let install = Install::within(namespace.to_owned(), with_model()).await;
    quiet(&kubectl(&[APPLY.as_slice(), &[MANIFEST]].concat()));
    for deployment in of_kind(&file(MANIFEST), "Deployment") {
        let name = format!("deployment/{}", deployment.name());
        quiet(&kubectl(&["rollout", "status", "-n", namespace, &name, "--timeout=3m"]));
    }
    for (role, count) in [("scaler", 2), ("front", 2), ("model", 1)] {
        let pods = install.pods(role);
        assert!(pods.len() == count && pods.iter().all(|pod| pod.ready), "{role}: {pods:#?}");
    }
    install.introduce_the_scaler_to_keda().await;
    assert_eq!(install.classify(&picture()).await, Ok(200), "{:#?}", install.kubelet.pods());

    every_example_would_do_beside_it();
    quiet(&kubectl(&["delete", "--filename", MANIFEST]));
    until_gone(namespace, "spotscale").await;
}

fn every_example_would_do_beside_it() {
    quiet(&kubectl(&["create", "namespace", "vision"]));
    restrict("vision");
    for example in examples() {
        let said = quiet(&kubectl(&[APPLY.as_slice(), &[&example, "--dry-run=server"]].concat()));
        assert!(said.contains("(server dry run)"), "{example}: {said}");
    }
}
