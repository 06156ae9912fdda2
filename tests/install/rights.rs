//! What each account may do, as the API server answers when it is asked.

use std::collections::BTreeSet;

use spotscale_autoscaler::kubernetes::{RIGHTS, Right};
use spotscale_test_cluster::until;

use crate::{
    cluster::{cluster, helm, kubectl, quiet},
    render::{ON, WATCHERS},
};

/// What an account may do in a namespace beyond what every account may.
fn rights(account: (&str, &str), namespace: &str) -> BTreeSet<String> {
    let list = |(namespace_of, name): (&str, &str)| -> BTreeSet<String> {
        let user = format!("--as=system:serviceaccount:{namespace_of}:{name}");
        let args = ["auth", "can-i", "--list", "--no-headers", &user, "-n", namespace];
        let words = |line: &str| line.split_whitespace().collect::<Vec<_>>().join(" ");
        quiet(&kubectl(&args)).lines().map(words).collect()
    };
    let everybody = list(("kube-system", "nobody"));
    assert!(!everybody.is_empty());
    list(account).difference(&everybody).cloned().collect()
}

/// Waits until an account may do this and nothing else: RBAC is in force a moment after it is written.
async fn until_rights(account: (&str, &str), namespace: &str, expected: &BTreeSet<String>) {
    let so = || async {
        let now = rights(account, namespace);
        anyhow::ensure!(now == *expected, "{now:?} instead of {expected:?}");
        Ok(true)
    };
    until(&format!("the rights of {account:?} in {namespace}"), so).await.unwrap();
}

/// What RBAC gives to the autoscaler's account in a namespace, as [`RIGHTS`] says it.
fn expected(is_own: bool) -> BTreeSet<String> {
    let mut expected: BTreeSet<String> = BTreeSet::new();
    for Right { group, resource, verbs, own_namespace } in RIGHTS {
        let name = if group.is_empty() { resource.into() } else { format!("{resource}.{group}") };
        match own_namespace {
            false => drop(expected.insert(line(&name, "", verbs))),
            // What can be narrowed to the one object is.
            true if is_own => {
                let (create, others): (Vec<_>, Vec<_>) =
                    verbs.iter().copied().partition(|verb| *verb == "create");
                expected.insert(line(&name, "", &create));
                expected.insert(line(&name, "spotscale-autoscaler", &others));
            }
            true => {}
        }
    }
    expected
}

fn line(resource: &str, name: &str, verbs: &[&str]) -> String {
    format!("{resource} [] [{name}] [{}]", verbs.join(" "))
}

#[tokio::test(flavor = "multi_thread")]
async fn the_autoscaler_may_do_what_it_needs_and_nothing_else() {
    let cluster = cluster().await;
    let (own, other) = (cluster.namespace("acts").await, cluster.namespace("elsewhere").await);
    let install = ["install", "spotscale", "manifests/chart", "-n", &own, "--set", ON];
    quiet(&helm(&[install.as_slice(), &["--set", WATCHERS]].concat()));
    let account = (own.as_str(), "spotscale-autoscaler");
    until_rights(account, &own, &expected(true)).await;
    until_rights(account, &other, &expected(false)).await;
    let watcher = BTreeSet::from([line("nodes", "", &["get", "patch"])]);
    until_rights((&own, "spotscale-node"), &own, &watcher).await;
    for (verb, what, namespace) in [
        ("get", "secrets", &own),
        ("create", "pods", &own),
        ("create", "pods --subresource=exec", &other),
        ("update", "deployments", &other),
        ("patch", "deployments", &other),
        ("delete", "nodes", &other),
        ("patch", "nodes --subresource=status", &other),
        ("create", "nodeclaims.karpenter.sh", &other),
        ("delete", "nodepools.karpenter.sh", &other),
        ("update", "configmaps/another", &own),
        ("get", "configmaps/spotscale-autoscaler", &other),
        ("update", "leases.coordination.k8s.io/another", &own),
        ("create", "clusterrolebindings", &own),
        ("patch", "validatingadmissionpolicies", &own),
    ] {
        let user = format!("--as=system:serviceaccount:{own}:spotscale-autoscaler");
        let what: Vec<_> = what.split(' ').collect();
        let asked = ["auth", "can-i", verb, &user, "-n", namespace];
        let asked = kubectl(&[asked.as_slice(), &what].concat());
        let said = String::from_utf8_lossy(&asked.stdout).trim().to_owned();
        assert_eq!(said, "no", "{verb} {what:?} in {namespace}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_front_may_read_what_it_follows_and_the_others_nothing() {
    let cluster = cluster().await;
    let (own, other) = (cluster.namespace("own").await, cluster.namespace("other").await);
    let service = format!("front.services[0].name={other}/detector,front.services[0].path=/x");
    quiet(&helm(&["install", "rights", "manifests/chart", "-n", &own, "--set", &service]));
    let nodes = "nodes [] [] [list watch]".to_owned();
    let slices = "endpointslices.discovery.k8s.io [] [] [list watch]".to_owned();
    let both = BTreeSet::from([nodes.clone(), slices.clone()]);
    let front = (own.as_str(), "rights-spotscale-front");
    until_rights(front, &own, &both).await;
    until_rights(front, &other, &both).await;
    until_rights(front, "kube-system", &[nodes].into()).await;
    for role in ["scaler", "model"] {
        let account = format!("rights-spotscale-{role}");
        quiet(&kubectl(&["get", "serviceaccount", &account, "-n", &own]));
        until_rights((&own, &account), &own, &BTreeSet::new()).await;
    }
    let blind = ["--set", "front.watchNodes=false"];
    quiet(&helm(
        &[&["upgrade", "rights", "manifests/chart", "-n", &own], blind.as_slice()].concat(),
    ));
    until_rights(front, &own, &[slices].into()).await;
    // Nothing outlives the service.
    until_rights(front, &other, &BTreeSet::new()).await;
}
