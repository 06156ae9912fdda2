//! What is read of every object's metadata. The managed fields alone are larger than all else that is kept, and what is
//! parsed between things that stay leaves holes in the memory when it goes.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{
    ManagedFieldsEntry, ObjectMeta, OwnerReference, Time,
};
use serde::Deserialize;

/// [`ObjectMeta`] without what is skipped.
#[derive(Deserialize)]
#[serde(remote = "ObjectMeta", rename_all = "camelCase")]
pub(super) struct Metadata {
    name: Option<String>,
    namespace: Option<String>,
    uid: Option<String>,
    resource_version: Option<String>,
    generation: Option<i64>,
    creation_timestamp: Option<Time>,
    deletion_timestamp: Option<Time>,
    labels: Option<BTreeMap<String, String>>,
    annotations: Option<BTreeMap<String, String>>,
    owner_references: Option<Vec<OwnerReference>>,
    #[serde(skip)]
    managed_fields: Option<Vec<ManagedFieldsEntry>>,
    #[serde(skip)]
    finalizers: Option<Vec<String>>,
    #[serde(skip)]
    generate_name: Option<String>,
    #[serde(skip)]
    self_link: Option<String>,
    #[serde(skip)]
    deletion_grace_period_seconds: Option<i64>,
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_named_here_is_read_and_all_else_is_skipped() {
        let json = json!({
            "name": "a", "namespace": "n", "uid": "u", "resourceVersion": "7", "generation": 3,
            "creationTimestamp": null, "deletionTimestamp": "2026-01-01T00:00:00Z",
            "labels": {"k": "v"}, "annotations": {"l": "w"}, "finalizers": ["f"],
            "ownerReferences": [{"apiVersion": "v1", "kind": "Pod", "name": "p", "uid": "o"}],
            "managedFields": [{"manager": "m"}], "unheard": {"of": []},
        });
        let read = Metadata::deserialize(&json).unwrap();
        let whole: ObjectMeta = serde_json::from_value(json).unwrap();
        assert_ne!((&whole.managed_fields, &whole.finalizers), (&None, &None));
        assert_eq!(read, ObjectMeta { managed_fields: None, finalizers: None, ..whole });
    }
}
