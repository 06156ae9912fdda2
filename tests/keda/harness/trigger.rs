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
    /// Further fields of the trigger.
    pub(crate) fields: Value,
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
            fields: json!({}),
            behavior: quick(),
            spec: json!({}),
        }
    }

    pub(crate) fn with(mut self, spec: Value) -> Self {
        merge(&mut self.spec, spec);
        self
    }

    /// KEDA keeps the replicas that there are while the scaler does not know, as the chart has it. The cooldown outlives the
    /// polls that fail before the fallback takes over and those that find nothing (KEDA 2.21) once it has.
    pub(crate) fn holding(self) -> Self {
        let fallback =
            json!({ "failureThreshold": 3, "replicas": 1, "behavior": "currentReplicas" });
        self.with(json!({ "fallback": fallback, "cooldownPeriod": 30 }))
    }

    pub(crate) fn asking(mut self, metadata: Value) -> Self {
        merge(&mut self.metadata, metadata);
        self
    }

    pub(crate) fn being(mut self, fields: Value) -> Self {
        merge(&mut self.fields, fields);
        self
    }

    /// The trigger alone.
    pub(crate) fn trigger(&self) -> Value {
        let mut metadata = self.metadata.clone();
        metadata["scalerAddress"] = json!(self.address);
        let mut trigger = json!({ "type": self.kind, "name": "wish", "metadata": metadata });
        merge(&mut trigger, self.fields.clone());
        trigger
    }

    /// The same trigger by another name, for another service.
    pub(crate) fn on(&self, name: &str, service: &str) -> Value {
        let one = self.clone().being(json!({ "name": name }));
        one.asking(json!({ "service": service })).trigger()
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
        object("ScaledObject", &spec)
    }

    /// The whole ScaledJob, whose Jobs are gone when they are done.
    pub(super) fn job(&self) -> DynamicObject {
        let container = json!({ "name": "job", "image": "job" });
        let pod = json!({ "restartPolicy": "Never", "containers": [container] });
        let mut spec = json!({
            "jobTargetRef": { "template": { "spec": pod } },
            "pollingInterval": 1, "successfulJobsHistoryLimit": 0, "failedJobsHistoryLimit": 0,
            "triggers": [self.trigger()],
        });
        merge(&mut spec, self.spec.clone());
        object("ScaledJob", &spec)
    }
}

/// An object of KEDA's, named `app`.
fn object(kind: &str, spec: &Value) -> DynamicObject {
    let (version, metadata) = ("keda.sh/v1alpha1", json!({ "name": "app" }));
    let object = json!({ "apiVersion": version, "kind": kind, "metadata": metadata, "spec": spec });
    serde_json::from_value(object).unwrap()
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
