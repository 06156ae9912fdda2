//! Pods, and the Deployments that keep them.

use std::collections::HashSet;

use foldhash::fast::RandomState;
use jiff::{SignedDuration, Timestamp};
use kube::ResourceExt as _;
use spotscale_decide::{
    cluster::{self, Workload},
    units::{Replicas, WorkloadName},
};

use crate::kubernetes::{
    kinds::{Deployment, Object, Pod},
    pod_facts::PodFacts,
};

/// A pod that is still there so long after its grace has no kubelet that would end it.
const STUCK_AFTER: SignedDuration = SignedDuration::from_secs(60);

/// Where a pod can matter: on our nodes, and as a replica of our workloads.
#[derive(Default)]
pub(in crate::kubernetes) struct Placement<'a> {
    pub(in crate::kubernetes) nodes: HashSet<&'a str, RandomState>,
    pub(in crate::kubernetes) workloads: HashSet<WorkloadName, RandomState>,
}

/// A Deployment that was selected.
pub(in crate::kubernetes) fn workload(deployment: &Object<Deployment>) -> Option<Workload> {
    let namespace = deployment.metadata.namespace.as_deref()?;
    let name = format!("{namespace}/{}", deployment.name_any()).try_into().ok()?;
    // Where nothing is said Kubernetes keeps one.
    Some(Workload { name, replicas_wanted: Replicas(deployment.spec.replicas.unwrap_or(1)) })
}

/// A pod that matters and is not gone: one of a workload, or one in the way on a node of ours that can be evicted.
pub(in crate::kubernetes) fn pod(
    pod: &Object<Pod>,
    placement: &Placement<'_>,
    now: Timestamp,
) -> Option<cluster::Pod> {
    let PodFacts { pod, ends_at, is_kept, clings } = pod.spec.facts.as_ref()?;
    if ends_at.is_some_and(|ends_at| now.duration_since(ends_at) > STUCK_AFTER) {
        return None;
    }
    let is_in_the_way =
        || pod.node.as_ref().is_some_and(|node| placement.nodes.contains(node.as_str()));
    // One that was released and whose Deployment was cut off has nobody else to end it. One that has a Deployment which
    // we do not know is another daemon's.
    let is_left_behind = || pod.surged && !is_kept && is_in_the_way();
    let is_ours = |name: &WorkloadName| placement.workloads.contains(name) || is_left_behind();
    let is_replica = pod.workload.as_ref().is_some_and(is_ours);
    if !is_replica && (*clings || !is_in_the_way()) {
        return None;
    }
    let mut pod = pod.clone();
    pod.workload = pod.workload.filter(|_| is_replica);
    Some(pod)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};
    use spotscale_decide::{cluster::PodPhase, units::Millis};

    use super::*;
    use crate::kubernetes::mapping::testing::{at, object, with};

    fn a_pod() -> Value {
        json!({
            "metadata": {
                "name": "resnet-5d4f-abcde", "namespace": "vision",
                "labels": { "app": "resnet", "pod-template-hash": "5d4f" },
                "ownerReferences": [{
                    "apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "resnet-5d4f",
                    "uid": "1", "controller": true,
                }],
            },
            "spec": { "nodeName": "a", "terminationGracePeriodSeconds": 45 },
            "status": {
                "phase": "Running",
                "conditions": [{ "type": "Ready", "status": "True" }],
            },
        })
    }

    fn seen(text: &Value) -> Option<cluster::Pod> {
        let name = "vision/resnet".parse().unwrap();
        let placement = Placement {
            nodes: ["a"].into_iter().collect(),
            workloads: [name].into_iter().collect(),
        };
        pod(&object(text), &placement, at(1000))
    }

    fn owned_by(kind: &str) -> Value {
        with(a_pod(), "/metadata/ownerReferences/0/kind", kind.into())
    }

    #[test]
    fn a_replica_is_known_by_its_replica_set() {
        let pod = seen(&a_pod()).unwrap();
        assert_eq!(pod.name.as_str(), "vision/resnet-5d4f-abcde");
        assert_eq!(pod.workload.unwrap().as_str(), "vision/resnet");
        assert_eq!((pod.phase, pod.surged), (PodPhase::Ready, false));
        assert_eq!((pod.node.unwrap().as_str(), pod.grace_ms), ("a", Millis::from_secs(45)));
        assert!(!pod.critical);
    }

    #[test]
    fn what_kubernetes_calls_critical_is() {
        let critical = |priority: i32| {
            let pod = with(a_pod(), "/spec/priority", priority.into());
            seen(&pod).unwrap().critical
        };
        assert!(critical(2_000_000_000) && critical(2_000_001_000));
        assert!(!critical(1_000_000_000), "the highest that a user's class may have");
    }

    #[test]
    fn the_phase_is_the_first_that_holds() {
        let phase = |text: &Value| seen(text).unwrap().phase;
        let starting = with(a_pod(), "/status/conditions/0/status", "False".into());
        assert_eq!(phase(&starting), PodPhase::Starting);
        let pending = with(a_pod(), "/spec/nodeName", "".into());
        assert_eq!(phase(&pending), PodPhase::Pending);
        let ending = |time: &str| with(a_pod(), "/metadata/deletionTimestamp", time.into());
        assert_eq!(phase(&ending("1970-01-01T00:15:41Z")), PodPhase::Terminating);
        assert_eq!(seen(&ending("1970-01-01T00:15:39Z")), None, "nobody will end it");
    }

    #[test]
    fn what_stays_with_its_node_or_is_over_is_left_out() {
        for kind in ["DaemonSet", "Node"] {
            assert_eq!(seen(&owned_by(kind)), None, "{kind}");
        }
        let mirror = json!({ "kubernetes.io/config.mirror": "x" });
        assert_eq!(seen(&with(a_pod(), "/metadata/annotations", mirror)), None);
        for phase in ["Succeeded", "Failed"] {
            assert_eq!(seen(&with(a_pod(), "/status/phase", phase.into())), None, "{phase}");
        }
    }

    #[test]
    fn a_strangers_pod_matters_on_our_nodes_alone() {
        let strange = owned_by("StatefulSet");
        assert_eq!(seen(&strange).unwrap().workload, None);
        assert_eq!(seen(&with(strange.clone(), "/spec/nodeName", "z".into())), None);
        let tolerates = |key: &str, effect: &str| {
            let toleration = json!([{ "key": key, "operator": "Exists", "effect": effect }]);
            seen(&with(strange.clone(), "/spec/tolerations", toleration)).is_none()
        };
        assert!(tolerates("spotscale.dev/interruption", ""), "it wants to stay");
        assert!(tolerates("", ""), "it would come back");
        assert!(!tolerates("nvidia.com/gpu", "NoSchedule"));
        assert!(!tolerates("node.kubernetes.io/not-ready", "NoExecute"));
        let replica = json!([{ "operator": "Exists" }]);
        assert!(seen(&with(a_pod(), "/spec/tolerations", replica)).is_some(), "it serves");
    }

    fn released(replica_set: &str) -> Value {
        let hash = with(a_pod(), "/metadata/labels/pod-template-hash", "5d4f-surged".into());
        let deployment = with(hash, "/metadata/ownerReferences/0/kind", "Deployment".into());
        with(deployment, "/metadata/annotations", json!({ "spotscale.dev/surged": replica_set }))
    }

    #[test]
    fn a_released_pod_stays_with_its_workload_also_when_that_was_cut_off() {
        let pod = seen(&released("resnet-5d4f")).unwrap();
        assert_eq!((pod.workload.unwrap().as_str(), pod.surged), ("vision/resnet", true));
        let cut_off = with(released("gone-5d4f"), "/metadata/ownerReferences", json!([]));
        let pod = seen(&cut_off).unwrap();
        assert_eq!((pod.workload.unwrap().as_str(), pod.surged), ("vision/gone", true));
        assert_eq!(seen(&with(cut_off, "/spec/nodeName", "z".into())), None);
    }

    #[test]
    fn what_another_daemon_released_is_a_strangers_pod() {
        assert_eq!(seen(&released("other-5d4f")).unwrap().workload, None);
        assert_eq!(seen(&with(released("other-5d4f"), "/spec/nodeName", "z".into())), None);
    }

    #[test]
    fn a_workload_keeps_what_it_is_asked_to() {
        let deployment = |spec: Value| {
            let text = json!({ "metadata": { "name": "b", "namespace": "a" }, "spec": spec });
            workload(&object(&text)).unwrap()
        };
        assert_eq!(deployment(json!({ "replicas": 7 })).replicas_wanted, Replicas(7));
        assert_eq!(deployment(json!({})).replicas_wanted, Replicas(1));
        assert_eq!(deployment(json!({})).name.as_str(), "a/b");
    }
}
