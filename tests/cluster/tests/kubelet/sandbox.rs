//! What a container sees: its variables, its files, its names, its rights.

use k8s_openapi::api::core::v1::{ConfigMap, Pod};
use kube::{Api, Client, Config, api::ListParams};
use serde_json::{Value, json};
use spotscale_test_cluster::{TestCluster, kubelet::Running};

use crate::world::{World, get};

const ACCOUNT: &str = "/file/var/run/secrets/kubernetes.io/serviceaccount";

#[tokio::test]
async fn variables_and_volumes_are_as_the_spec_says() {
    let world = World::new("sees").await;
    world.deploy(2, furnish).await;
    let secret = json!({
        "apiVersion": "v1", "kind": "Secret", "metadata": { "name": "key" },
        "stringData": { "tls.key": "secret", "USER": "me" },
    });
    world.apply(secret).await;
    world
        .until("the container to wait for what is missing", || async {
            Ok(waiting_for(&world).await? == "CreateContainerConfigError")
        })
        .await;
    settings(&world, "first").await;
    let pods = world.ready(2).await;

    let env: Value = serde_json::from_str(&get(&pods[0], "/env").await.unwrap()).unwrap();
    let address = format!("{}:9", pods[0].ip);
    for (name, expected) in [
        ("PLAIN", "plain"),
        ("NESTED", "plain and $(NONE)"),
        ("LISTEN", &address),
        ("NAME", &pods[0].name),
        ("NODE", &pods[0].machine),
        ("MODE", "first"),
        ("KEY_USER", "me"),
        ("BOUND", &format!("{}:1", pods[0].ip)),
    ] {
        assert_eq!(env[name], *expected, "{name}");
    }
    for (path, expected) in [
        ("/file/keys/tls.key", "secret"),
        ("/file/shared/greeting", "hello\n"),
        ("/file/pod/labels", "app=\"web\""),
    ] {
        let text = get(&pods[0], path).await.unwrap();
        assert!(text.starts_with(expected), "{path}: {text}");
    }

    get(&pods[0], "/write/tmp/mine").await.unwrap();
    assert_eq!(get(&pods[0], "/file/tmp/mine").await.unwrap(), "written");
    assert!(get(&pods[1], "/file/tmp/mine").await.is_err(), "another pod's file");
    assert!(get(&pods[0], "/write/keys/tls.key").await.is_err(), "it is mounted to be read");
    assert!(!std::path::Path::new("/keys").exists(), "it is not of this machine");

    mode_becomes(&world, &pods[0], "first").await;
    settings(&world, "second").await;
    mode_becomes(&world, &pods[0], "second").await;
}

/// The volume was there, empty, before the optional `ConfigMap` was, and follows it.
async fn mode_becomes(world: &World, pod: &Running, expected: &str) {
    world
        .until("the volume to follow", || async {
            Ok(get(pod, "/file/etc/app/deep/mode").await? == expected)
        })
        .await;
}

/// Everything that a pod can be given, with an init container that leaves something for the other.
fn furnish(spec: &mut Value) {
    let field = |path: &str| json!({ "fieldRef": { "fieldPath": path } });
    let container = &mut spec["containers"][0];
    container["env"] = json!([
        { "name": "PLAIN", "value": "plain" },
        { "name": "NESTED", "value": "$(PLAIN) and $(NONE)" },
        { "name": "LISTEN", "value": "[::]:9" },
        { "name": "NAME", "valueFrom": field("metadata.name") },
        { "name": "NODE", "valueFrom": field("spec.nodeName") },
        { "name": "MODE", "valueFrom": { "configMapKeyRef": { "name": "settings", "key": "mode" } } },
    ]);
    container["envFrom"] = json!([{ "prefix": "KEY_", "secretRef": { "name": "key" } }]);
    container["volumeMounts"] = json!([
        { "name": "settings", "mountPath": "/etc/app" },
        { "name": "key", "mountPath": "/keys", "readOnly": true },
        { "name": "shared", "mountPath": "/shared" },
        { "name": "pod", "mountPath": "/pod" },
    ]);
    spec["initContainers"] = json!([{
        "name": "first", "image": "registry:5000/server",
        "command": ["sh", "-c", "sleep 0.2; echo hello >/shared/greeting"],
        "volumeMounts": [{ "name": "shared", "mountPath": "/shared" }],
    }]);
    let item = json!({ "key": "mode", "path": "deep/mode" });
    spec["volumes"] = json!([
        { "name": "settings", "projected": { "sources": [{ "configMap": {
            "name": "settings", "optional": true, "items": [item] } }] } },
        { "name": "key", "secret": { "secretName": "key" } },
        { "name": "shared", "emptyDir": {} },
        { "name": "pod", "downwardAPI": { "items": [
            { "path": "labels", "fieldRef": { "fieldPath": "metadata.labels" } }] } },
    ]);
}

async fn settings(world: &World, mode: &str) {
    let settings = json!({
        "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": "settings" }, "data": { "mode": mode },
    });
    world.apply(settings).await;
    let maps = Api::<ConfigMap>::namespaced(world.client.clone(), &world.namespace);
    assert!(maps.get("settings").await.is_ok());
}

/// Why the server of the first pod does not run.
async fn waiting_for(world: &World) -> anyhow::Result<String> {
    let pods = world.pods().list(&ListParams::default()).await?.items;
    let status = pods.into_iter().next().and_then(|pod| pod.status).unwrap_or_default();
    let container = status.container_statuses.unwrap_or_default().into_iter().next();
    let waiting = container.and_then(|container| container.state).and_then(|state| state.waiting);
    Ok(waiting.and_then(|waiting| waiting.reason).unwrap_or_default())
}

#[tokio::test]
async fn a_service_name_means_its_ready_pods() {
    let world = World::new("names").await;
    world.deploy(2, |_| {}).await;
    let pods = world.ready(2).await;
    let addresses = |pods: &[Running]| {
        let mut addresses: Vec<String> = pods.iter().map(|pod| pod.ip.to_string()).collect();
        addresses.sort();
        addresses.join(" ")
    };
    let both = addresses(&pods);
    for name in ["web".to_owned(), format!("web.{}.svc", world.namespace)] {
        world
            .until("the name", || async {
                Ok(get(&pods[0], &format!("/name/{name}")).await? == both)
            })
            .await;
    }
    assert_eq!(get(&pods[0], "/name/web.elsewhere.svc").await.unwrap(), "", "there is no such");
    world.deploy(1, |_| {}).await;
    let left = world.ready(1).await;
    world
        .until("the name of one", || async {
            Ok(get(&left[0], "/name/web").await? == addresses(&left))
        })
        .await;
}

#[tokio::test]
async fn a_token_has_the_rights_of_its_account() {
    let world = World::new("rights").await;
    world.deploy(1, |_| {}).await;
    let pod = world.ready(1).await.remove(0);
    assert_eq!(get(&pod, &format!("{ACCOUNT}/namespace")).await.unwrap(), world.namespace);
    assert!(get(&pod, &format!("{ACCOUNT}/ca.crt")).await.unwrap().contains("CERTIFICATE"));

    let token = get(&pod, &format!("{ACCOUNT}/token")).await.unwrap();
    let mut config = TestCluster::shared().plane().config().await.unwrap();
    config.auth_info = kube::config::AuthInfo { token: Some(token.into()), ..Default::default() };
    let pods: Api<Pod> =
        Api::namespaced(Client::try_from(config as Config).unwrap(), &world.namespace);
    let refused = pods.list(&ListParams::default()).await.unwrap_err().to_string();
    let account = format!("system:serviceaccount:{}:default", world.namespace);
    assert!(refused.contains(&account) && refused.contains("forbidden"), "{refused}");
    world
        .apply(json!({
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding",
            "metadata": { "name": "view" },
            "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "view" },
            "subjects": [{ "kind": "ServiceAccount", "name": "default", "namespace": world.namespace }],
        }))
        .await;
    world
        .until("the right to list", || async {
            Ok(pods.list(&ListParams::default()).await?.items.len() == 1)
        })
        .await;
}

#[tokio::test]
async fn who_wants_no_token_has_none() {
    let world = World::new("no-token").await;
    world.deploy(1, |spec| spec["automountServiceAccountToken"] = json!(false)).await;
    let pod = world.ready(1).await.remove(0);
    assert!(get(&pod, &format!("{ACCOUNT}/token")).await.is_err());
}
