//! The front as a process, under a service account of its own.

use std::{path::PathBuf, time::Duration};

use http::{Method, Request};
use http_body_util::{BodyExt as _, Full};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use k8s_openapi::api::authentication::v1::TokenRequest;
use kube::config::Kubeconfig;
use serde_json::{Value, json};
use spotscale_test_cluster::{
    apply::{apply, documents},
    role::{announced, role},
};
use tokio::process::Child;

use crate::world::World;

/// Longer than anything here takes on a busy machine; only a hang reaches it.
pub(crate) const PATIENCE: Duration = Duration::from_mins(1);

/// What the front may do, as the Roles of an install would say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Rights {
    /// `EndpointSlices` of the namespace, and Nodes.
    All,
    /// `EndpointSlices` only.
    SlicesOnly,
    /// `EndpointSlices` only, and no watch of them.
    ListOnly,
}

/// A running front.
pub(crate) struct Front {
    pub(crate) client: Client<HttpConnector, Full<bytes::Bytes>>,
    pub(crate) url: String,
    admin: String,
    _process: Child,
    _folder: tempfile::TempDir,
}

impl Front {
    /// With these flags besides those that every test needs. `NS` in a flag stands for the world's namespace.
    pub(crate) async fn start(world: &World, rights: Rights, flags: &[&str]) -> Self {
        let identity = identity(world, rights).await;
        Self::launch(world, &identity, flags).await
    }

    pub(crate) async fn launch(world: &World, identity: &Value, flags: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let kubeconfig: PathBuf = folder.path().join("kubeconfig");
        std::fs::write(&kubeconfig, identity.to_string()).unwrap();
        let group = world.cluster.plane().group();
        let log = group.log(&format!("{}-front", world.namespace));
        let log = std::fs::File::options().create(true).append(true).open(log).unwrap();
        let mut command = role(env!("CARGO_BIN_EXE_spotscale"));
        command
            .args(["front", "--listen=127.0.0.1:0", "--admin-listen=127.0.0.1:0", "--kubernetes"])
            .args(flags.iter().map(|flag| flag.replace("NS", &world.namespace)))
            .env("KUBECONFIG", kubeconfig)
            .stderr(log);
        let (process, listening) = announced(command).await;
        let listening = listening.expect("the front has not started");
        let url = |port: &str| format!("http://{}", listening[port].as_str().unwrap());
        let client = Client::builder(TokioExecutor::new()).build_http();
        let (url, admin) = (url("service"), url("admin"));
        Self { client, url, admin, _process: process, _folder: folder }
    }

    /// Status and body; status 0 where there was no answer.
    pub(crate) async fn post(&self, path: &str) -> (u16, String) {
        let request = Request::builder().method(Method::POST).uri(format!("{}{path}", self.url));
        self.send(request.body(Full::from("picture")).unwrap()).await
    }

    async fn get(&self, url: String) -> (u16, String) {
        self.send(Request::get(url).body(Full::default()).unwrap()).await
    }

    async fn send(&self, request: Request<Full<bytes::Bytes>>) -> (u16, String) {
        let answer = async {
            let response = self.client.request(request).await.ok()?;
            let status = response.status().as_u16();
            let body = response.into_body().collect().await.ok()?.to_bytes();
            Some((status, String::from_utf8_lossy(&body).into_owned()))
        };
        tokio::time::timeout(PATIENCE, answer).await.expect("the front hangs").unwrap_or_default()
    }

    pub(crate) async fn readyz(&self) -> (u16, String) {
        self.get(format!("{}/readyz", self.admin)).await
    }

    /// The value of a metric's line.
    pub(crate) async fn metric(&self, line: &str) -> f64 {
        let page = self.get(format!("{}/metrics", self.admin)).await.1;
        let value = page.lines().find_map(|found| found.strip_prefix(line)?.strip_prefix(' '));
        value.unwrap_or_else(|| panic!("no {line} in {page}")).parse().unwrap()
    }

    /// Waits until `service` has exactly these endpoints in use.
    pub(crate) async fn until_ready(&self, service: &str, wanted: Vec<String>) {
        self.until(service, wanted, |endpoint| endpoint["state"] == "ready").await;
    }

    /// Waits until exactly these endpoints of `service` are its second choice.
    pub(crate) async fn until_leaving(&self, service: &str, wanted: Vec<String>) {
        let is_leaving =
            |endpoint: &Value| endpoint["state"] == "ready" && endpoint["is_leaving"] == true;
        self.until(service, wanted, is_leaving).await;
    }

    async fn until(&self, service: &str, mut wanted: Vec<String>, is_meant: fn(&Value) -> bool) {
        wanted.sort();
        let mut last = Value::Null;
        let start = tokio::time::Instant::now();
        while start.elapsed() < PATIENCE {
            let page = self.get(format!("{}/debug/front", self.admin)).await.1;
            last = serde_json::from_str(&page).unwrap_or_default();
            let services = last.as_array().into_iter().flatten();
            let of_service = services.filter(|one| one["service"] == service);
            let endpoints = of_service.flat_map(|one| one["endpoints"].as_array().unwrap());
            let meant = endpoints.filter(|endpoint| is_meant(endpoint));
            let mut found: Vec<_> =
                meant.map(|endpoint| endpoint["endpoint"].as_str().unwrap().to_owned()).collect();
            found.sort();
            if found == wanted {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        panic!("wanted {wanted:?}, still: {last:#}");
    }
}

/// A kubeconfig of a service account with these rights.
pub(crate) async fn identity(world: &World, rights: Rights) -> Value {
    let namespace = &world.namespace;
    let verbs = if rights == Rights::ListOnly { "list" } else { "list, watch" };
    let rules = format!(
        "
apiVersion: v1
kind: ServiceAccount
metadata: {{name: front, namespace: {namespace}}}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {{name: front, namespace: {namespace}}}
rules: [{{apiGroups: [discovery.k8s.io], resources: [endpointslices], verbs: [{verbs}]}}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {{name: front, namespace: {namespace}}}
roleRef: {{apiGroup: rbac.authorization.k8s.io, kind: Role, name: front}}
subjects: [{{kind: ServiceAccount, name: front, namespace: {namespace}}}]
"
    );
    let nodes = format!(
        "
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {{name: {namespace}-front}}
rules: [{{apiGroups: [''], resources: [nodes], verbs: [list, watch]}}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {{name: {namespace}-front}}
roleRef: {{apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: {namespace}-front}}
subjects: [{{kind: ServiceAccount, name: front, namespace: {namespace}}}]
"
    );
    let mut objects = documents(&rules).unwrap();
    if rights == Rights::All {
        objects.extend(documents(&nodes).unwrap());
    }
    apply(&world.client, namespace, &objects).await.unwrap();
    let request =
        Request::post(format!("/api/v1/namespaces/{namespace}/serviceaccounts/front/token"));
    let body = json!({ "kind": "TokenRequest", "apiVersion": "authentication.k8s.io/v1", "spec": { "audiences": [] } });
    let request = request
        .header("content-type", "application/json")
        .body(serde_json::to_vec(&body).unwrap())
        .unwrap();
    let granted: TokenRequest = world.client.request(request).await.unwrap();
    let token = granted.status.unwrap().token;
    let admin = Kubeconfig::read_from(world.cluster.kubeconfig()).unwrap();
    json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "front",
        "clusters": [{ "name": "test", "cluster": admin.clusters[0].cluster }],
        "users": [{ "name": "front", "user": { "token": token } }],
        "contexts": [{
            "name": "front",
            "context": { "cluster": "test", "user": "front", "namespace": namespace },
        }],
    })
}
