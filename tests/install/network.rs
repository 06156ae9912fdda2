//! Who may call whom, as the `NetworkPolicies` say it: a small reading of their rules, held against what each role needs.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::{
    object::{Object, find, of_kind},
    render::{ON, WATCHERS, render},
};

/// One end of a connection.
struct Peer {
    namespace: &'static str,
    labels: BTreeMap<String, String>,
    /// The named ports, of a pod of the chart.
    ports: BTreeMap<String, u64>,
}

fn peer(objects: &[Object], name: &'static str) -> Peer {
    let (mut labels, mut ports) = (BTreeMap::new(), BTreeMap::new());
    let namespace = match name {
        "scaler" | "front" | "model" | "autoscaler" | "node" => {
            let kind = if name == "node" { "DaemonSet" } else { "Deployment" };
            let deployment = find(objects, kind, &format!("spotscale-{name}"));
            labels = deployment.strings("/spec/template/metadata/labels");
            for port in deployment.container().items("/ports") {
                let number = port.at("/containerPort").as_u64().unwrap();
                ports.insert(port.text("/name").to_owned(), number);
            }
            "spotscale"
        }
        namespace => namespace,
    };
    Peer { namespace, labels, ports }
}

/// Whether a connection is let through at both ends.
fn passes(objects: &[Object], from: &'static str, to: &'static str, port: u64) -> bool {
    let (from, to) = (peer(objects, from), peer(objects, to));
    is_allowed(objects, ("Egress", &from), &to, (port, &to))
        && is_allowed(objects, ("Ingress", &to), &from, (port, &to))
}

/// Whether the policies of `own` let it speak with `other` in this direction; all is well where none selects it.
fn is_allowed(
    objects: &[Object],
    (direction, own): (&str, &Peer),
    other: &Peer,
    (port, server): (u64, &Peer),
) -> bool {
    let (rules, peers) =
        if direction == "Egress" { ("/spec/egress", "/to") } else { ("/spec/ingress", "/from") };
    let mut selecting = of_kind(objects, "NetworkPolicy")
        .filter(|policy| {
            let types = policy.at("/spec/policyTypes").as_array().unwrap();
            policy.text("/metadata/namespace") == own.namespace
                && types.iter().any(|one| one == direction)
                && matches(&policy.strings("/spec/podSelector/matchLabels"), &own.labels)
        })
        .peekable();
    let is_free = selecting.peek().is_none();
    let fits = |rule: &Object, namespace: &str| {
        let is_peer = |one: &Object| is_peer(one, namespace, other);
        let is_port = |one: &Object| match one.at("/port") {
            Value::String(name) => server.ports.get(name) == Some(&port),
            number => number == port,
        };
        (rule.at(peers).is_null() || rule.items(peers).iter().any(is_peer))
            && (rule.at("/ports").is_null() || rule.items("/ports").iter().any(is_port))
    };
    let allows = |policy: &Object| {
        let namespace = policy.text("/metadata/namespace");
        policy.items(rules).iter().any(|rule| fits(rule, namespace))
    };
    is_free || selecting.any(allows)
}

fn is_peer(selector: &Object, own_namespace: &str, peer: &Peer) -> bool {
    let pod = matches(&selector.strings("/podSelector/matchLabels"), &peer.labels);
    let namespace = match selector.at("/namespaceSelector") {
        Value::Null => selector.at("/ipBlock").is_null() && peer.namespace == own_namespace,
        _ => selector
            .strings("/namespaceSelector/matchLabels")
            .get("kubernetes.io/metadata.name")
            .is_none_or(|name| name == peer.namespace),
    };
    pod && namespace
}

fn matches(wanted: &BTreeMap<String, String>, labels: &BTreeMap<String, String>) -> bool {
    wanted.iter().all(|(key, value)| labels.get(key) == Some(value))
}

/// Asserts who gets through; everybody else on the list of callers does not.
fn assert_callers(objects: &[Object], to: &'static str, port: u64, callers: &[&str]) {
    for from in ["keda", "monitoring", "default", "scaler", "front", "model"] {
        let passes = passes(objects, from, to, port);
        assert_eq!(passes, callers.contains(&from), "{from} to port {port} of {to}");
    }
}

#[test]
fn each_port_is_open_to_those_who_need_it() {
    let objects = render(&[]);
    assert_callers(&objects, "scaler", 6000, &["keda", "front"]);
    assert_callers(&objects, "scaler", 6001, &[]);
    assert_callers(&objects, "scaler", 8091, &["monitoring"]);
    assert_callers(&objects, "front", 8080, &["keda", "monitoring", "default"]);
    assert_callers(&objects, "front", 8092, &["monitoring"]);
    assert_callers(&objects, "model", 8000, &["monitoring", "front"]);
    assert_callers(&objects, "model", 8001, &["front"]);
}

#[test]
fn the_roles_reach_what_they_need_and_nothing_else() {
    let objects = render(&["prometheus.url=http://prometheus.example.com:9091", ON]);
    let elsewhere = "elsewhere";
    for (from, to, port, expected) in [
        ("scaler", "kube-system", 53, true),
        ("front", "kube-system", 53, true),
        ("model", "kube-system", 53, false),
        ("front", elsewhere, 6443, true),
        ("scaler", elsewhere, 6443, false),
        ("model", elsewhere, 443, false),
        ("scaler", "monitoring", 8428, true),
        ("scaler", elsewhere, 9091, true),
        ("scaler", elsewhere, 80, false),
        ("autoscaler", "monitoring", 8428, true),
        ("autoscaler", elsewhere, 9091, true),
        ("front", elsewhere, 8000, false),
    ] {
        assert_eq!(passes(&objects, from, to, port), expected, "{from} to port {port} of {to}");
    }
    let without = render(&[ON]);
    for role in ["scaler", "autoscaler"] {
        assert!(!passes(&without, role, "monitoring", 9090), "no Prometheus is configured");
    }
}

#[test]
fn the_autoscaler_reaches_the_api_server_and_aws_and_is_scraped() {
    let objects = render(&[ON, WATCHERS]);
    let elsewhere = "elsewhere";
    for (from, to, port, expected) in [
        ("autoscaler", "kube-system", 53, true),
        ("autoscaler", elsewhere, 443, true),
        ("autoscaler", elsewhere, 6443, true),
        ("autoscaler", elsewhere, 80, false),
        ("autoscaler", "model", 8000, false),
        ("monitoring", "autoscaler", 9404, true),
        ("front", "autoscaler", 9404, false),
        ("node", elsewhere, 6443, true),
        ("node", elsewhere, 80, false),
        ("monitoring", "node", 9405, true),
        ("default", "node", 9405, false),
    ] {
        assert_eq!(passes(&objects, from, to, port), expected, "{from} to port {port} of {to}");
    }
    // Link-local addresses of the machine, which are no pods.
    for (role, address) in [("autoscaler", "169.254.170.23/32"), ("node", "169.254.169.254/32")] {
        let policy = find(&objects, "NetworkPolicy", &format!("spotscale-{role}"));
        let rules = policy.items("/spec/egress");
        let to_it = rules.iter().filter(|rule| rule.text("/to/0/ipBlock/cidr") == address);
        let ports: Vec<_> = to_it.map(|rule| rule.at("/ports/0/port").clone()).collect();
        assert_eq!(ports, [80], "{role}");
    }
}

#[test]
fn the_port_of_prometheus_is_that_of_its_url() {
    for (url, port) in [
        ("http://prometheus", 80),
        ("https://prometheus.example.com/path", 443),
        ("https://user:secret@prometheus.example.com:8443/path", 8443),
    ] {
        let objects = render(&[&format!("prometheus.url={url}")]);
        assert!(passes(&objects, "scaler", "elsewhere", port), "{url}");
        assert!(!passes(&objects, "scaler", "elsewhere", 9090), "{url}");
    }
}

#[test]
fn the_front_reaches_the_namespaces_of_its_services() {
    let objects = render(&["front.services[0].name=vision/detector,front.services[0].path=/x"]);
    assert!(passes(&objects, "front", "vision", 9000));
    assert!(!passes(&objects, "front", "speech", 9000));
}

#[test]
fn the_ports_of_the_api_server_and_of_the_name_service_can_be_named() {
    let objects = render(&["networkPolicy.apiServerPorts={8443},networkPolicy.dnsPorts={5353}"]);
    for (from, port, expected) in [
        ("front", 8443, true),
        ("front", 6443, false),
        ("front", 5353, true),
        ("scaler", 5353, true),
        ("scaler", 53, false),
    ] {
        assert_eq!(passes(&objects, from, "elsewhere", port), expected, "{from} to {port}");
    }
}

#[test]
fn clients_and_other_namespaces_can_be_named() {
    let clients = "networkPolicy.clients[0].namespaceSelector.matchLabels.kubernetes\\.io/metadata\\.name=default";
    let objects = render(&[clients, "keda.namespace=autoscaling,prometheus.namespace=metrics"]);
    assert_callers(&objects, "front", 8080, &["default"]);
    assert_callers(&objects, "scaler", 6000, &["front"]);
    assert!(passes(&objects, "autoscaling", "scaler", 6000));
    assert!(passes(&objects, "metrics", "front", 8092));
    assert_eq!(of_kind(&render(&["networkPolicy.enabled=false"]), "NetworkPolicy").count(), 0);
}
