//! What a ScaledObject says.

use kube::api::DynamicObject;
use serde_json::{Value, json};

/// The trigger, and what is around it.
#[derive(Clone)]
pub(crate) struct Trigger {
    /// `external-push` or `external`.
    pub(crate) kind: &'static str,
    pub(crate) address: String,
    /// The trigger's metadata beside the address.
    pub(crate) metadata: Value,
    /// Whether the HPA gets what the last poll has seen.
    pub(crate) cached: bool,
    /// The HPA's `behavior`.
    pub(crate) behavior: Value,
    /// Further fields of the ScaledObject's `spec`, merged over ours.
    pub(crate) spec: Value,
}

impl Trigger {
    /// A push trigger on this scaler with quick timings: polled every second, down a second after the last work.
    pub(crate) fn push(scaler: &str) -> Self {
        Self {
            kind: "external-push",
            address: scaler.to_owned(),
            metadata: json!({
                "concurrency": "1", "serviceTimeMs": "1000", "sloMs": "2000",
                "idleAfterSeconds": "1", "shrinkWindowSeconds": "1", "coldStartSeconds": "1",
            }),
            cached: false,
            behavior: quick(),
            spec: json!({}),
        }
    }

    pub(crate) fn with(mut self, spec: Value) -> Self {
        merge(&mut self.spec, spec);
        self
    }

    pub(crate) fn asking(mut self, metadata: Value) -> Self {
        merge(&mut self.metadata, metadata);
        self
    }

    /// The trigger alone.
    pub(super) fn trigger(&self) -> Value {
        let mut metadata = self.metadata.clone();
        metadata["scalerAddress"] = json!(self.address);
        json!({ "type": self.kind, "name": "wish", "metadata": metadata, "useCachedMetrics": self.cached })
    }

    /// The whole ScaledObject, on the Deployment `app`.
    pub(super) fn object(&self) -> DynamicObject {
        let mut spec = json!({
            "scaleTargetRef": { "name": "app" },
            "pollingInterval": 1, "cooldownPeriod": 1, "minReplicaCount": 0, "maxReplicaCount": 20,
            "advanced": { "horizontalPodAutoscalerConfig": { "behavior": self.behavior } },
            "triggers": [self.trigger()],
        });
        merge(&mut spec, self.spec.clone());
        let object = json!({
            "apiVersion": "keda.sh/v1alpha1", "kind": "ScaledObject",
            "metadata": { "name": "app" }, "spec": spec,
        });
        serde_json::from_value(object).unwrap()
    }
}

/// An HPA that does what it is told, at once.
fn quick() -> Value {
    let any = json!([{ "type": "Pods", "value": 100, "periodSeconds": 1 }]);
    json!({
        "scaleUp": { "stabilizationWindowSeconds": 0, "tolerance": "0", "policies": any },
        "scaleDown": { "stabilizationWindowSeconds": 0, "tolerance": "0", "policies": any },
    })
}

/// Objects are merged key by key; everything else is replaced.
fn merge(base: &mut Value, over: Value) {
    match (base, over) {
        (Value::Object(base), Value::Object(over)) => {
            for (key, value) in over {
                merge(base.entry(key).or_insert(Value::Null), value);
            }
        }
        (base, over) => *base = over,
    }
}
