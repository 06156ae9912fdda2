//! Which Nodes are about to go, or do not answer: their taints say so. A cordon alone does not: it keeps new pods away
//! and may last for weeks, while those that run there serve on.

use k8s_openapi::api::core::v1::Node;
use spotscale_decide::disruption::INTERRUPTION_TAINT;

/// Keys, and prefixes of keys, of taints whose Nodes are the second choice. Their effect does not matter.
const TAINTS: [&str; 10] = [
    INTERRUPTION_TAINT,
    // Karpenter, and its releases before 1.0.
    "karpenter.sh/disrupted",
    "karpenter.sh/disruption",
    // Written by aws-node-termination-handler where its `taintNode` is on.
    "aws-node-termination-handler/",
    "ToBeDeletedByClusterAutoscaler",
    "cloud.google.com/impending-node-termination",
    "node.cloudprovider.kubernetes.io/shutdown",
    "node.kubernetes.io/out-of-service",
    "node.kubernetes.io/not-ready",
    "node.kubernetes.io/unreachable",
];

/// What makes a Node one to avoid.
#[derive(Debug, Clone, Default)]
pub(super) struct Notices {
    /// Keys and prefixes besides those that are known.
    pub(super) further: Vec<String>,
}

impl Notices {
    pub(super) fn cover(&self, node: &Node) -> bool {
        let taints = node.spec.as_ref().and_then(|spec| spec.taints.as_ref());
        taints.into_iter().flatten().any(|taint| self.know(&taint.key))
    }

    fn know(&self, key: &str) -> bool {
        let further = self.further.iter().map(String::as_str);
        TAINTS
            .into_iter()
            .chain(further)
            .any(|known| if known.ends_with('/') { key.starts_with(known) } else { key == known })
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::{NodeSpec, Taint};

    use super::*;

    fn tainted(key: &str) -> Node {
        let taint =
            Taint { key: key.to_owned(), effect: "NoSchedule".to_owned(), ..Taint::default() };
        let spec = NodeSpec {
            taints: Some(vec![taint]),
            unschedulable: Some(true),
            ..NodeSpec::default()
        };
        Node { spec: Some(spec), ..Node::default() }
    }

    #[test]
    fn a_notice_is_a_known_taint_and_a_cordon_is_none() {
        let notices = Notices { further: vec!["example.com/".to_owned(), "going".to_owned()] };
        for (key, is_notice) in [
            ("spotscale.dev/interruption", true),
            ("karpenter.sh/disrupted", true),
            ("aws-node-termination-handler/spot-itn", true),
            ("node.kubernetes.io/unreachable", true),
            ("node.kubernetes.io/not-ready", true),
            ("example.com/any", true),
            ("going", true),
            ("going/elsewhere", false),
            ("node.kubernetes.io/unschedulable", false),
            ("nvidia.com/gpu", false),
        ] {
            assert_eq!(notices.cover(&tainted(key)), is_notice, "{key}");
        }
        assert!(!notices.cover(&Node::default()));
    }
}
