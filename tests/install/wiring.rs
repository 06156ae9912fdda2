//! How the parts of the chart find each other, and what lets them: addresses, rights, secrets, and who sets the number of
//! replicas.

use std::collections::BTreeSet;

use serde_json::json;
use spotscale_simulate::setup::Scaling;

use crate::{
    object::{find, of_kind},
    render::{render, try_render},
};

#[test]
fn what_a_release_may_read_is_named_by_namespace_and_account_and_by_nothing_else() {
    for namespace in ["a", "a-spotscale"] {
        let objects = try_render(&["--namespace", namespace]).unwrap();
        for kind in ["ClusterRole", "ClusterRoleBinding", "Role", "RoleBinding"] {
            let name = of_kind(&objects, kind).next().unwrap().name();
            // No name has a colon, so that no other pair reads the same.
            assert_eq!(name.split_once(':'), Some((namespace, "spotscale-front")), "{kind}");
        }
    }
}

#[test]
fn the_hpa_has_no_tolerance_where_kubernetes_can_do_without() {
    for (version, value, zero) in [
        ("1.34.9", "auto", false),
        ("1.35.0", "auto", true),
        ("1.36.1-eks-1234567", "auto", true),
        ("1.34.9", "always", true),
        ("1.36.0", "never", false),
    ] {
        let value = format!("model.hpaZeroTolerance={value}");
        let objects = try_render(&["--kube-version", version, "--set", &value]).unwrap();
        let behavior = find(&objects, "ScaledObject", "spotscale-model")
            .at("/spec/advanced/horizontalPodAutoscalerConfig/behavior");
        let expected = if zero { json!(0) } else { json!(null) };
        for direction in ["scaleUp", "scaleDown"] {
            assert_eq!(behavior[direction]["tolerance"], expected, "{version} {value}");
            assert_eq!(behavior[direction]["stabilizationWindowSeconds"], 0);
        }
    }
}

#[test]
fn the_simulated_scaled_object_waits_as_long_as_that_of_the_chart() {
    let objects = render(&[]);
    let scaled = find(&objects, "ScaledObject", "spotscale-model");
    let simulated = Scaling::chart(0, 20);
    for (key, span) in
        [("pollingInterval", simulated.polling), ("cooldownPeriod", simulated.cooldown)]
    {
        assert_eq!(scaled.at(&format!("/spec/{key}")), &json!(span.0 / 1000), "{key}");
    }
}

#[test]
fn what_was_never_active_is_spared_for_as_long_as_what_was() {
    let objects = render(&[]);
    let scaled = find(&objects, "ScaledObject", "spotscale-model");
    assert_eq!(scaled.at("/spec/initialCooldownPeriod"), scaled.at("/spec/cooldownPeriod"));
}

#[test]
fn replicas_are_held_by_keda_too_where_queries_decide_and_only_there() {
    let fallback = |values: &str| {
        let objects = render(&[values]);
        find(&objects, "ScaledObject", "spotscale-model").at("/spec/fallback/behavior").clone()
    };
    // A fallback keeps KEDA on a connection that has been failing, so nobody gets it for nothing.
    assert_eq!(fallback("log=info"), json!(null));
    for query in [
        "model.trigger.gpuQuery=avg(gpu)",
        "prometheus.queries.gpu=avg(gpu),model.trigger.gpuQueryRef=gpu",
        "model.trigger.priceQuery=avg(usd),model.trigger.onDemandUsdPerHour=1.006",
        "prometheus.queries.usd=avg(usd),model.trigger.priceQueryRef=usd,model.trigger.onDemandUsdPerHour=1.006",
    ] {
        let values = format!("prometheus.url=http://127.0.0.1:9,{query}");
        assert_eq!(fallback(&values), json!("currentReplicas"), "{query}");
    }
}

#[test]
fn keda_and_the_front_find_every_replica_of_the_scaler() {
    let objects = render(&[]);
    let service = find(&objects, "Service", "spotscale-scaler");
    assert_eq!(service.text("/spec/clusterIP"), "None");
    let host = "spotscale-scaler.spotscale.svc:6000";
    let front = find(&objects, "Deployment", "spotscale-front");
    assert_eq!(front.flag("scaler").unwrap(), format!("http://{host}"));
    let scaled = find(&objects, "ScaledObject", "spotscale-model");
    assert_eq!(scaled.text("/spec/triggers/0/metadata/scalerAddress"), host);
    let meant = scaled.text("/spec/triggers/0/metadata/service");
    assert_eq!(meant, front.flag("service").unwrap(), "they mean different services");
    assert_eq!(meant, "spotscale/spotscale-model");
}

#[test]
fn tls_gives_each_side_its_own_secrets_and_no_more() {
    let objects =
        render(&["tls.enabled=true,tls.mutual=true,tls.serverSecret=s,tls.clientSecret=c"]);
    assert_eq!(of_kind(&objects, "Certificate").count(), 0);
    let scaler = find(&objects, "Deployment", "spotscale-scaler");
    assert_eq!(scaler.flag("tls-client-ca").unwrap(), "/tls/ca.crt");
    assert_eq!(scaler.text("/spec/template/spec/volumes/0/secret/secretName"), "s");
    let front = find(&objects, "Deployment", "spotscale-front");
    assert!(front.flag("scaler").unwrap().starts_with("https://"));
    let sources = front.items("/spec/template/spec/volumes/0/projected/sources");
    assert_eq!(
        sources[0].at("/secret"),
        &json!({ "name": "s", "items": [{ "key": "ca.crt", "path": "ca.crt" }] })
    );
    assert_eq!(sources[1].text("/secret/name"), "c");
    let targets =
        find(&objects, "TriggerAuthentication", "spotscale-model").items("/spec/secretTargetRef");
    let targets: Vec<_> = targets
        .iter()
        .map(|one| (one.text("/parameter"), one.text("/name"), one.text("/key")))
        .collect();
    let expected = [
        ("caCert", "s", "ca.crt"),
        ("tlsClientCert", "c", "tls.crt"),
        ("tlsClientKey", "c", "tls.key"),
    ];
    assert_eq!(targets, expected);
}

#[test]
fn cert_manager_issues_the_secrets_that_are_mounted() {
    let objects = render(&["tls.enabled=true,tls.mutual=true,tls.issuer.name=own"]);
    let server = find(&objects, "Certificate", "spotscale-scaler");
    let scaled = find(&objects, "ScaledObject", "spotscale-model");
    let address = scaled.text("/spec/triggers/0/metadata/scalerAddress");
    assert_eq!(Some(server.text("/spec/dnsNames/0")), address.strip_suffix(":6000"));
    let mounted = find(&objects, "Deployment", "spotscale-scaler").clone();
    let mounted = mounted.text("/spec/template/spec/volumes/0/secret/secretName");
    assert_eq!(server.text("/spec/secretName"), mounted);
    let client = find(&objects, "Certificate", "spotscale-client");
    let sources = find(&objects, "Deployment", "spotscale-front")
        .items("/spec/template/spec/volumes/0/projected/sources");
    assert_eq!(client.text("/spec/secretName"), sources[1].text("/secret/name"));
}

#[test]
fn a_service_elsewhere_is_routed_to_read_and_reached() {
    let values = [
        "front.services[0].name=vision/detector,front.services[0].path=/detector",
        "front.services[0].backends[0].service=gpus/detector,front.services[0].backends[0].tier=gpu",
        "front.services[0].backends[1].service=cpus/detector,front.services[0].backends[1].port=8000",
    ];
    let objects = render(&values);
    let front = find(&objects, "Deployment", "spotscale-front");
    assert_eq!(front.flag("route").unwrap(), "vision/detector=/detector");
    let args = front.args();
    for wanted in [
        "--kubernetes-service=gpus/detector service=vision/detector tier=gpu",
        "--kubernetes-service=cpus/detector:8000 service=vision/detector",
    ] {
        assert!(args.iter().any(|arg| arg == wanted), "{wanted} is not in {args:?}");
    }
    let namespaces = |kind| -> BTreeSet<String> {
        of_kind(&objects, kind).map(|one| one.text("/metadata/namespace").to_owned()).collect()
    };
    let expected = ["cpus", "gpus", "spotscale"].map(str::to_owned).into();
    assert_eq!(namespaces("Role"), expected);
    assert_eq!(namespaces("RoleBinding"), expected);
}

#[test]
fn a_front_that_may_not_read_nodes_is_told_not_to() {
    let objects = render(&["front.watchNodes=false"]);
    assert_eq!(of_kind(&objects, "ClusterRole").count(), 0);
    assert_eq!(of_kind(&objects, "ClusterRoleBinding").count(), 0);
    let front = find(&objects, "Deployment", "spotscale-front");
    assert_eq!(front.flag("kubernetes-nodes").unwrap(), "false");
}

#[test]
fn pod_monitors_scrape_the_port_with_the_metrics() {
    assert_eq!(of_kind(&render(&[]), "PodMonitor").count(), 0);
    let objects = render(&["prometheus.podMonitors=true,prometheus.podMonitorLabels.release=main"]);
    for (role, port) in [("scaler", "admin"), ("front", "admin"), ("model", "http")] {
        let name = format!("spotscale-{role}");
        let monitor = find(&objects, "PodMonitor", &name);
        assert_eq!(monitor.text("/metadata/labels/release"), "main");
        assert_eq!(monitor.text("/spec/podMetricsEndpoints/0/port"), port);
        let labels = find(&objects, "Deployment", &name).strings("/spec/template/metadata/labels");
        let selector = monitor.strings("/spec/selector/matchLabels");
        assert!(selector.iter().all(|(key, value)| labels.get(key) == Some(value)), "{role}");
    }
}
