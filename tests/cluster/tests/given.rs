//! A cluster that is there already, as `SPOTSCALE_TEST_KUBECONFIG` names it, is used in place of one's own.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::{path::Path, process::Command};

use k8s_openapi::api::core::v1::Namespace;
use kube::Api;
use spotscale_test_cluster::{TestCluster, until};

const GIVEN: &str = "SPOTSCALE_TEST_KUBECONFIG";

/// Holds for a cluster of one's own and for one that was given.
#[tokio::test]
async fn a_namespace_can_be_made_and_keda_answers() {
    let cluster = TestCluster::shared();
    let (client, namespace) = (cluster.client().await, cluster.namespace("any").await);
    let request = http::Request::get("/apis/external.metrics.k8s.io/v1beta1").body(Vec::new());
    until("the metrics API", || async {
        let text = client.request_text(request.as_ref().unwrap().clone()).await?;
        Ok(text.contains("externalmetrics"))
    })
    .await
    .unwrap();
    let namespaces: Api<Namespace> = Api::all(client);
    assert!(namespaces.get_opt(&namespace).await.unwrap().is_some(), "{namespace}");
}

/// Needs processes of its own, so it says that it cannot run on a given cluster.
#[tokio::test]
#[ignore = "it is to fail, and only where a cluster is given"]
async fn a_given_cluster_lends_no_processes() {
    TestCluster::shared().plane();
}

#[test]
fn a_cluster_that_is_given_is_used_and_none_is_started() {
    let kubeconfig = TestCluster::shared().kubeconfig();
    let run = |test: &str, kubeconfig: &Path| {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", test, "--include-ignored", "--nocapture"]);
        // No programs to be found: it could not start anything.
        command.env(GIVEN, kubeconfig).env("SPOTSCALE_CLUSTER", "/nowhere");
        let output = command.env_remove("KUBEBUILDER_ASSETS").output().unwrap();
        let text = [output.stdout, output.stderr].concat();
        (output.status.success(), String::from_utf8_lossy(&text).into_owned())
    };
    let (passed, text) = run("a_namespace_can_be_made_and_keda_answers", kubeconfig);
    assert!(passed && text.contains("1 passed"), "{text}");
    let (passed, text) = run("a_given_cluster_lends_no_processes", kubeconfig);
    assert!(!passed && text.contains("run this test without it"), "{text}");
    let nowhere = Path::new("/nowhere");
    let (passed, text) = run("a_namespace_can_be_made_and_keda_answers", nowhere);
    assert!(!passed && text.contains("/nowhere is no kubeconfig"), "{text}");
}
