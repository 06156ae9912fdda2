//! What the autoscaler and its watchers on the nodes look like, under the values that change them.

use std::collections::BTreeSet;

use serde_json::json;

use crate::{
    object::{Object, find, of_kind},
    pods::assert_locked_down,
    render::{ON, WATCHERS, render},
};

fn autoscaler(values: &[&str]) -> Object {
    find(&render(&[&[ON], values].concat()), "Deployment", "spotscale-autoscaler").clone()
}

fn watcher(values: &[&str]) -> Object {
    find(&render(&[&[ON, WATCHERS], values].concat()), "DaemonSet", "spotscale-node").clone()
}

#[test]
fn nothing_of_it_is_there_unless_it_is_asked_for() {
    let component = "/metadata/labels/app.kubernetes.io~1component";
    let roles = |values: &[&str]| -> BTreeSet<String> {
        render(values).iter().map(|object| object.text(component).to_owned()).collect()
    };
    let default = roles(&["prometheus.rules=true,prometheus.podMonitors=true"]);
    assert!(!default.contains("autoscaler") && !default.contains("node"), "{default:?}");
    assert!(roles(&[ON]).contains("autoscaler") && !roles(&[ON]).contains("node"));
    assert!(roles(&[ON, WATCHERS]).contains("node"));
}

#[test]
fn its_pods_are_locked_down_bounded_and_probed() {
    assert_locked_down(&autoscaler(&[]), true);
    assert_locked_down(&watcher(&[]), true);
    assert_eq!(autoscaler(&[]).container().text("/resources/limits/memory"), "512Mi");
}

#[test]
fn one_of_two_is_always_there_and_they_are_apart() {
    let objects = render(&[ON]);
    let deployment = find(&objects, "Deployment", "spotscale-autoscaler");
    assert_eq!(deployment.at("/spec/replicas"), 2);
    let spread = deployment.items("/spec/template/spec/topologySpreadConstraints");
    let keys: Vec<_> = spread.iter().map(|one| one.text("/topologyKey")).collect();
    assert_eq!(keys, ["topology.kubernetes.io/zone", "kubernetes.io/hostname"]);
    let budget = find(&objects, "PodDisruptionBudget", "spotscale-autoscaler");
    assert_eq!(budget.at("/spec/maxUnavailable"), 1);
    let selector = budget.strings("/spec/selector/matchLabels");
    assert_eq!(selector, deployment.strings("/spec/template/metadata/labels"));
}

#[test]
fn the_table_of_machines_is_a_file_and_a_new_one_starts_new_pods() {
    let mounted = |on: &str| {
        let objects = render(&[on]);
        let pod = find(&objects, "Deployment", "spotscale-autoscaler").at("/spec/template").clone();
        let config = pod.pointer("/spec/volumes/0/configMap/name").unwrap().as_str().unwrap();
        let table = find(&objects, "ConfigMap", config).text("/data/machines.csv").to_owned();
        (table, pod)
    };
    let (table, pod) = mounted(ON);
    let lines: Vec<&str> = table.lines().collect();
    assert_eq!(lines.len(), 3, "{table}");
    assert!(lines[0].starts_with("instance_type,") && lines[2].starts_with("c7i.large,1,20,500,"));
    let path = find(&render(&[ON]), "Deployment", "spotscale-autoscaler").flag("machines-file");
    let folder = pod.pointer("/spec/containers/0/volumeMounts/0/mountPath").unwrap();
    assert_eq!(path.unwrap(), format!("{}/machines.csv", folder.as_str().unwrap()));
    // As a file has it: with an end of line at the end.
    assert_eq!(mounted(&format!("{ON}\n")), (table, pod.clone()));
    let (_, other) = mounted(&ON.replace("400", "380"));
    assert_ne!(other.pointer("/metadata/annotations"), pod.pointer("/metadata/annotations"));
}

#[test]
fn it_is_told_what_it_may_do_and_where_it_hears_of_notices() {
    let plain = autoscaler(&[]);
    assert!(!plain.args().iter().any(|arg| arg == "--dry-run"));
    assert_eq!(plain.flag("interruption-queue"), None);
    assert_eq!(plain.flag("node-selector").unwrap(), "spotscale.dev/pool");
    assert_eq!(plain.flag("lease").unwrap(), "spotscale-autoscaler");
    for (only_told, expected) in [("autoscaler.dryRun=true", 1), ("autoscaler.dryRun=false", 0)] {
        for pods in [autoscaler(&[only_told]), watcher(&[only_told])] {
            let dry = pods.args().into_iter().filter(|arg| arg == "--dry-run").count();
            assert_eq!(dry, expected, "{}", pods.name());
        }
    }
    assert_eq!(plain.flag("budget-per-hour"), None);
    assert_eq!(plain.flag("budget-per-month"), None);
    assert_eq!(plain.flag("on-interruption").unwrap(), "drain");
    assert_eq!(plain.flag("prometheus-url"), None);
    let told = autoscaler(&[
        "autoscaler.budgets.nodesMax=7,autoscaler.budgets.onDemandFloor=2",
        "autoscaler.budgets.perHour=12.5,autoscaler.budgets.perMonth=1000000",
        "autoscaler.reactions.interruption=cordon,autoscaler.reactions.maintenance=ignore",
        "autoscaler.reactions.rebalance=cordon",
        "autoscaler.baseline.instanceType=c7i.large,autoscaler.baseline.nodes=4",
        "autoscaler.aws.region=us-east-1",
        "prometheus.url=http://prometheus.monitoring:9090",
        "autoscaler.notices.queue.url=https://sqs.us-east-1.amazonaws.com/1/q",
    ]);
    for (flag, value) in [
        ("nodes-max", "7"),
        ("on-demand-floor", "2"),
        ("budget-per-hour", "12.500000"),
        ("budget-per-month", "1000000.000000"),
        ("on-interruption", "cordon"),
        ("on-maintenance", "ignore"),
        ("on-rebalance", "cordon"),
        ("baseline-type", "c7i.large"),
        ("baseline-nodes", "4"),
        ("aws-region", "us-east-1"),
        ("prometheus-url", "http://prometheus.monitoring:9090"),
        ("interruption-queue", "https://sqs.us-east-1.amazonaws.com/1/q"),
    ] {
        assert_eq!(told.flag(flag).as_deref(), Some(value), "{flag}");
    }
}

#[test]
fn the_role_of_its_account_can_be_named() {
    let role =
        r"autoscaler.serviceAccountAnnotations.eks\.amazonaws\.com/role-arn=arn:aws:iam::1:role/r";
    let objects = render(&[ON, role]);
    for account in of_kind(&objects, "ServiceAccount") {
        let annotated = account.at("/metadata/annotations") != &json!(null);
        assert_eq!(annotated, account.name() == "spotscale-autoscaler", "{}", account.name());
    }
}

#[test]
fn a_watcher_is_on_each_of_our_spot_nodes_whatever_is_wrong_with_it() {
    let terms = "/spec/template/spec/affinity/nodeAffinity/\
        requiredDuringSchedulingIgnoredDuringExecution/nodeSelectorTerms/0/matchExpressions";
    let spot = json!({ "key": "karpenter.sh/capacity-type", "operator": "In", "values": ["spot"] });
    let plain = watcher(&[]);
    let ours = json!({ "key": "spotscale.dev/pool", "operator": "Exists" });
    assert_eq!(plain.at(terms), &json!([ours, spot]));
    assert_eq!(plain.at("/spec/template/spec/tolerations"), &json!([{ "operator": "Exists" }]));
    assert_eq!(plain.at("/spec/template/spec/hostNetwork"), false);
    let named =
        watcher(&["autoscaler.nodes=team=vision\\,gpu,autoscaler.notices.node.hostNetwork=true"]);
    let team = json!({ "key": "team", "operator": "In", "values": ["vision"] });
    assert_eq!(named.at(terms), &json!([team, { "key": "gpu", "operator": "Exists" }, spot]));
    assert_eq!(named.at("/spec/template/spec/hostNetwork"), true);
}

#[test]
fn a_machine_is_given_back_if_it_has_all_labels_of_ours() {
    let named = "autoscaler.nodes=team=vision\\,gpu";
    let name = "spotscale.spotscale-autoscaler.nodeclaims.deleted";
    for (values, expected) in [
        (&[ON][..], &[r#""spotscale.dev/pool" in variables.labelsBefore"#][..]),
        (
            &[ON, named],
            &[
                r#""team" in variables.labelsBefore && variables.labelsBefore["team"] == "vision""#,
                r#""gpu" in variables.labelsBefore"#,
            ],
        ),
    ] {
        let objects = render(values);
        let policy = find(&objects, "ValidatingAdmissionPolicy", name);
        let operations = "/spec/matchConstraints/resourceRules/0/operations";
        assert_eq!(policy.at(operations), &json!(["DELETE"]));
        let asked = policy.items("/spec/validations");
        let asked: Vec<_> = asked.iter().map(|one| one.text("/expression").trim()).collect();
        assert_eq!(asked, expected);
        let binding = find(&objects, "ValidatingAdmissionPolicyBinding", name);
        assert_eq!(binding.at("/spec/validationActions"), &json!(["Deny"]));
    }
}

#[test]
fn what_may_be_patched_of_an_object_is_narrowed_by_a_policy() {
    let objects = render(&[ON, WATCHERS]);
    let mut patched = BTreeSet::new();
    for role in of_kind(&objects, "ClusterRole") {
        let account = role.name().rsplit_once(':').unwrap().1.to_owned();
        for rule in role.items("/rules") {
            let has =
                |at: &str, one: &str| rule.at(at).as_array().unwrap().iter().any(|x| x == one);
            // Ours as a whole, or nothing that anything hangs on.
            let harmless = has("/resources", "nodeoverlays") || has("/resources", "events");
            if !harmless && (has("/verbs", "patch") || has("/verbs", "update")) {
                let names = rule.at("/resources").as_array().unwrap().iter();
                patched
                    .extend(names.map(|name| (account.clone(), name.as_str().unwrap().to_owned())));
            }
        }
    }
    assert_eq!(patched.len(), 5, "{patched:?}");
    for (account, resource) in patched {
        let name = format!("spotscale.{account}.{resource}");
        let policy = find(&objects, "ValidatingAdmissionPolicy", &name);
        let rule = "/spec/matchConstraints/resourceRules/0";
        assert_eq!(policy.at(&format!("{rule}/resources")), &json!([resource]));
        let user = format!("\"system:serviceaccount:spotscale:{account}\"");
        assert!(policy.text("/spec/matchConditions/0/expression").contains(&user), "{name}");
        let binding = find(&objects, "ValidatingAdmissionPolicyBinding", &name);
        assert_eq!(binding.text("/spec/policyName"), name);
        assert_eq!(binding.at("/spec/validationActions"), &json!(["Deny"]));
    }
}

#[test]
fn both_are_scraped() {
    let objects = render(&[ON, WATCHERS, "prometheus.podMonitors=true"]);
    for role in ["autoscaler", "node"] {
        let monitor = find(&objects, "PodMonitor", &format!("spotscale-{role}"));
        assert_eq!(monitor.text("/spec/podMetricsEndpoints/0/port"), "admin");
    }
}
