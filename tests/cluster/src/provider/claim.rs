//! What a NodeClaim says of its machine.

use jiff::Timestamp;
use kube::api::DynamicObject;
use serde_json::{Value, json};

use super::{
    choice::Pool,
    fleet::{Entry, State},
};
use crate::catalog::Catalog;

/// Keeps a NodeClaim until its machine has ended.
const FINALIZER: &str = "karpenter.sh/termination";

/// The NodeClaim of a machine, without a status.
pub(super) fn object(entry: &Entry, pool: &Pool) -> anyhow::Result<DynamicObject> {
    let offering = entry.instance.offering.labels();
    let exactly = |(key, value): (&String, &String)| json!({ "key": key, "operator": "In", "values": [value] });
    Ok(serde_json::from_value(json!({
        "apiVersion": "karpenter.sh/v1", "kind": "NodeClaim",
        "metadata": {
            "name": entry.instance.claim, "labels": entry.labels, "finalizers": [FINALIZER],
            "ownerReferences": [{
                "apiVersion": "karpenter.sh/v1", "kind": "NodePool", "name": pool.name,
                "uid": pool.uid, "blockOwnerDeletion": true,
            }],
        },
        "spec": {
            "nodeClassRef": pool.spec.template.spec.node_class_ref, "taints": entry.taints,
            "requirements": offering.iter().map(exactly).collect::<Vec<_>>(),
        },
    }))?)
}

/// Its status, as a patch.
pub(super) fn status(entry: &Entry, catalog: &Catalog) -> Value {
    let instance = &entry.instance;
    let resources = catalog.resources(&instance.offering);
    let is_running = instance.state == State::Running;
    let now = Timestamp::now();
    json!({ "status": {
        "providerID": instance.provider_id(),
        "nodeName": is_running.then_some(&instance.node),
        "capacity": resources, "allocatable": resources,
        "conditions": [
            condition("Launched", true, instance.launched),
            condition("Registered", is_running, now),
            condition("Initialized", is_running, now),
            condition("Ready", is_running, now),
        ],
    } })
}

fn condition(kind: &str, holds: bool, since: Timestamp) -> Value {
    let (status, reason) =
        if holds { ("True", kind) } else { ("Unknown", "AwaitingReconciliation") };
    json!({
        "type": kind, "status": status, "reason": reason, "message": "",
        "lastTransitionTime": since.strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
    })
}
