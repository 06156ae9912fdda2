//! The pods of a large cluster, with the variables, volumes, probes and conditions that pods have, and who keeps them. Pure.

use serde_json::{Value, json};

use super::{
    Size,
    objects::{IMAGE, LAUNCHED, condition, node_name},
};

/// Pods on a node, the DaemonSet's included.
pub(super) const PODS_PER_NODE: usize = 10;
const NAMESPACE: &str = "default";
const HASH: &str = "6d8f7c9b5d";

pub(super) fn pod_name(size: Size, pod: usize) -> String {
    let (node, slot) = (pod / PODS_PER_NODE, pod % PODS_PER_NODE);
    if slot == 0 {
        format!("node-agent-{node:05x}")
    } else {
        format!("{}-{HASH}-{pod:05x}", deployment_name(deployment_of(size, pod)))
    }
}

/// The Deployment of a pod that is not the DaemonSet's.
fn deployment_of(size: Size, pod: usize) -> usize {
    pod % size.deployments
}

fn deployment_name(deployment: usize) -> String {
    format!("classifier-{deployment:03}")
}

/// A Deployment that keeps exactly the pods that there are of it.
pub(super) fn deployment(size: Size, deployment: usize) -> Value {
    let is_of_it =
        |pod: &usize| !pod.is_multiple_of(PODS_PER_NODE) && deployment_of(size, *pod) == deployment;
    let labels = json!({ "app": deployment_name(deployment) });
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": {
            "name": deployment_name(deployment), "labels": { "spotscale.dev/workload": "gpu" },
        },
        "spec": {
            "replicas": (0..size.pods()).filter(is_of_it).count(),
            "selector": { "matchLabels": labels },
            "template": { "metadata": { "labels": labels }, "spec": pod_spec() },
        },
    })
}

/// A pod that is ready. Of ten on a node one is a DaemonSet's, which stays with its node.
pub(super) fn pod(size: Size, pod: usize) -> Value {
    let (node, slot) = (pod / PODS_PER_NODE, pod % PODS_PER_NODE);
    let deployment = deployment_name(deployment_of(size, pod));
    let (kind, keeper) = if slot == 0 {
        ("DaemonSet", "node-agent".to_owned())
    } else {
        ("ReplicaSet", format!("{deployment}-{HASH}"))
    };
    let mut spec = pod_spec();
    spec["nodeName"] = node_name(node).into();
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {
            "name": pod_name(size, pod), "namespace": NAMESPACE,
            "labels": {
                "app": deployment, "pod-template-hash": HASH, "team": "vision", "tier": "gpu",
                "app.kubernetes.io/managed-by": "Helm", "app.kubernetes.io/version": "1.42.0",
            },
            "annotations": {
                "checksum/config": format!("{pod:064x}"), "prometheus.io/scrape": "true",
                "prometheus.io/port": "8000", "kubectl.kubernetes.io/restartedAt": LAUNCHED,
            },
            "ownerReferences": [{
                "apiVersion": "apps/v1", "kind": kind, "name": keeper, "controller": true,
                "uid": format!("00000000-0000-4000-8000-{:012x}", deployment_of(size, pod)),
            }],
        },
        "spec": spec,
        "status": pod_status(pod),
    })
}

fn pod_spec() -> Value {
    let env: Vec<_> = (0..20)
        .map(
            |n| json!({ "name": format!("SETTING_{n}"), "value": format!("value of setting {n}") }),
        )
        .collect();
    let probe =
        |path: &str| json!({ "httpGet": { "path": path, "port": "http" }, "periodSeconds": 5 });
    json!({
        "terminationGracePeriodSeconds": 45,
        "nodeSelector": { "spotscale.dev/pool": "gpu" },
        "tolerations": [{ "key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule" }],
        "securityContext": { "runAsNonRoot": true, "runAsUser": 1000, "fsGroup": 1000 },
        "containers": [{
            "name": "model", "image": format!("{IMAGE}:1.42.0"),
            "args": ["inference", "--listen=0.0.0.0:8000", "--model=resnet=/models/resnet50.onnx"],
            "ports": [{ "name": "http", "containerPort": 8000 }],
            "env": env,
            "resources": { "requests": { "cpu": "300m", "memory": "1Gi" }, "limits": { "memory": "2Gi" } },
            "readinessProbe": probe("/readyz"), "livenessProbe": probe("/healthz"),
            "lifecycle": { "preStop": { "sleep": { "seconds": 5 } } },
            "volumeMounts": [
                { "name": "models", "mountPath": "/models" },
                { "name": "settings", "mountPath": "/etc/classifier" },
            ],
        }],
        "volumes": [
            { "name": "models", "emptyDir": {} },
            { "name": "settings", "configMap": { "name": "classifier" } },
        ],
    })
}

fn pod_status(pod: usize) -> Value {
    let ip = format!("10.{}.{}.{}", 100 + pod / 65_536, pod / 256 % 256, pod % 256);
    let conditions =
        ["PodReadyToStartContainers", "Initialized", "Ready", "ContainersReady", "PodScheduled"];
    json!({
        "phase": "Running", "qosClass": "Burstable", "startTime": LAUNCHED,
        "podIP": ip, "podIPs": [{ "ip": ip }],
        "conditions": conditions.map(|kind| condition(kind, kind)),
        "containerStatuses": [{
            "name": "model", "ready": true, "started": true, "restartCount": 0,
            "image": format!("{IMAGE}:1.42.0"),
            "imageID": format!("{IMAGE}@sha256:{:064x}", 1),
            "containerID": format!("containerd://{pod:064x}"),
            "state": { "running": { "startedAt": LAUNCHED } },
        }],
    })
}

/// What a change of a pod's readiness writes.
pub(super) fn readiness(is_ready: bool) -> Value {
    let mut ready = condition("Ready", "Ready");
    ready["status"] = if is_ready { "True" } else { "False" }.into();
    json!({ "status": { "conditions": [ready] } })
}

/// The label of pods that the daemon has released.
pub(super) fn released() -> String {
    format!("pod-template-hash={HASH}-surged")
}
