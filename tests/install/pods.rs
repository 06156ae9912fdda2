//! What the pods of the chart look like, under the values that change them.

use std::{collections::BTreeSet, time::Duration};

use serde_json::json;

use crate::{
    object::{Object, find, of_kind},
    render::render,
};

/// Everything that is off by default.
const ALL_ON: [&str; 5] = [
    "model.gpuResource=nvidia.com/gpu,model.volume.emptyDir.sizeLimit=1Gi",
    "tls.enabled=true,tls.mutual=true,tls.issuer.name=own",
    "prometheus.podMonitors=true,prometheus.url=http://prometheus:9090",
    "front.service.type=LoadBalancer,front.services[0].name=a/b,front.services[0].host=b",
    "priorityClassName=high,imagePullSecrets[0]=registry",
];

fn deployment(values: &[&str], role: &str) -> Object {
    find(&render(values), "Deployment", &format!("spotscale-{role}")).clone()
}

/// Asserts what every pod of a Deployment or a `DaemonSet` must be; `calls_api_server` tells whether it has a token.
pub(crate) fn assert_locked_down(of: &Object, calls_api_server: bool) {
    let (name, container) = (of.name(), of.container());
    assert_eq!(of.at("/spec/template/spec/securityContext/runAsNonRoot"), true, "{name}");
    assert_eq!(container.at("/securityContext/readOnlyRootFilesystem"), true, "{name}");
    let writable: Vec<_> = container
        .items("/volumeMounts")
        .into_iter()
        .filter(|mount| mount.at("/readOnly") != true)
        .map(|mount| mount.text("/mountPath").to_owned())
        .collect();
    assert!(writable.iter().all(|path| path == "/tmp"), "{name}: {writable:?}");
    let mounts = of.at("/spec/template/spec/automountServiceAccountToken");
    assert_eq!(mounts, calls_api_server, "{name}");
    for bound in ["requests/cpu", "requests/memory", "limits/memory"] {
        assert!(container.at(&format!("/resources/{bound}")).is_string(), "{name} {bound}");
    }
    for probe in ["startupProbe", "readinessProbe", "livenessProbe"] {
        assert!(container.at(&format!("/{probe}")).is_object(), "{name} {probe}");
    }
}

#[test]
fn every_pod_is_locked_down_bounded_and_probed() {
    for values in [[].as_slice(), &ALL_ON] {
        let objects = render(values);
        assert_eq!(of_kind(&objects, "Deployment").count(), 3);
        for deployment in of_kind(&objects, "Deployment") {
            assert_locked_down(deployment, deployment.name() == "spotscale-front");
        }
    }
}

#[test]
fn the_ports_of_a_pod_are_those_that_it_listens_on() {
    for deployment in of_kind(&render(&[]), "Deployment") {
        let listens = deployment.args().into_iter().filter(|arg| arg.contains("listen="));
        let listens: BTreeSet<u64> =
            listens.map(|arg| arg.rsplit_once(':').unwrap().1.parse().unwrap()).collect();
        let ports = deployment.container().items("/ports").into_iter();
        let ports: BTreeSet<_> =
            ports.map(|port| port.at("/containerPort").as_u64().unwrap()).collect();
        assert_eq!(listens, ports, "{}", deployment.name());
    }
}

#[test]
fn a_pod_outlives_its_own_drain_and_a_front_what_it_holds() {
    let patient = ["front.timeoutSeconds=900,front.preStopSeconds=60,model.drainSeconds=300"];
    let hasty = ["front.preStopSeconds=0"];
    for values in [[].as_slice(), &patient, &hasty] {
        for deployment in of_kind(&render(values), "Deployment") {
            let seconds =
                |value: &serde_json::Value| Duration::from_secs(value.as_u64().unwrap_or(0));
            let grace = seconds(deployment.at("/spec/template/spec/terminationGracePeriodSeconds"));
            let container = deployment.container();
            let hook = seconds(container.at("/lifecycle/preStop/sleep/seconds"));
            let drain = deployment.flag_duration("drain-timeout");
            assert!(grace > hook + drain, "{}: {grace:?} {hook:?} {drain:?}", deployment.name());
        }
        let front = find(&render(values), "Deployment", "spotscale-front").clone();
        assert!(front.flag_duration("drain-timeout") >= front.flag_duration("timeout"));
    }
}

#[test]
fn a_hook_of_no_length_is_left_out() {
    // Kubernetes refuses one of 0 s before 1.33.
    let front = deployment(&["front.preStopSeconds=0"], "front").container();
    assert_eq!(front.at("/lifecycle"), &json!(null));
    assert_eq!(deployment(&[], "front").container().at("/lifecycle/preStop/sleep/seconds"), 10);
}

#[test]
fn a_replica_has_room_for_what_all_fronts_may_send() {
    for (values, fronts, concurrency) in [
        ([].as_slice(), 2, 8),
        (&["front.replicas=10,model.concurrency=64"], 10, 64),
        (&["front.replicas=4"], 4, 8),
    ] {
        let model = deployment(values, "model");
        // A new front starts before an old one goes.
        let most: u32 = (fronts + 1) * concurrency;
        for flag in ["queue", "max-requests"] {
            let bound: u32 = model.flag(flag).unwrap().parse().unwrap();
            assert!(bound >= most, "--{flag}={bound} is less than {most}");
        }
    }
    let own = deployment(&["model.args={--queue=70,--max-batch=70}"], "model");
    assert_eq!(own.flag("queue").unwrap(), "70");
}

#[test]
fn flags_without_a_value_are_left_to_the_program() {
    for deployment in of_kind(&render(&[]), "Deployment") {
        assert_eq!(deployment.flag("log"), None, "{}", deployment.name());
        assert_eq!(deployment.flag("health-path"), None, "{}", deployment.name());
    }
    let objects = render(&["log=info\\,h2=warn,front.healthPath=/healthz"]);
    for deployment in of_kind(&objects, "Deployment") {
        assert_eq!(deployment.flag("log").unwrap(), "info,h2=warn", "{}", deployment.name());
    }
    let front = find(&objects, "Deployment", "spotscale-front");
    assert_eq!(front.flag("health-path").unwrap(), "/healthz");
}

#[test]
fn digests_stand_in_place_of_the_tag() {
    let (plain, cuda) = (format!("sha256:{:064}", 1), format!("sha256:{:064}", 2));
    let digests = format!("image.digest={plain},image.cudaDigest={cuda}");
    let image =
        |role, values: &[&str]| deployment(values, role).container().text("/image").to_owned();
    assert_eq!(image("front", &[&digests]), format!("spotscale@{plain}"));
    assert_eq!(image("model", &[&digests]), format!("spotscale@{plain}"));
    let gpu = "model.gpuResource=nvidia.com/gpu";
    assert_eq!(image("model", &[&digests, gpu]), format!("spotscale@{cuda}"));
    let plain_only = format!("image.digest={plain}");
    assert_eq!(image("model", &[&plain_only, gpu]), "spotscale:0.1.0-cuda");
}

#[test]
fn a_gpu_brings_its_image_limit_toleration_and_device() {
    let plain = deployment(&[], "model");
    assert_eq!(plain.container().text("/image"), "spotscale:0.1.0");
    assert_eq!(plain.flag("device").unwrap(), "cpu");
    let gpu =
        "model.gpuResource=nvidia.com/mig-1g\\.10gb,image.repository=registry.example/spotscale";
    let on_gpu = deployment(&[gpu, "model.runtimeClassName=nvidia"], "model");
    assert_eq!(on_gpu.text("/spec/template/spec/runtimeClassName"), "nvidia");
    let container = on_gpu.container();
    assert_eq!(container.text("/image"), "registry.example/spotscale:0.1.0-cuda");
    assert_eq!(container.at("/resources/limits/nvidia.com~1mig-1g.10gb"), 1);
    assert_eq!(container.text("/resources/limits/memory"), "2Gi");
    let tolerations = on_gpu.items("/spec/template/spec/tolerations");
    assert!(tolerations.iter().any(|one| one.text("/key") == "nvidia.com/gpu"), "{tolerations:?}");
    assert_eq!(on_gpu.flag("device").unwrap(), "cuda");
    assert_eq!(
        deployment(&[gpu], "front").container().text("/image"),
        "registry.example/spotscale:0.1.0"
    );
}

#[test]
fn a_new_version_of_the_chart_alone_replaces_no_pod() {
    for deployment in of_kind(&render(&[]), "Deployment") {
        let labels = deployment.strings("/spec/template/metadata/labels");
        assert_eq!(labels, deployment.strings("/spec/selector/matchLabels"));
    }
}

#[test]
fn only_pods_with_ipv6_listen_on_it() {
    assert_eq!(deployment(&[], "front").flag("listen").unwrap(), "0.0.0.0:8080");
    for deployment in of_kind(&render(&["ipv6=true"]), "Deployment") {
        assert!(deployment.flag("listen").unwrap().starts_with("[::]:"), "{}", deployment.name());
    }
}

#[test]
fn the_number_of_models_is_left_to_the_scaled_object() {
    assert_eq!(deployment(&[], "model").at("/spec/replicas"), &json!(null));
    assert_eq!(deployment(&["scaler.replicas=3"], "scaler").at("/spec/replicas"), 3);
}
