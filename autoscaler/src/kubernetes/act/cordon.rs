//! Nothing new on a node, and the way back. What a person cordoned stays cordoned, what a person protected protected.

use k8s_openapi::api::core::v1::{Node, Taint};
use kube::{Api, Client, ResourceExt as _};
use serde_json::{Value, json};
use spotscale_decide::{cluster::CordonCause, disruption::INTERRUPTION_TAINT, units::NodeName};

use super::call;
use crate::{
    cluster::{Applied, ClusterError},
    kubernetes::names::{CORDONED_BEFORE, DO_NOT_DISRUPT, EXCLUDED, MANAGER, PROTECTED},
};

/// Marks the node unschedulable, taints it and has load balancers outside leave it, in one write: they take minutes for
/// that, so it is said at the first moment.
pub(super) async fn cordon(
    client: &Client,
    node: &NodeName,
    cause: CordonCause,
) -> Result<Applied, ClusterError> {
    let nodes: Api<Node> = Api::all(client.clone());
    let written = call::change(&nodes, node.as_str(), |node| Ok(cordoning(node, cause))).await?;
    Ok(written.into())
}

/// Takes all of that away again, if it is ours.
pub(super) async fn uncordon(client: &Client, node: &NodeName) -> Result<Applied, ClusterError> {
    let nodes: Api<Node> = Api::all(client.clone());
    let written = call::change(&nodes, node.as_str(), |node| Ok(uncordoning(node))).await?;
    Ok(written.into())
}

/// Keeps the provisioner from giving the node back, unless somebody said already what it may do.
pub(super) async fn protect(client: &Client, node: &NodeName) -> Result<Applied, ClusterError> {
    let nodes: Api<Node> = Api::all(client.clone());
    let written = call::change(&nodes, node.as_str(), |node| Ok(protecting(node))).await?;
    Ok(written.into())
}

fn protecting(node: &Node) -> Option<Value> {
    let ours =
        json!({ "metadata": { "annotations": { DO_NOT_DISRUPT: "true", PROTECTED: "true" } } });
    (!node.annotations().contains_key(DO_NOT_DISRUPT)).then_some(ours)
}

fn cordoning(node: &Node, cause: CordonCause) -> Option<Value> {
    let was_unschedulable = is_unschedulable(node);
    let taint = Taint {
        key: INTERRUPTION_TAINT.to_owned(),
        value: Some(value(cause).to_owned()),
        effect: "NoSchedule".to_owned(),
        time_added: None,
    };
    let ours = taints(node).iter().find(|known| known.key == INTERRUPTION_TAINT);
    let same = |ours: &Taint| ours.value == taint.value && ours.effect == taint.effect;
    let is_excluded = node.labels().contains_key(EXCLUDED);
    if was_unschedulable && ours.is_some_and(same) && is_excluded {
        return None;
    }
    let taints: Vec<_> = others(node).chain([&taint]).collect();
    let mut patch = json!({ "metadata": {}, "spec": { "unschedulable": true, "taints": taints } });
    if !is_excluded {
        patch["metadata"]["labels"] = json!({ EXCLUDED: MANAGER });
    }
    if was_unschedulable && ours.is_none() {
        patch["metadata"]["annotations"] = json!({ CORDONED_BEFORE: "true" });
    }
    Some(patch)
}

fn uncordoning(node: &Node) -> Option<Value> {
    if taints(node).iter().all(|taint| taint.key != INTERRUPTION_TAINT) {
        return None;
    }
    let by_a_person = node.annotations().contains_key(CORDONED_BEFORE);
    let mut marks = json!({ CORDONED_BEFORE: Value::Null });
    if node.annotations().contains_key(PROTECTED) {
        marks[PROTECTED] = Value::Null;
        marks[DO_NOT_DISRUPT] = Value::Null;
    }
    let mut patch = json!({
        "metadata": { "annotations": marks },
        "spec": {
            "unschedulable": by_a_person && is_unschedulable(node),
            "taints": others(node).collect::<Vec<_>>(),
        },
    });
    if node.labels().get(EXCLUDED).is_some_and(|by| by == MANAGER) {
        patch["metadata"]["labels"] = json!({ EXCLUDED: Value::Null });
    }
    Some(patch)
}

fn is_unschedulable(node: &Node) -> bool {
    node.spec.as_ref().and_then(|spec| spec.unschedulable) == Some(true)
}

fn taints(node: &Node) -> &[Taint] {
    node.spec.as_ref().and_then(|spec| spec.taints.as_deref()).unwrap_or_default()
}

/// Kubernetes keeps a taint of its own beside `unschedulable`, and takes it away by itself.
fn others(node: &Node) -> impl Iterator<Item = &Taint> {
    taints(node).iter().filter(|taint| taint.key != INTERRUPTION_TAINT)
}

const fn value(cause: CordonCause) -> &'static str {
    match cause {
        CordonCause::Notice => "notice",
        CordonCause::Surplus => "surplus",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(spec: &Value, annotations: &Value) -> Node {
        serde_json::from_value(json!({ "metadata": { "annotations": annotations }, "spec": spec }))
            .unwrap()
    }

    fn labelled(node: &Node, excluded_by: &str) -> Node {
        let mut node = node.clone();
        node.labels_mut().insert(EXCLUDED.to_owned(), excluded_by.to_owned());
        node
    }

    fn ours(value: &str) -> Value {
        json!({ "key": INTERRUPTION_TAINT, "value": value, "effect": "NoSchedule" })
    }

    fn gpu() -> Value {
        json!({ "key": "nvidia.com/gpu", "value": "true", "effect": "NoSchedule" })
    }

    #[test]
    fn a_cordon_is_one_write_that_keeps_what_others_wrote() {
        let none = json!({});
        let patch = cordoning(&node(&json!({ "taints": [gpu()] }), &none), CordonCause::Notice);
        let expected = json!({
            "metadata": { "labels": { EXCLUDED: MANAGER } },
            "spec": { "unschedulable": true, "taints": [gpu(), ours("notice")] },
        });
        assert_eq!(patch, Some(expected));
        let done = json!({ "unschedulable": true, "taints": [ours("notice")] });
        let done = labelled(&node(&done, &none), "somebody");
        assert_eq!(cordoning(&done, CordonCause::Notice), None);
        let surplus = cordoning(&done, CordonCause::Surplus).unwrap();
        assert_eq!(surplus["spec"]["taints"], json!([ours("surplus")]));
        assert_eq!(surplus["metadata"], none, "the cordon was ours before");
        let half = node(&json!({ "taints": [ours("notice")] }), &none);
        assert!(cordoning(&half, CordonCause::Notice).is_some(), "somebody uncordoned it");
    }

    #[test]
    fn load_balancers_leave_a_node_with_its_cordon_and_come_back_if_it_was_ours() {
        let cordoned = json!({ "unschedulable": true, "taints": [ours("notice")] });
        let bare = node(&cordoned, &json!({}));
        let patch = cordoning(&bare, CordonCause::Notice).unwrap();
        assert_eq!(patch["metadata"]["labels"], json!({ EXCLUDED: MANAGER }), "it was taken off");
        let removed = |node: &Node| uncordoning(node).unwrap()["metadata"]["labels"].clone();
        assert_eq!(removed(&labelled(&bare, MANAGER)), json!({ EXCLUDED: null }));
        for others in [&labelled(&bare, "karpenter"), &labelled(&bare, ""), &bare] {
            assert_eq!(removed(others), Value::Null);
        }
    }

    #[test]
    fn protection_goes_with_the_cordon_if_it_is_ours() {
        let marks = json!({ DO_NOT_DISRUPT: "true", PROTECTED: "true" });
        let spec = json!({ "unschedulable": true, "taints": [ours("notice")] });
        let bare = node(&spec, &json!({}));
        assert_eq!(
            protecting(&bare),
            Some(json!({ "metadata": { "annotations": marks.clone() } }))
        );
        assert_eq!(protecting(&node(&spec, &marks)), None);
        let removed = |annotations: &Value| {
            let patch = uncordoning(&node(&spec, annotations)).unwrap();
            patch["metadata"]["annotations"].as_object().unwrap().contains_key(DO_NOT_DISRUPT)
        };
        assert!(removed(&marks));
        assert!(!removed(&json!({ DO_NOT_DISRUPT: "true" })), "a person's protection was removed");
    }

    #[test]
    fn what_a_person_cordoned_stays_cordoned() {
        let (none, kept) = (json!({}), json!({ CORDONED_BEFORE: "true" }));
        let person = node(&json!({ "unschedulable": true }), &none);
        let patch = cordoning(&person, CordonCause::Notice).unwrap();
        assert_eq!(patch["metadata"]["annotations"], kept);
        let spec = json!({ "unschedulable": true, "taints": [gpu(), ours("notice")] });
        let back = json!({ "unschedulable": true, "taints": [gpu()] });
        assert_eq!(uncordoning(&node(&spec, &kept)).unwrap()["spec"], back);
        let back = json!({ "unschedulable": false, "taints": [gpu()] });
        assert_eq!(uncordoning(&node(&spec, &none)).unwrap()["spec"], back);
        assert_eq!(uncordoning(&person), None, "it is not ours");
    }
}
