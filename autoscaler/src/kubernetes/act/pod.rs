//! Releasing a pod from its ReplicaSet, and telling one to end.

use jiff::Timestamp;
use k8s_openapi::{api::core::v1::Pod, apimachinery::pkg::apis::meta::v1::OwnerReference};
use kube::{
    Api, ResourceExt as _,
    api::{DeleteParams, EvictParams, Preconditions},
    runtime::reflector::ObjectRef,
};
use serde_json::{Value, json};
use spotscale_decide::units::{Millis, PodName};

use super::call::{self, failed};
use crate::{
    cluster::{Applied, ClusterError},
    kubernetes::{
        KubeCluster,
        kinds::{self, Deployment, Object},
        names::{SURGED, TEMPLATE_HASH},
        pod_facts::{GRACE_DEFAULT, SURGED_SUFFIX},
    },
};

/// Releases the pod from its ReplicaSet, which starts another. The label by which the ReplicaSet counts is changed,
/// those by which Services and disruption budgets select are not: the pod serves on, and is counted. It then belongs to
/// the Deployment itself, so that no ReplicaSet adopts it and it ends when the Deployment is deleted.
pub(super) async fn surge(cluster: &KubeCluster, pod: &PodName) -> Result<Applied, ClusterError> {
    let (namespace, name) = split(pod)?;
    let pods: Api<Pod> = Api::namespaced(cluster.client.clone(), namespace);
    let deployment = |name: &str| {
        let wanted = ObjectRef::<Object<Deployment>>::new(name).within(namespace);
        cluster.stores.deployments.store.get(&wanted)?.metadata.uid.clone()
    };
    let written = call::change(&pods, name, |pod| releasing(pod, deployment)).await?;
    Ok(written.into())
}

/// `deployment` finds the uid of a selected Deployment.
fn releasing(
    pod: &Pod,
    deployment: impl Fn(&str) -> Option<String>,
) -> Result<Option<Value>, ClusterError> {
    if pod.metadata.deletion_timestamp.is_some() || pod.annotations().contains_key(SURGED) {
        return Ok(None);
    }
    let refused = || ClusterError::Refused(format!("{} has no Deployment of ours", pod.name_any()));
    let hash = pod.labels().get(TEMPLATE_HASH).ok_or_else(refused)?;
    let owners = pod.owner_references();
    let is_keeper =
        |owner: &&OwnerReference| owner.controller == Some(true) && owner.kind == "ReplicaSet";
    let keeper = owners.iter().find(is_keeper).ok_or_else(refused)?;
    let name = keeper.name.strip_suffix(hash.as_str()).and_then(|name| name.strip_suffix('-'));
    let name = name.ok_or_else(refused)?;
    let uid = deployment(name).ok_or_else(refused)?;
    let heir = OwnerReference {
        api_version: "apps/v1".to_owned(),
        kind: "Deployment".to_owned(),
        name: name.to_owned(),
        uid,
        controller: Some(true),
        block_owner_deletion: None,
    };
    let others = owners.iter().filter(|owner| owner.uid != keeper.uid);
    Ok(Some(json!({ "metadata": {
        "labels": { TEMPLATE_HASH: format!("{hash}{SURGED_SUFFIX}") },
        "annotations": { SURGED: keeper.name },
        "ownerReferences": others.chain([&heir]).collect::<Vec<_>>(),
    } })))
}

/// Asks by the eviction API, which honours disruption budgets. Where a budget forbids it and the deadline leaves no time
/// (`force`), the pod is deleted with what is left of its grace.
pub(super) async fn evict(
    cluster: &KubeCluster,
    pod: &PodName,
    by: Option<Timestamp>,
    force: bool,
) -> Result<Applied, ClusterError> {
    let (namespace, name) = split(pod)?;
    let seen = ObjectRef::<Object<kinds::Pod>>::new(name).within(namespace);
    let Some(seen) = cluster.stores.pods.store.get(&seen) else {
        return Ok(Applied::AlreadySo);
    };
    if seen.metadata.deletion_timestamp.is_some() {
        return Ok(Applied::AlreadySo);
    }
    let pods: Api<Pod> = Api::namespaced(cluster.client.clone(), namespace);
    let deletion = DeleteParams {
        grace_period_seconds: by.and_then(|by| grace_left(&seen, by, Timestamp::now())),
        preconditions: Some(Preconditions { uid: seen.uid(), resource_version: None }),
        ..DeleteParams::default()
    };
    let params = EvictParams { delete_options: Some(deletion.clone()), ..EvictParams::default() };
    match pods.evict(name, &params).await {
        Ok(_) => Ok(Applied::Done),
        Err(kube::Error::Api(status)) if is_gone(status.code) => Ok(Applied::AlreadySo),
        Err(kube::Error::Api(status)) if is_forbidden_by_budget(&status) && !force => {
            Err(ClusterError::Refused(refusal(&status)))
        }
        Err(kube::Error::Api(status)) if is_forbidden_by_budget(&status) => {
            delete(&pods, name, &deletion, refusal(&status)).await
        }
        Err(error) => Err(failed(&error)),
    }
}

async fn delete(
    pods: &Api<Pod>,
    name: &str,
    deletion: &DeleteParams,
    against: String,
) -> Result<Applied, ClusterError> {
    match pods.delete(name, deletion).await {
        Ok(_) => Ok(Applied::Forced { against }),
        Err(kube::Error::Api(status)) if is_gone(status.code) => Ok(Applied::AlreadySo),
        Err(error) => Err(failed(&error)),
    }
}

/// A pod of that name that is another is none either.
const fn is_gone(code: u16) -> bool {
    matches!(code, 404 | 409)
}

/// More than one budget for a pod is an error of the eviction API's own.
fn is_forbidden_by_budget(status: &kube::core::Status) -> bool {
    status.code == 429 || status.message.contains("more than one PodDisruptionBudget")
}

/// The budget's own words, where there are any.
fn refusal(status: &kube::core::Status) -> String {
    let causes = status.details.iter().flat_map(|details| &details.causes);
    let words: Vec<_> = causes.map(|cause| cause.message.as_str()).collect();
    if words.is_empty() { status.message.clone() } else { words.join("; ") }
}

/// The grace that the deadline leaves, if that is less than the pod's own.
fn grace_left(pod: &Object<kinds::Pod>, by: Timestamp, now: Timestamp) -> Option<u32> {
    let own = pod.spec.termination_grace_period_seconds.unwrap_or(GRACE_DEFAULT);
    // Zero would mean not even to tell it.
    let left = (Millis::between(now, by).0 / 1000).max(1);
    (left < own).then(|| u32::try_from(left).unwrap_or(u32::MAX))
}

fn split(pod: &PodName) -> Result<(&str, &str), ClusterError> {
    let no_namespace = || ClusterError::Refused(format!("{pod} has no namespace"));
    pod.as_str().split_once('/').ok_or_else(no_namespace)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kubernetes::mapping::testing::{at, object, with};

    fn a_pod() -> Value {
        json!({
            "metadata": {
                "name": "resnet-5d4f-abcde", "namespace": "vision",
                "labels": { "app": "resnet", "pod-template-hash": "5d4f" },
                "ownerReferences": [
                    { "apiVersion": "x/v1", "kind": "Note", "name": "n", "uid": "9" },
                    {
                        "apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "resnet-5d4f",
                        "uid": "1", "controller": true, "blockOwnerDeletion": true,
                    },
                ],
            },
            "spec": { "containers": [] },
        })
    }

    fn released(text: &Value) -> Result<Option<Value>, ClusterError> {
        let deployment = |name: &str| (name == "resnet").then(|| "7".to_owned());
        releasing(&serde_json::from_value(text.clone()).unwrap(), deployment)
    }

    #[test]
    fn a_released_pod_goes_from_the_replica_set_to_the_deployment() {
        let expected = json!({ "metadata": {
            "labels": { "pod-template-hash": "5d4f-surged" },
            "annotations": { "spotscale.dev/surged": "resnet-5d4f" },
            "ownerReferences": [
                { "apiVersion": "x/v1", "kind": "Note", "name": "n", "uid": "9" },
                {
                    "apiVersion": "apps/v1", "kind": "Deployment", "name": "resnet", "uid": "7",
                    "controller": true,
                },
            ],
        } });
        assert_eq!(released(&a_pod()), Ok(Some(expected)));
        let done = json!({ "spotscale.dev/surged": "resnet-5d4f" });
        assert_eq!(released(&with(a_pod(), "/metadata/annotations", done)), Ok(None));
        let ending = "1970-01-01T00:00:00Z".into();
        assert_eq!(released(&with(a_pod(), "/metadata/deletionTimestamp", ending)), Ok(None));
    }

    #[test]
    fn a_pod_of_nothing_that_would_replace_it_is_not_released() {
        let bare = with(a_pod(), "/metadata/ownerReferences", json!([]));
        let foreign = with(a_pod(), "/metadata/ownerReferences/1/name", "detector-5d4f".into());
        let stateful = with(a_pod(), "/metadata/ownerReferences/1/kind", "StatefulSet".into());
        let unlabelled = with(a_pod(), "/metadata/labels", json!({}));
        for text in [bare, foreign, stateful, unlabelled] {
            let refused = released(&text).unwrap_err();
            assert_eq!(
                refused.to_string(),
                "the cluster refused: resnet-5d4f-abcde has no Deployment of ours"
            );
        }
    }

    #[test]
    fn a_deadline_shortens_the_grace_and_never_to_nothing() {
        let left = |own: u64, now: i64| {
            let text = with(a_pod(), "/spec/terminationGracePeriodSeconds", own.into());
            grace_left(&object(&text), at(100), at(now))
        };
        assert_eq!(left(30, 60), None);
        assert_eq!(left(30, 80), Some(20));
        assert_eq!(left(30, 100), Some(1));
        assert_eq!(left(30, 200), Some(1));
    }
}
