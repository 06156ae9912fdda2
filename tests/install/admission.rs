//! What the autoscaler and its watchers on the nodes may change of the objects that they may patch: field by field, with
//! tokens of their own, on a real API server.

use std::{collections::BTreeMap, time::Duration};

use k8s_openapi::api::{
    authentication::v1::{BoundObjectReference, TokenRequest, TokenRequestSpec},
    core::v1::{Node, Pod, ServiceAccount},
};
use kube::{
    Api, Client, ResourceExt as _,
    api::{DeleteParams, DynamicObject, ListParams, Patch, PatchParams, PostParams},
};
use serde_json::{Value, json};
use spotscale_test_cluster::{
    apply::apply,
    found,
    kubelet::{Kubelet, Machine, Options},
    until,
};

use crate::{
    cluster::{cluster, helm, quiet},
    render::{ON, WATCHERS},
};

const LABEL: &str = "spotscale.dev/pool";

/// A release with the autoscaler and its watchers, two spot nodes, and what the autoscaler patches.
struct Ground {
    namespace: String,
    client: Client,
    _kubelet: Kubelet,
}

impl Ground {
    async fn new(prefix: &str) -> Self {
        let cluster = cluster().await;
        let namespace = cluster.namespace(prefix).await;
        let machine = |name: &str| {
            Machine::new(&format!("{namespace}-{name}"))
                .label(LABEL, &namespace)
                .label("karpenter.sh/capacity-type", "spot")
                // Others in this cluster have pods too.
                .taint(LABEL, &namespace, "NoSchedule")
        };
        let options = Options {
            machines: vec![machine("a"), machine("b")],
            images: BTreeMap::new(),
            cold_start: Duration::ZERO,
        };
        let kubelet = Kubelet::start(cluster.plane(), options).await.unwrap();
        let client = cluster.client().await;
        let ground = Self { namespace, client, _kubelet: kubelet };
        let nodes = format!("autoscaler.nodes={LABEL}={}", ground.namespace);
        let values = ["--set", ON, "--set", WATCHERS, "--set", &nodes];
        let install = ["install", "spotscale", "manifests/chart", "-n", &ground.namespace];
        quiet(&helm(&[install.as_slice(), &values].concat()));
        apply(&ground.client, &ground.namespace, &ground.objects()).await.unwrap();
        ground
    }

    fn objects(&self) -> Vec<DynamicObject> {
        let (name, labels) = (&self.namespace, json!({ "app": "served" }));
        let class = json!({ "group": "karpenter.k8s.aws", "kind": "EC2NodeClass", "name": "gpu" });
        let spec = json!({ "nodeClassRef": class, "requirements": [
            { "key": "karpenter.sh/capacity-type", "operator": "In", "values": ["spot"] },
        ] });
        let container = json!({ "name": "c", "image": "served:1" });
        let objects = json!([
            {
                "apiVersion": "karpenter.sh/v1", "kind": "NodePool", "metadata": { "name": name },
                "spec": { "template": { "spec": spec }, "limits": { "cpu": "100" } },
            },
            {
                "apiVersion": "karpenter.sh/v1", "kind": "NodeClaim",
                "metadata": { "name": name, "labels": { LABEL: name } }, "spec": spec,
            },
            {
                "apiVersion": "karpenter.sh/v1", "kind": "NodeClaim",
                "metadata": { "name": self.others() }, "spec": spec,
            },
            {
                "apiVersion": "apps/v1", "kind": "Deployment", "metadata": { "name": "served" },
                "spec": {
                    "selector": { "matchLabels": labels },
                    "template": {
                        "metadata": { "labels": labels, "annotations": { "by": "a person" } },
                        "spec": { "containers": [container] },
                    },
                },
            },
        ]);
        serde_json::from_value(objects).unwrap()
    }

    /// A machine of somebody else's.
    fn others(&self) -> String {
        format!("{}-others", self.namespace)
    }

    /// The only pod with this label, or the one of a node, once it is there.
    async fn pod(&self, label: &str, node: Option<&str>) -> Pod {
        let pods: Api<Pod> = Api::namespaced(self.client.clone(), &self.namespace);
        let wanted = ListParams::default().labels(label);
        let find = || async {
            let listed = pods.list(&wanted).await?.items;
            let is_there = |pod: &&Pod| {
                node.is_none()
                    || pod.spec.as_ref().and_then(|spec| spec.node_name.as_deref()) == node
            };
            Ok(listed.iter().find(is_there).cloned())
        };
        found(label, find).await.unwrap()
    }

    /// A caller with a token of a `ServiceAccount`, bound to a pod as the kubelet asks for it, or to nothing.
    async fn caller(&self, account: &str, pod: Option<&Pod>) -> Caller {
        let bound_object_ref = pod.map(|pod| BoundObjectReference {
            api_version: Some("v1".to_owned()),
            kind: Some("Pod".to_owned()),
            name: Some(pod.name_any()),
            uid: pod.uid(),
        });
        let spec = TokenRequestSpec { bound_object_ref, ..TokenRequestSpec::default() };
        let request = TokenRequest { spec, ..TokenRequest::default() };
        let accounts: Api<ServiceAccount> = Api::namespaced(self.client.clone(), &self.namespace);
        let answer = accounts.create_token_request(account, &PostParams::default(), &request).await;
        let token = answer.unwrap().status.unwrap().token;
        let mut config = cluster().await.plane().config().await.unwrap();
        config.auth_info = serde_json::from_value(json!({ "token": token })).unwrap();
        Caller { client: Client::try_from(config).unwrap(), namespace: self.namespace.clone() }
    }

    /// Cluster-wide objects outlive the namespace.
    async fn leave(self) {
        let others = self.others();
        for (kind, name) in
            [("NodePool", &self.namespace), ("NodeClaim", &self.namespace), ("NodeClaim", &others)]
        {
            let objects: Api<DynamicObject> = Api::all_with(self.client.clone(), &resource(kind));
            objects.delete(name, &DeleteParams::default()).await.unwrap();
        }
        quiet(&helm(&["uninstall", "spotscale", "-n", &self.namespace]));
    }
}

/// Somebody with few rights.
struct Caller {
    client: Client,
    namespace: String,
}

impl Caller {
    /// Whether a change would be taken; else what is said against it.
    async fn tries(&self, kind: &str, name: &str, change: &Value) -> Result<(), String> {
        let client = self.client.clone();
        let objects: Api<DynamicObject> = match kind {
            "Pod" => Api::namespaced_with(client, &self.namespace, &resource(kind)),
            _ => Api::all_with(client, &resource(kind)),
        };
        let dry = PatchParams { dry_run: true, ..PatchParams::default() };
        let outcome = match kind {
            "Pod" => objects.patch(name, &dry, &Patch::Strategic(change)).await,
            _ => objects.patch(name, &dry, &Patch::Merge(change)).await,
        };
        outcome.map(drop).map_err(|error| error.to_string())
    }

    /// Asserts what becomes of each change: it is taken, or refused with these words.
    async fn assert(&self, kind: &str, name: &str, changes: &[(Value, &str)]) {
        for (change, expected) in changes {
            let outcome = self.tries(kind, name, change).await;
            match outcome {
                Ok(()) => assert_eq!(*expected, "", "{kind} {name} took {change}"),
                Err(said) => assert!(
                    !expected.is_empty() && said.contains(expected),
                    "{kind} {name}, {change}: {said}"
                ),
            }
        }
    }

    /// Whether a machine could be given back; else what is said against it.
    async fn gives_back(&self, claim: &str) -> Result<(), String> {
        let claims: Api<DynamicObject> = Api::all_with(self.client.clone(), &resource("NodeClaim"));
        let dry = DeleteParams { dry_run: true, ..DeleteParams::default() };
        claims.delete(claim, &dry).await.map(drop).map_err(|error| error.to_string())
    }

    /// Policies take effect a moment after they are there.
    async fn until_refused(&self, kind: &str, name: &str, change: &Value) {
        let refused = || async { Ok(self.tries(kind, name, change).await.is_err()) };
        until(&format!("a policy for {kind}"), refused).await.unwrap();
    }
}

fn resource(kind: &str) -> kube::core::ApiResource {
    let (group, version) = match kind {
        "Node" | "Pod" => ("", "v1"),
        _ => ("karpenter.sh", "v1"),
    };
    kube::core::ApiResource::from_gvk(&kube::core::GroupVersionKind::gvk(group, version, kind))
}

fn metadata(part: &str, value: &Value) -> Value {
    json!({ "metadata": { part: value } })
}

fn annotated(key: &str) -> Value {
    metadata("annotations", &json!({ key: "[]" }))
}

/// On a node that load balancers outside leave alone, with the name of who wants it so.
const EXCLUDED: &str = "node.kubernetes.io/exclude-from-external-load-balancers";

fn excluded_by(who: &str) -> Value {
    metadata("labels", &json!({ EXCLUDED: who }))
}

fn owned(kind: &str, uid: &str) -> Value {
    let owner = json!({ "apiVersion": "apps/v1", "kind": kind, "name": "served", "uid": uid });
    metadata("ownerReferences", &json!([owner]))
}

const NO_ANNOTATION: &str = "these annotations are not Spotscale's to change";
const NO_LABEL: &str = "these labels are not Spotscale's to change";
const NO_FINALIZER: &str = "finalizers are not Spotscale's to change";
const NO_OWNER: &str = "these owners are not Spotscale's to change";

#[tokio::test(flavor = "multi_thread")]
async fn a_watcher_tells_of_its_own_node_and_changes_nothing_else() {
    let ground = Ground::new("watchers").await;
    let (own, other) = (format!("{}-a", ground.namespace), format!("{}-b", ground.namespace));
    let pod = ground.pod("app.kubernetes.io/component=node", Some(&own)).await;
    let watcher = ground.caller("spotscale-node", Some(&pod)).await;
    let stray = ground.caller("spotscale-node", None).await;
    let notices = annotated("spotscale.dev/notices");
    watcher.until_refused("Node", &other, &notices).await;

    watcher.assert("Node", &other, &[(notices.clone(), "a pod tells of its own node only")]).await;
    stray.assert("Node", &own, &[(notices.clone(), "a pod tells of its own node only")]).await;
    let taint = json!({ "key": "spotscale.dev/interruption", "effect": "NoSchedule" });
    watcher
        .assert(
            "Node",
            &own,
            &[
                (notices, ""),
                (annotated("spotscale.dev/other"), NO_ANNOTATION),
                (metadata("labels", &json!({ LABEL: null })), NO_LABEL),
                (metadata("finalizers", &json!(["example.com/held"])), NO_FINALIZER),
                (json!({ "spec": { "unschedulable": true } }), "changes nothing of it"),
                (json!({ "spec": { "taints": [taint] } }), "changes nothing of it"),
            ],
        )
        .await;
    let nodes: Api<Node> = Api::all(watcher.client.clone());
    assert!(nodes.get(&own).await.is_ok());
    assert!(nodes.list(&ListParams::default()).await.is_err(), "it may see all nodes");
    let status = Patch::Merge(json!({ "status": { "conditions": [] } }));
    assert!(nodes.patch_status(&own, &PatchParams::default(), &status).await.is_err());
    ground.leave().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_autoscaler_changes_of_an_object_what_it_must_and_nothing_else() {
    let ground = Ground::new("admitted").await;
    let (name, node) = (ground.namespace.clone(), format!("{}-a", ground.namespace));
    let caller = ground.caller("spotscale-autoscaler", None).await;
    for (kind, name) in [("Node", &node), ("NodePool", &name), ("NodeClaim", &name)] {
        caller.until_refused(kind, name, &metadata("labels", &json!({ "a": "b" }))).await;
        caller
            .assert(
                kind,
                name,
                &[
                    (annotated("spotscale.dev/notices"), ""),
                    (annotated("example.com/other"), NO_ANNOTATION),
                    (metadata("labels", &json!({ "a": "b" })), NO_LABEL),
                    (metadata("finalizers", &json!(["example.com/held"])), NO_FINALIZER),
                    (owned("Deployment", "1"), NO_OWNER),
                ],
            )
            .await;
    }
    let taint = |key: &str| json!({ "key": key, "value": "x", "effect": "NoSchedule" });
    let tainted = |taints: &[Value]| json!({ "spec": { "unschedulable": true, "taints": taints } });
    let (theirs, ours) = (
        json!({ "key": LABEL, "value": ground.namespace, "effect": "NoSchedule" }),
        taint("spotscale.dev/interruption"),
    );
    let no_taint = "the autoscaler changes no taint but its own";
    caller
        .assert(
            "Node",
            &node,
            &[
                (tainted(&[theirs.clone(), ours.clone()]), ""),
                (annotated("karpenter.sh/do-not-disrupt"), ""),
                (excluded_by("spotscale-autoscaler"), ""),
                (excluded_by("somebody"), NO_LABEL),
                (tainted(std::slice::from_ref(&ours)), no_taint),
                (tainted(&[theirs, taint("example.com/other")]), no_taint),
            ],
        )
        .await;
    let spec = |part: &str, value: Value| json!({ "spec": { part: value } });
    caller
        .assert(
            "NodePool",
            &name,
            &[
                (spec("weight", json!(7)), ""),
                (spec("limits", json!({ "cpu": "0" })), ""),
                (
                    spec("template", json!({ "spec": { "expireAfter": "1h" } })),
                    "leaves the template",
                ),
                (spec("disruption", json!({ "consolidateAfter": "9s" })), "disruption budgets"),
            ],
        )
        .await;
    load_balancers_are_kept_away_by_one_label(&ground, &caller, &node).await;
    the_autoscaler_gives_back_no_machine_of_others(&ground, &caller).await;
    the_autoscaler_releases_a_pod_and_no_more(&ground, &caller).await;
    ground.leave().await;
}

/// Its own it may take away, and nobody else's.
async fn load_balancers_are_kept_away_by_one_label(ground: &Ground, caller: &Caller, node: &str) {
    let nodes: Api<Node> = Api::all(ground.client.clone());
    let taken_away = metadata("labels", &json!({ EXCLUDED: null }));
    let kept = metadata("annotations", &json!({ "spotscale.dev/notices": "[]" }));
    for (by, expected) in [("somebody", NO_LABEL), ("spotscale-autoscaler", "")] {
        let patch = Patch::Merge(excluded_by(by));
        nodes.patch(node, &PatchParams::default(), &patch).await.unwrap();
        let changes = [(taken_away.clone(), expected), (kept.clone(), "")];
        caller.assert("Node", node, &changes).await;
    }
    caller.assert("Node", node, &[(excluded_by("somebody"), NO_LABEL)]).await;
}

async fn the_autoscaler_gives_back_no_machine_of_others(ground: &Ground, caller: &Caller) {
    let others = ground.others();
    until("a policy for what is deleted", || async {
        Ok(caller.gives_back(&others).await.is_err())
    })
    .await
    .unwrap();
    let said = caller.gives_back(&others).await.unwrap_err();
    assert!(said.contains("gives back no machine that is not ours"), "{said}");
    assert_eq!(caller.gives_back(&ground.namespace).await, Ok(()));
}

async fn the_autoscaler_releases_a_pod_and_no_more(ground: &Ground, caller: &Caller) {
    let pod = ground.pod("app=served", None).await;
    let name = pod.name_any();
    let labels = |labels: Value| metadata("labels", &labels);
    caller.until_refused("Pod", &name, &labels(json!({ "app": "other" }))).await;
    let image = json!({ "spec": { "containers": [{ "name": "c", "image": "evil:1" }] } });
    let retain = json!({ "spec": { "activeDeadlineSeconds": 1 } });
    let mut released = labels(json!({ "pod-template-hash": "1-surged" }));
    released["metadata"]["annotations"] = json!({ "spotscale.dev/surged": "served-1" });
    // In place of the ReplicaSet.
    let keeper = &pod.owner_references()[0];
    released["metadata"]["ownerReferences"] = json!([
        { "apiVersion": "apps/v1", "kind": "Deployment", "name": "served", "uid": "1" },
        { "$patch": "delete", "uid": keeper.uid },
    ]);
    caller
        .assert(
            "Pod",
            &name,
            &[
                (released, ""),
                (labels(json!({ "app": "other" })), NO_LABEL),
                (metadata("annotations", &json!({ "by": null })), NO_ANNOTATION),
                (metadata("finalizers", &json!(["example.com/held"])), NO_FINALIZER),
                (owned("ConfigMap", "2"), NO_OWNER),
                (image, "changes nothing of what a pod runs"),
                (retain, "changes nothing of what a pod runs"),
            ],
        )
        .await;
}
