//! What is applied to the cluster: pools to buy from, a model that is served, and what the model's disruption is held to.

use std::path::Path;

use serde_json::{Value, json};

/// The type of every machine here; one pod of the model fits on each.
pub(crate) const TYPE: &str = "g4dn.xlarge";
/// Nodes with this label are the daemon's. Its value is a scope of a test.
pub(crate) const POOL: &str = "spotscale.dev/pool";
/// Deployments with this label have their pods replaced before they are evicted. Its value is as above.
pub(crate) const WORKLOAD: &str = "spotscale.dev/workload";
/// The model's Deployment and Service.
pub(crate) const MODEL: &str = "model";

/// How the model's pods are.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pods {
    pub(crate) replicas: usize,
    /// How long the server may collect requests before it answers them. Long enough that some are always under way, so
    /// that a replica that is killed loses some.
    pub(crate) batch_ms: u64,
    /// Seconds from SIGTERM to SIGKILL, the wait before SIGTERM included.
    pub(crate) grace: u32,
    /// The image: `spotscale`, or `stubborn`, which does not hear SIGTERM.
    pub(crate) image: &'static str,
}

impl Default for Pods {
    fn default() -> Self {
        Self { replicas: 5, batch_ms: 40, grace: 20, image: "spotscale" }
    }
}

/// A Deployment whose pods have a machine each, of those with this label.
fn deployment(name: &str, label: &str, replicas: usize, pod: Value) -> Value {
    let labels = json!({ "app": name });
    let mut pod = pod;
    pod["nodeSelector"] = json!({ POOL: label });
    pod["automountServiceAccountToken"] = json!(false);
    pod["containers"][0]["resources"] = json!({ "limits": { "nvidia.com/gpu": "1" } });
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": { "name": name, "labels": { WORKLOAD: label } },
        "spec": {
            "replicas": replicas, "selector": { "matchLabels": labels },
            "template": { "metadata": { "labels": labels }, "spec": pod },
        },
    })
}

/// Pods that do nothing, and end at once when they are told to.
pub(crate) fn sleepers(name: &str, label: &str, replicas: usize) -> Value {
    let container = json!({ "name": "sleeper", "image": "sleeper" });
    let pod = json!({ "terminationGracePeriodSeconds": 2, "containers": [container] });
    deployment(name, label, replicas, pod)
}

/// The model server.
pub(crate) fn model(label: &str, pods: Pods, models: &Path) -> Value {
    let max_wait = format!("--max-wait={}ms", pods.batch_ms);
    let args = [
        "inference",
        "--listen=0.0.0.0:8000",
        "--grpc-listen=0.0.0.0:8001",
        "--device=cpu",
        "--model=tiny=/models/logits.onnx",
        "--threads=1",
        "--drain-timeout=10s",
        // More than any front sends it at once: a full batch would not wait for more.
        "--max-batch=32",
        &max_wait,
    ];
    let probe = json!({ "httpGet": { "path": "/readyz", "port": "http" }, "periodSeconds": 1 });
    let pod = json!({
        "terminationGracePeriodSeconds": pods.grace,
        "containers": [{
            "name": "model", "image": pods.image, "args": args,
            "ports": [{ "name": "http", "containerPort": 8000 }],
            "readinessProbe": probe,
            "lifecycle": { "preStop": { "sleep": { "seconds": 2 } } },
            "volumeMounts": [{ "name": "models", "mountPath": "/models", "readOnly": true }],
        }],
        "volumes": [{ "name": "models", "hostPath": { "path": models } }],
    });
    deployment(MODEL, label, pods.replicas, pod)
}

/// The Service by which the front knows the model's pods.
pub(crate) fn service() -> Value {
    json!({
        "apiVersion": "v1", "kind": "Service", "metadata": { "name": MODEL },
        "spec": {
            "selector": { "app": MODEL },
            "ports": [{ "name": "http", "port": 80, "targetPort": "http" }],
        },
    })
}

/// One of the model's pods may be missing.
pub(crate) fn budget() -> Value {
    json!({
        "apiVersion": "policy/v1", "kind": "PodDisruptionBudget", "metadata": { "name": MODEL },
        "spec": { "maxUnavailable": 1, "selector": { "matchLabels": { "app": MODEL } } },
    })
}
