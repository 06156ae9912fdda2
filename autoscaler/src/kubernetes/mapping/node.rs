//! Nodes: a Node object with Karpenter's NodeClaim for it, or a NodeClaim whose machine has not joined yet.

use std::collections::BTreeMap;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::{Resource as _, ResourceExt as _};
use spotscale_decide::{
    cluster::{self, CapacityType, CordonCause, NodePhase, Offering},
    disruption::INTERRUPTION_TAINT,
    units::{InstanceId, UnitError},
};

use crate::kubernetes::{
    kinds::{Condition, Kind, Node, NodeClaim, Object},
    names,
    notices::{self, Standing},
};

/// A node that nothing can be decided about.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, thiserror::Error)]
pub(in crate::kubernetes) enum Unreadable {
    /// A label is not there.
    #[error("node {node} has no label {label}: it is left alone")]
    NoLabel { node: String, label: &'static str },
    /// A label or a name makes no sense.
    #[error("node {node} is left alone: {why}")]
    Wrong { node: String, why: String },
}

/// A node that has joined.
pub(in crate::kubernetes) fn node(
    node: &Object<Node>,
    claim: Option<&Object<NodeClaim>>,
) -> Result<cluster::Node, Unreadable> {
    let launched_at = claim.and_then(launched_at).or_else(|| created_at(&node.metadata));
    let parts = Parts {
        labels: node.labels(),
        pool_labels: claim.and_then(|claim| claim.metadata.labels.as_ref()),
        provider_id: node.spec.provider_id.as_deref(),
        launched_at,
    };
    let mapped = parts.node(&node.name_any())?;
    let protected = node.annotations().contains_key(names::DO_NOT_DISRUPT);
    Ok(cluster::Node { phase: phase(node, claim), cordoned: cordoned(node), protected, ..mapped })
}

/// A machine that was launched and has not joined yet; nothing as long as it was not launched. It goes by the name of
/// its NodeClaim until it joins.
pub(in crate::kubernetes) fn machine(
    claim: &Object<NodeClaim>,
) -> Option<Result<cluster::Node, Unreadable>> {
    let launched_at = launched_at(claim)?;
    let parts = Parts {
        labels: claim.labels(),
        pool_labels: None,
        provider_id: claim.status.provider_id.as_deref(),
        launched_at: Some(launched_at),
    };
    let mapped = parts.node(&claim.name_any());
    let phase = if is_deleted(claim) { NodePhase::Leaving } else { NodePhase::Provisioning };
    Some(mapped.map(|mapped| cluster::Node { phase, ..mapped }))
}

/// The notices that stand for a node: those that were told of it, and those that were told before it joined.
pub(in crate::kubernetes) fn notices(
    node: Option<&Object<Node>>,
    claim: Option<&Object<NodeClaim>>,
) -> Standing {
    let annotation = |meta: &ObjectMeta| meta.annotations.as_ref()?.get(names::NOTICES).cloned();
    let of_node = notices::read(node.and_then(|node| annotation(node.meta())).as_deref());
    let of_claim = notices::read(claim.and_then(|claim| annotation(claim.meta())).as_deref());
    Standing {
        kinds: notices::merge(&of_node.kinds, &of_claim.kinds),
        is_malformed: of_node.is_malformed || of_claim.is_malformed,
    }
}

/// The provider's name of a machine: the last part of `aws:///us-east-1a/i-0123456789abcdef0`.
fn instance_of(provider_id: Option<&str>) -> Option<InstanceId> {
    provider_id?.rsplit('/').next()?.parse().ok()
}

struct Parts<'a> {
    labels: &'a BTreeMap<String, String>,
    /// Where the pool is told if not there.
    pool_labels: Option<&'a BTreeMap<String, String>>,
    provider_id: Option<&'a str>,
    launched_at: Option<Timestamp>,
}

impl Parts<'_> {
    fn node(&self, name: &str) -> Result<cluster::Node, Unreadable> {
        let wrong =
            |error: UnitError| Unreadable::Wrong { node: name.to_owned(), why: error.to_string() };
        let label = |label| {
            let found = self.labels.get(label);
            found.ok_or_else(|| Unreadable::NoLabel { node: name.to_owned(), label })
        };
        let offering = Offering {
            instance_type: label(names::INSTANCE_TYPE)?.parse().map_err(wrong)?,
            zone: label(names::ZONE)?.parse().map_err(wrong)?,
            capacity_type: capacity_type(label(names::CAPACITY_TYPE)?).map_err(wrong)?,
        };
        let pool = self.labels.get(names::POOL).or_else(|| self.pool_labels?.get(names::POOL));
        Ok(cluster::Node {
            name: name.parse().map_err(wrong)?,
            instance: instance_of(self.provider_id),
            phase: NodePhase::Provisioning,
            cordoned: None,
            protected: false,
            pool: pool.and_then(|pool| pool.parse().ok()),
            launched_at: self.launched_at.unwrap_or(Timestamp::UNIX_EPOCH),
            // How many fit follows from what the daemon knows of the type.
            pods_max: 1,
            offering,
        })
    }
}

/// Capacity that was reserved is ours until we give it back, as on-demand capacity is.
fn capacity_type(text: &str) -> Result<CapacityType, UnitError> {
    if text == "reserved" { Ok(CapacityType::OnDemand) } else { text.parse() }
}

/// A node with a NodeClaim can run pods when Karpenter says that all is there, its GPUs for instance. Karpenter never
/// takes that back, so that a node of which it said so once, and which is not ready, was lost sight of.
fn phase(node: &Object<Node>, claim: Option<&Object<NodeClaim>>) -> NodePhase {
    if is_deleted(node) || claim.is_some_and(is_deleted) {
        return NodePhase::Leaving;
    }
    let is_initialized = node.labels().get(names::INITIALIZED).is_some_and(|value| value == "true");
    let ready = node.status.conditions.iter().find(|condition| condition.r#type == "Ready");
    match ready {
        Some(ready) if ready.status == "True" => {
            let is_complete = claim.is_none() || is_initialized;
            if is_complete { NodePhase::Ready } else { NodePhase::Provisioning }
        }
        // A kubelet that is starting says `False`; `Unknown` is said for one that fell silent.
        Some(lost) if is_initialized || (claim.is_none() && lost.status == "Unknown") => {
            let since = lost.last_transition_time.as_ref().map(|at| at.0);
            NodePhase::Unready { since: since.unwrap_or(Timestamp::UNIX_EPOCH) }
        }
        _ => NodePhase::Provisioning,
    }
}

fn is_deleted<K: Kind>(object: &Object<K>) -> bool {
    object.metadata.deletion_timestamp.is_some()
}

/// Only what we tainted is cordoned by us; what a person cordoned is not ours to empty.
fn cordoned(node: &Object<Node>) -> Option<CordonCause> {
    let ours = node.spec.taints.iter().find(|taint| taint.key == INTERRUPTION_TAINT)?;
    match ours.value.as_deref() {
        Some("surplus") => Some(CordonCause::Surplus),
        _ => Some(CordonCause::Notice),
    }
}

fn launched_at(claim: &Object<NodeClaim>) -> Option<Timestamp> {
    let is_launched =
        |condition: &&Condition| condition.r#type == "Launched" && condition.status == "True";
    let launched = claim.status.conditions.iter().find(is_launched)?;
    launched.last_transition_time.as_ref().map(|at| at.0).or_else(|| created_at(&claim.metadata))
}

fn created_at(meta: &ObjectMeta) -> Option<Timestamp> {
    meta.creation_timestamp.as_ref().map(|at| at.0)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};
    use spotscale_decide::cluster::NoticeKind;

    use super::*;
    use crate::kubernetes::mapping::testing::{at, object, with};

    fn a_node() -> Value {
        json!({
            "metadata": {
                "name": "ip-10-0-0-1", "creationTimestamp": "1970-01-01T00:01:40Z",
                "labels": {
                    "node.kubernetes.io/instance-type": "g4dn.xlarge",
                    "topology.kubernetes.io/zone": "us-east-1a",
                    "karpenter.sh/capacity-type": "spot",
                    "karpenter.sh/nodepool": "gpu-spot",
                    "karpenter.sh/initialized": "true",
                },
            },
            "spec": { "providerID": "aws:///us-east-1a/i-0123456789abcdef0" },
            "status": { "conditions": [{ "type": "Ready", "status": "True" }] },
        })
    }

    fn a_claim() -> Value {
        json!({
            "metadata": {
                "name": "gpu-spot-x7k2p", "creationTimestamp": "1970-01-01T00:00:50Z",
                "labels": {
                    "node.kubernetes.io/instance-type": "g4dn.xlarge",
                    "topology.kubernetes.io/zone": "us-east-1a",
                    "karpenter.sh/capacity-type": "spot",
                    "karpenter.sh/nodepool": "gpu-spot",
                },
            },
            "status": {
                "providerID": "aws:///us-east-1a/i-0123456789abcdef0",
                "conditions": [{
                    "type": "Launched", "status": "True",
                    "lastTransitionTime": "1970-01-01T00:01:00Z",
                }],
            },
        })
    }

    fn mapped(text: &Value, claim: Option<&Value>) -> Result<cluster::Node, Unreadable> {
        let claim = claim.map(object);
        node(&object(text), claim.as_ref())
    }

    #[test]
    fn a_node_is_what_its_labels_and_its_claim_say() {
        let seen = mapped(&a_node(), Some(&a_claim())).unwrap();
        assert_eq!(seen.offering.to_string(), "spot g4dn.xlarge in us-east-1a");
        assert_eq!(seen.instance.unwrap().as_str(), "i-0123456789abcdef0");
        assert_eq!(seen.pool.unwrap().as_str(), "gpu-spot");
        assert_eq!((seen.phase, seen.cordoned, seen.pods_max), (NodePhase::Ready, None, 1));
        assert_eq!(seen.launched_at, at(60), "as the claim has it");
        assert_eq!(mapped(&a_node(), None).unwrap().launched_at, at(100));
    }

    #[test]
    fn a_node_runs_pods_when_it_is_ready_and_all_is_there() {
        let status = |node, status: &str| {
            let lost = json!({
                "type": "Ready", "status": status, "lastTransitionTime": "1970-01-01T00:03:00Z",
            });
            with(node, "/status/conditions/0", lost)
        };
        let no_gpu = with(a_node(), "/metadata/labels/karpenter.sh~1initialized", "false".into());
        let phase = |node: &Value, claim| mapped(node, claim).unwrap().phase;
        let claim = Some(a_claim());
        assert_eq!(phase(&no_gpu, claim.as_ref()), NodePhase::Provisioning);
        assert_eq!(phase(&no_gpu, None), NodePhase::Ready, "nobody else says that");
        let lost = NodePhase::Unready { since: at(180) };
        for (node, said, of_claim, alone) in [
            (a_node(), "False", lost, lost),
            (a_node(), "Unknown", lost, lost),
            (no_gpu.clone(), "False", NodePhase::Provisioning, NodePhase::Provisioning),
            (no_gpu, "Unknown", NodePhase::Provisioning, lost),
        ] {
            let node = status(node, said);
            assert_eq!((phase(&node, claim.as_ref()), phase(&node, None)), (of_claim, alone));
        }
    }

    #[test]
    fn what_is_deleted_is_leaving_be_it_the_node_or_its_claim() {
        let deleted = |of| with(of, "/metadata/deletionTimestamp", "1970-01-01T00:03:00Z".into());
        let (node, claim) = (deleted(a_node()), deleted(a_claim()));
        assert_eq!(mapped(&node, None).unwrap().phase, NodePhase::Leaving);
        assert_eq!(mapped(&a_node(), Some(&claim)).unwrap().phase, NodePhase::Leaving);
        let launched = machine(&object(&claim)).unwrap().unwrap();
        assert_eq!(launched.phase, NodePhase::Leaving);
    }

    #[test]
    fn only_our_taint_is_our_cordon() {
        let tainted = |key: &str, value: &str| {
            let taints = json!([{ "key": key, "value": value, "effect": "NoSchedule" }]);
            let node = with(a_node(), "/spec/taints", taints);
            mapped(&with(node, "/spec/unschedulable", true.into()), None).unwrap().cordoned
        };
        assert_eq!(tainted("node.kubernetes.io/unschedulable", ""), None);
        assert_eq!(tainted(INTERRUPTION_TAINT, "notice"), Some(CordonCause::Notice));
        assert_eq!(tainted(INTERRUPTION_TAINT, "surplus"), Some(CordonCause::Surplus));
    }

    #[test]
    fn what_labels_do_not_say_is_not_guessed() {
        let label = |key: &str, value: Value| {
            with(a_node(), &format!("/metadata/labels/{}", key.replace('/', "~1")), value)
        };
        let reserved = label("karpenter.sh/capacity-type", "reserved".into());
        let kind = mapped(&reserved, None).unwrap().offering.capacity_type;
        assert_eq!(kind, CapacityType::OnDemand);
        let odd = mapped(&label("karpenter.sh/capacity-type", "lent".into()), None).unwrap_err();
        assert!(odd.to_string().contains("\"lent\" is not spot or on-demand"), "{odd}");
        let mut bare = a_node();
        bare["metadata"]["labels"] = json!({});
        let bare = mapped(&bare, None).unwrap_err().to_string();
        assert!(bare.contains("has no label node.kubernetes.io/instance-type"), "{bare}");
    }

    #[test]
    fn a_claim_is_a_node_from_the_launch_until_it_joins() {
        let seen = machine(&object(&a_claim())).unwrap().unwrap();
        assert_eq!(seen.name.as_str(), "gpu-spot-x7k2p");
        assert_eq!((seen.phase, seen.pods_max), (NodePhase::Provisioning, 1));
        assert_eq!(seen.launched_at, at(60));
        let asked = with(a_claim(), "/status/conditions/0/status", "Unknown".into());
        assert_eq!(machine(&object(&asked)), None, "nothing was launched");
    }

    #[test]
    fn notices_are_those_of_the_node_and_of_its_claim() {
        let annotated = |mut text: Value, annotation: &str| {
            text["metadata"]["annotations"] = json!({ names::NOTICES: annotation });
            text
        };
        let node = annotated(a_node(), r#"[{"kind":"rebalance"}]"#);
        let deadline = r#"[{"kind":"interruption","deadline":"1970-01-01T00:02:00Z"}]"#;
        let claim = annotated(a_claim(), deadline);
        let standing = notices(Some(&object(&node)), Some(&object(&claim)));
        let kinds: Vec<_> = standing.kinds.iter().map(NoticeKind::kind).collect();
        assert_eq!((kinds, standing.is_malformed), (vec!["interruption", "rebalance"], false));
        let malformed = notices(Some(&object(&annotated(a_node(), "soon"))), None);
        assert!(malformed.is_malformed && malformed.kinds.is_empty());
    }
}
