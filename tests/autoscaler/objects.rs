//! The objects that tests put into the cluster.

use serde_json::{Value, json};

use crate::world::{POOL, WORKLOAD, World};

impl World {
    /// A Deployment that is a workload of ours, on this test's machines.
    pub(crate) async fn deploy(&self, name: &str, replicas: u32) {
        self.apply(self.deployment(name, replicas)).await;
    }

    pub(crate) fn deployment(&self, name: &str, replicas: u32) -> Value {
        let labels = json!({ "app": name });
        json!({
            "apiVersion": "apps/v1", "kind": "Deployment",
            "metadata": { "name": name, "labels": { WORKLOAD: self.namespace } },
            "spec": {
                "replicas": replicas, "selector": { "matchLabels": labels },
                "template": { "metadata": { "labels": labels }, "spec": self.pod_spec() },
            },
        })
    }

    pub(crate) fn pod_spec(&self) -> Value {
        json!({
            "nodeSelector": { POOL: self.namespace },
            "terminationGracePeriodSeconds": 5,
            "containers": [{ "name": "replica", "image": "test/replica:1" }],
        })
    }

    /// A disruption budget for the pods labelled `app=NAME`.
    pub(crate) async fn budget(&self, app: &str, rule: &str, count: u32) {
        self.apply(json!({
            "apiVersion": "policy/v1", "kind": "PodDisruptionBudget",
            "metadata": { "name": format!("{app}-{}", rule.to_lowercase()) },
            "spec": { rule: count, "selector": { "matchLabels": { "app": app } } },
        }))
        .await;
    }

    /// Karpenter's NodeClaim for a machine of this test.
    pub(crate) async fn claim(&self, n: usize) {
        let name = self.machine(n);
        let labels = json!({
            "karpenter.sh/nodepool": self.namespace,
            "karpenter.sh/capacity-type": "spot",
            "node.kubernetes.io/instance-type": "g4dn.xlarge",
            "topology.kubernetes.io/zone": "a",
        });
        let class = json!({ "group": "test.dev", "kind": "Class", "name": "any" });
        self.apply(json!({
            "apiVersion": "karpenter.sh/v1", "kind": "NodeClaim",
            "metadata": { "name": name, "labels": labels },
            "spec": { "nodeClassRef": class, "requirements": [] },
        }))
        .await;
    }

    /// A NodePool whose nodes are this test's.
    pub(crate) fn pool(&self, name: &str, spec: &Value) -> Value {
        let class = json!({ "group": "test.dev", "kind": "Class", "name": "any" });
        let spot =
            json!({ "key": "karpenter.sh/capacity-type", "operator": "In", "values": ["spot"] });
        let mut pool = json!({
            "apiVersion": "karpenter.sh/v1", "kind": "NodePool", "metadata": { "name": name },
            "spec": {
                "template": {
                    "metadata": { "labels": { POOL: self.namespace } },
                    "spec": { "nodeClassRef": class, "requirements": [spot] },
                },
            },
        });
        for (key, value) in spec.as_object().into_iter().flatten() {
            pool["spec"][key] = value.clone();
        }
        pool
    }
}
