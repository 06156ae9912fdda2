//! A real API server takes everything without a warning, under Pod Security `restricted`, and keeps nothing of it.

use std::{collections::BTreeSet, process::Output};

use spotscale_test_cluster::{
    TestCluster,
    apply::{define, documents},
    found,
    parts::part,
    until,
};
use tokio::sync::OnceCell;

use crate::render::{ON, WATCHERS, run, source};

/// The cluster, with the definitions of other projects.
pub(crate) async fn cluster() -> &'static TestCluster {
    static PREPARED: OnceCell<&TestCluster> = OnceCell::const_new();
    let prepare = || async {
        let cluster = TestCluster::shared();
        let client = cluster.client().await;
        for entry in part("SPOTSCALE_CRDS").read_dir().unwrap() {
            let text = std::fs::read_to_string(entry.unwrap().path()).unwrap();
            define(&client, &documents(&text).unwrap()).await.unwrap();
        }
        cluster
    };
    PREPARED.get_or_init(prepare).await
}

pub(crate) fn helm(args: &[&str]) -> Output {
    run("helm", args, TestCluster::shared().kubeconfig())
}

pub(crate) fn kubectl(args: &[&str]) -> Output {
    run("kubectl", args, TestCluster::shared().kubeconfig())
}

/// What a call printed, which must have succeeded without a word on standard error.
pub(crate) fn quiet(output: &Output) -> String {
    said(output).unwrap()
}

/// The same; an error where it must not be one yet, while a server of another API group is slow to tell its kinds.
fn said(output: &Output) -> anyhow::Result<String> {
    let (said, complained) =
        (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    anyhow::ensure!(output.status.success(), "{said}\n{complained}");
    anyhow::ensure!(complained.is_empty(), "warnings, or worse: {complained}");
    Ok(said.into_owned())
}

/// Makes a namespace refuse pods that are not `restricted`, and warn of what would make such pods.
pub(crate) fn restrict(namespace: &str) {
    let level = |mode: &str| format!("pod-security.kubernetes.io/{mode}=restricted");
    quiet(&kubectl(&["label", "namespace", namespace, &level("enforce"), &level("warn")]));
}

/// Waits until the API server has admitted the pods of a role.
async fn until_pods(namespace: &str, role: &str, count: usize) {
    let selector = format!("--selector=app.kubernetes.io/component={role}");
    let condition = || async {
        let listed = said(&kubectl(&["get", "pods", "-n", namespace, &selector, "-o", "name"]))?;
        Ok(listed.lines().count() == count)
    };
    until(&format!("{count} pods of {role} in {namespace}"), condition).await.unwrap();
}

/// The objects of a namespace that were not there when it was new. Not asked for: events, which end by themselves, and
/// Endpoints, whose reading is a warning.
fn leftovers(namespace: &str) -> anyhow::Result<BTreeSet<String>> {
    let kinds = said(&kubectl(&["api-resources", "--namespaced", "--verbs=list", "-o", "name"]))?;
    let is_asked = |kind: &&str| !kind.starts_with("events") && *kind != "endpoints";
    let kinds: Vec<_> = kinds.lines().filter(is_asked).collect();
    let listed =
        kubectl(&["get", &kinds.join(","), "-n", namespace, "-o", "name", "--ignore-not-found"]);
    let of_kubernetes = ["configmap/kube-root-ca.crt", "serviceaccount/default"];
    let listed = said(&listed)?;
    let own = listed.lines().filter(|name| !of_kubernetes.contains(name));
    Ok(own.map(str::to_owned).collect())
}

/// Waits until a release has left nothing behind.
pub(crate) async fn until_gone(namespace: &str, release: &str) {
    let selector = format!("--selector=app.kubernetes.io/instance={release}");
    let condition = || async {
        let kinds = "clusterroles,clusterrolebindings,validatingadmissionpolicies,\
            validatingadmissionpolicybindings";
        let cluster_wide = kubectl(&["get", kinds, &selector, "-o", "name"]);
        let left = leftovers(namespace)?;
        anyhow::ensure!(left.is_empty(), "left behind: {left:?}");
        let cluster_wide = said(&cluster_wide)?;
        // Other tests have releases of that name, in other namespaces.
        let is_ours =
            |line: &&str| line.split_once('/').is_some_and(|(_, name)| name.starts_with(namespace));
        let left: Vec<_> = cluster_wide.lines().filter(is_ours).collect();
        anyhow::ensure!(left.is_empty(), "left behind: {left:?}");
        Ok(true)
    };
    until(&format!("{namespace} to be empty"), condition).await.unwrap();
}

/// The arguments of the README's line, for a release and a namespace of another name.
fn of_readme(release: &str, namespace: &str) -> Vec<String> {
    let readme = std::fs::read_to_string(source("README.md")).unwrap();
    let line =
        readme.lines().find_map(|line| line.strip_prefix("helm install spotscale ")).unwrap();
    assert!(line.contains(" -n spotscale "), "{line}");
    let line = line.replace(" -n spotscale ", &format!(" -n {namespace} "));
    let line = line.replace("REGISTRY", "registry.example");
    let words = ["install", release].into_iter().chain(line.split(' '));
    words.map(str::to_owned).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn helm_installs_upgrades_and_uninstalls_without_a_trace() {
    let namespace = cluster().await.namespace("helm").await;
    restrict(&namespace);
    let chart = ["manifests/chart", "--namespace", &namespace];
    let lies_there = || found("what lies there", || async { leftovers(&namespace).map(Some) });
    let before = lies_there().await.unwrap();
    assert!(before.is_empty(), "{before:?}");
    let line = of_readme("demo", &namespace);
    let notes = quiet(&helm(&line.iter().map(String::as_str).collect::<Vec<_>>()));
    assert!(notes.contains("port-forward service/demo-spotscale-front"), "{notes}");
    for (role, count) in [("scaler", 2), ("front", 2), ("model", 1)] {
        until_pods(&namespace, role, count).await;
    }
    let changes = [
        "--set=model.gpuResource=nvidia.com/gpu,prometheus.podMonitors=true,ipv6=true",
        "--set=tls.enabled=true,tls.mutual=true,tls.issuer.name=own,scaler.replicas=3",
        "--set=front.service.type=LoadBalancer,model.volume.image.reference=models:1",
        &format!("--set={ON},{WATCHERS},prometheus.rules=true,prometheus.dashboards=true"),
    ];
    quiet(&helm(&[&["upgrade", "demo"], chart.as_slice(), &changes].concat()));
    until_pods(&namespace, "scaler", 4).await;
    until_pods(&namespace, "autoscaler", 2).await;
    let there = lies_there().await.unwrap();
    for kind in ["podmonitor", "prometheusrule", "daemonset"] {
        assert!(there.iter().any(|name| name.starts_with(kind)), "no {kind}");
    }
    quiet(&helm(&["uninstall", "demo", "--namespace", &namespace, "--wait"]));
    until_gone(&namespace, "demo").await;
}
