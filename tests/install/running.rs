//! What the chart installs, running: its pods are processes of the program, on machines of a stand-in for the kubelet,
//! under the API server's rights, KEDA and HPA. Only KEDA's way to the scaler is bent: outside of a pod its name means
//! nothing.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    time::Duration,
};

use bytes::Bytes;
use futures::future::join;
use http::Request;
use http_body_util::{BodyExt as _, Full};
use hyper_util::{
    client::legacy::{Client as HttpClient, connect::HttpConnector},
    rt::TokioExecutor,
};
use k8s_openapi::api::{apps::v1::Deployment, discovery::v1::EndpointSlice};
use kube::{
    Api, Client,
    api::{ListParams, Patch, PatchParams},
};
use serde_json::{Value, json};
use spotscale_test_cluster::{
    kubelet::{Image, Kubelet, Machine, Options, Running},
    pki::Authority,
    until,
};
use tokio::{sync::oneshot, time::timeout};

use crate::cluster::{cluster, helm, kubectl, quiet};

/// For a busy machine. No test passes by waiting for it.
const PATIENCE: Duration = Duration::from_mins(2);
const LABEL: &str = "test.spotscale.dev/of";

/// A namespace with a release of the chart, and the machines that its pods run on.
pub(crate) struct Install {
    pub(crate) namespace: String,
    client: Client,
    pub(crate) kubelet: Kubelet,
    http: HttpClient<HttpConnector, Full<Bytes>>,
    pub(crate) folder: tempfile::TempDir,
}

pub(crate) fn needed(variable: &str) -> PathBuf {
    std::env::var_os(variable).unwrap_or_else(|| panic!("{variable}: run `make test`")).into()
}

fn image() -> Image {
    let library = needed("ORT_DYLIB_PATH").display().to_string();
    Image::of(Path::new(env!("CARGO_BIN_EXE_spotscale"))).env("ORT_DYLIB_PATH", &library)
}

impl Install {
    /// Two machines, and nothing on them.
    pub(crate) async fn new(name: &str) -> Self {
        let cluster = cluster().await;
        let namespace = cluster.namespace(name).await;
        // Others in this cluster have pods too, which are not meant to run.
        let machine = |zone: &str| {
            Machine::new(&format!("{namespace}-{zone}"))
                .label(LABEL, &namespace)
                .label("topology.kubernetes.io/zone", zone)
                .taint(LABEL, &namespace, "NoSchedule")
        };
        let options = Options {
            machines: vec![machine("a"), machine("b")],
            images: BTreeMap::from([("spotscale".to_owned(), image())]),
            cold_start: Duration::ZERO,
        };
        Self {
            client: cluster.client().await,
            kubelet: Kubelet::start(cluster.plane(), options).await.unwrap(),
            http: HttpClient::builder(TokioExecutor::new()).pool_max_idle_per_host(0).build_http(),
            folder: tempfile::tempdir().unwrap(),
            namespace,
        }
    }

    /// `helm VERB` with these values, until all of it is ready.
    pub(crate) async fn helm(&self, verb: &str, mut values: Value) {
        let here = json!({
            "nodeSelector": { LABEL: self.namespace },
            "tolerations": [{ "key": LABEL, "operator": "Exists" }],
        });
        for role in ["scaler", "front", "model"] {
            let role = values[role].as_object_mut().unwrap();
            role.extend(here.as_object().unwrap().clone());
        }
        let file = self.folder.path().join("values.json");
        std::fs::write(&file, values.to_string()).unwrap();
        let file = file.display().to_string();
        let args = [verb, "spotscale", "manifests/chart", "-n", &self.namespace, "-f", &file];
        let args: Vec<String> =
            args.into_iter().chain(["--wait", "--timeout=5m"]).map(str::to_owned).collect();
        let call = move || helm(&args.iter().map(String::as_str).collect::<Vec<_>>());
        let output = tokio::task::spawn_blocking(call).await.unwrap();
        if !output.status.success() {
            panic!("{}: {:#?}", String::from_utf8_lossy(&output.stderr), self.kubelet.pods());
        }
    }

    /// The running pods of a role.
    pub(crate) fn pods(&self, role: &str) -> Vec<Running> {
        let prefix = format!("spotscale-{role}-");
        self.kubelet.pods().into_iter().filter(|pod| pod.name.starts_with(&prefix)).collect()
    }

    async fn get(&self, pod: &Running, port: u16, path: &str) -> String {
        let uri = format!("http://{}:{port}{path}", pod.ip).parse().unwrap();
        let answer = self.http.get(uri).await.unwrap();
        let body = answer.into_body().collect().await.unwrap().to_bytes();
        String::from_utf8(body.to_vec()).unwrap()
    }

    /// The pods that a load balancer may choose of a Service, as the API server has them now.
    pub(crate) async fn ready_addresses(&self, service: &str) -> Vec<String> {
        let slices: Api<EndpointSlice> = Api::namespaced(self.client.clone(), &self.namespace);
        let of_service =
            ListParams::default().labels(&format!("kubernetes.io/service-name={service}"));
        let slices = slices.list(&of_service).await.unwrap();
        let endpoints = slices.items.into_iter().flat_map(|slice| slice.endpoints);
        let ready = endpoints
            .filter(|one| one.conditions.as_ref().is_some_and(|all| all.ready == Some(true)));
        ready.flat_map(|endpoint| endpoint.addresses).collect()
    }

    /// Sends a picture to the front, as a client behind a load balancer does.
    async fn classify(&self, picture: &Bytes) -> Result<u16, String> {
        let fronts = self.ready_addresses("spotscale-front").await;
        let front = fronts.first().ok_or("no front is ready")?;
        let request = Request::post(format!("http://{front}:8080/v1/classify"));
        let request = request.body(Full::new(picture.clone())).unwrap();
        let answer = timeout(PATIENCE, self.http.request(request)).await;
        let answer =
            answer.map_err(|_| "no answer in time")?.map_err(|error| format!("{error:?}"))?;
        let status = answer.status().as_u16();
        answer.into_body().collect().await.map_err(|error| error.to_string())?;
        Ok(status)
    }

    async fn models_wanted(&self) -> i32 {
        let deployments: Api<Deployment> = Api::namespaced(self.client.clone(), &self.namespace);
        let model = deployments.get("spotscale-model").await.unwrap();
        model.spec.unwrap().replicas.unwrap()
    }

    /// Has KEDA call one scaler by its address.
    pub(crate) async fn lead_keda_to_the_scaler(&self) {
        let kind = kube::core::GroupVersionKind::gvk("keda.sh", "v1alpha1", "ScaledObject");
        let kind = kube::core::ApiResource::from_gvk(&kind);
        let objects: Api<kube::api::DynamicObject> =
            Api::namespaced_with(self.client.clone(), &self.namespace, &kind);
        let address = format!("{}:6000", self.pods("scaler")[0].ip);
        let path = "/spec/triggers/0/metadata/scalerAddress";
        let change = json!([{ "op": "replace", "path": path, "value": address }]);
        let change = Patch::Json::<()>(serde_json::from_value(change).unwrap());
        objects.patch("spotscale-model", &PatchParams::default(), &change).await.unwrap();
    }
}

/// The model that is at hand, with an idle time that a test can wait for.
fn values() -> Value {
    let model = needed("SPOTSCALE_MODEL");
    let (folder, name) = (model.parent().unwrap(), model.file_name().unwrap().to_str().unwrap());
    json!({
        "scaler": {}, "front": { "preStopSeconds": 3 },
        "model": {
            "models": [format!("resnet50=/models/{name}")],
            "volume": { "hostPath": { "path": folder } },
            "trigger": { "idleAfterSeconds": "1", "coldStartSeconds": "60" },
        },
    })
}

fn picture() -> Bytes {
    std::fs::read(needed("SPOTSCALE_PICTURES").join("coins.png")).unwrap().into()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_wakes_the_model_and_an_upgrade_loses_none() {
    let install = Install::new("running").await;
    install.helm("install", values()).await;
    install.lead_keda_to_the_scaler().await;
    until("the model to sleep", || async {
        Ok(install.models_wanted().await == 0 && install.pods("model").is_empty())
    })
    .await
    .unwrap();
    let picture = picture();
    assert_eq!(install.classify(&picture).await, Ok(200), "{:#?}", install.kubelet.pods());

    // Something that every role shows in its arguments, so that all pods are replaced.
    let mut changed = values();
    changed["log"] = json!("info,h2=warn");
    let before = install.pods("front");
    let (upgraded, mut done) = oneshot::channel();
    let upgrade = async {
        install.helm("upgrade", changed).await;
        upgraded.send(()).unwrap();
    };
    let client = async {
        let mut answers = Vec::new();
        while done.try_recv().is_err() {
            answers.push(install.classify(&picture).await);
        }
        answers
    };
    let ((), answers) = join(upgrade, client).await;
    let lost: Vec<_> = answers.iter().filter(|answer| **answer != Ok(200)).collect();
    assert!(lost.is_empty(), "{} of {} were lost: {lost:?}", lost.len(), answers.len());
    assert!(answers.len() > 20, "only {} requests", answers.len());
    let kept = |pod: &&Running| before.iter().any(|old| old.name == pod.name && pod.ready);
    assert_eq!(install.pods("front").iter().find(kept).map(|pod| &pod.name), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn with_mutual_tls_every_front_reports_to_every_scaler() {
    let install = Install::new("mtls").await;
    let folder = install.folder.path().join("pki");
    let authority = Authority::new(&folder, "spotscale").unwrap();
    let host = format!("spotscale-scaler.{}.svc", install.namespace);
    for (name, hosts) in [("server", vec![host.as_str()]), ("client", vec![])] {
        let pair = authority.issue(&folder, name, (name, None), &hosts).unwrap();
        let file = |key: &str, path: &Path| format!("--from-file={key}={}", path.display());
        quiet(&kubectl(
            &[
                &["create", "secret", "generic", name, "-n", &install.namespace],
                [
                    file("tls.crt", &pair.cert).as_str(),
                    &file("tls.key", &pair.key),
                    &file("ca.crt", &authority.file),
                ]
                .as_slice(),
            ]
            .concat(),
        ));
    }
    let tls = json!({
        "enabled": true, "mutual": true, "serverSecret": "server", "clientSecret": "client",
    });
    let services = json!([{ "name": format!("{}/none", install.namespace) }]);
    let front = json!({ "services": services, "preStopSeconds": 0 });
    let values = json!({ "tls": tls, "scaler": {}, "front": front, "model": { "enabled": false } });
    install.helm("install", values).await;
    let scalers = install.pods("scaler");
    assert_eq!(scalers.len(), 2);
    let wanted = format!("spotscale_scaler_fronts{{service=\"{}/none\"}} 2", install.namespace);
    for scaler in &scalers {
        until(&format!("two fronts at {}", scaler.name), || async {
            Ok(install.get(scaler, 8091, "/metrics").await.contains(&wanted))
        })
        .await
        .unwrap();
    }
}
