//! A release of the chart, running: its pods are processes of the program, on machines of a stand-in for the kubelet,
//! with the rights that the API server gives them, scaled by a real KEDA and HPA.

use std::{collections::BTreeMap, path::Path, time::Duration};

use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt as _, Full};
use hyper_util::{
    client::legacy::{Client as HttpClient, connect::HttpConnector},
    rt::TokioExecutor,
};
use k8s_openapi::api::{apps::v1::Deployment, discovery::v1::EndpointSlice};
use kube::{
    Api, Client,
    api::{ApiResource, DynamicObject, ListParams, Patch, PatchParams},
    core::GroupVersionKind,
};
use serde_json::{Value, json};
use spotscale_test_cluster::{
    kubelet::{Image, Kubelet, Machine, Options, Running},
    parts::part,
    until,
};
use tokio::time::timeout;

use crate::cluster::{cluster, helm};

/// For a busy machine. No test passes by waiting for it.
const PATIENCE: Duration = Duration::from_mins(2);
pub(crate) const LABEL: &str = "test.spotscale.dev/of";

/// A namespace with a release of the chart, and the machines that its pods run on.
pub(crate) struct Install {
    pub(crate) namespace: String,
    client: Client,
    pub(crate) kubelet: Kubelet,
    http: HttpClient<HttpConnector, Full<Bytes>>,
    pub(crate) folder: tempfile::TempDir,
}

/// The program of this build.
pub(crate) fn image() -> Image {
    let library = part("ORT_DYLIB_PATH").display().to_string();
    Image::of(Path::new(env!("CARGO_BIN_EXE_spotscale"))).env("ORT_DYLIB_PATH", &library)
}

impl Install {
    /// A new namespace with two machines, and nothing on them.
    pub(crate) async fn new(name: &str) -> Self {
        let namespace = cluster().await.namespace(name).await;
        Self::within(namespace, image()).await
    }

    /// Two machines for a namespace that is there, and nothing on them; `image` is what `spotscale` means.
    pub(crate) async fn within(namespace: String, image: Image) -> Self {
        let cluster = cluster().await;
        // Others in this cluster have pods too, which are not meant to run.
        let machine = |zone: &str| {
            Machine::new(&format!("{namespace}-{zone}"))
                .label(LABEL, &namespace)
                .label("topology.kubernetes.io/zone", zone)
                .taint(LABEL, &namespace, "NoSchedule")
        };
        let options = Options {
            machines: vec![machine("a"), machine("b")],
            images: BTreeMap::from([("spotscale".to_owned(), image)]),
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
        let complaint = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{complaint}: {:#?}", self.kubelet.pods());
    }

    /// The running pods of a role.
    pub(crate) fn pods(&self, role: &str) -> Vec<Running> {
        let prefix = format!("spotscale-{role}-");
        let mut pods = self.kubelet.pods();
        // Another test's DaemonSet has its pods on every machine.
        pods.retain(|pod| pod.namespace == self.namespace && pod.name.starts_with(&prefix));
        pods
    }

    pub(crate) async fn get(&self, pod: &Running, port: u16, path: &str) -> String {
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
    pub(crate) async fn classify(&self, picture: &Bytes) -> Result<u16, String> {
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

    /// Waits until a front watches endpoints and nodes, and asserts that it never was refused.
    pub(crate) async fn assert_follows_the_cluster(&self, front: &Running) {
        let metrics = || self.get(front, 8092, "/metrics");
        let value = |text: &str, name: &str, resource: &str| {
            let label = format!("resource=\"{resource}\"");
            let mut lines = text.lines().filter(|l| l.starts_with(name) && l.contains(&label));
            lines.next().and_then(|line| line.rsplit_once(' ')?.1.parse::<f64>().ok())
        };
        for resource in ["endpointslices", "nodes"] {
            until(&format!("{} to watch {resource}", front.name), || async {
                let text = metrics().await;
                anyhow::ensure!(
                    value(&text, "spotscale_front_watch_stale", resource) == Some(0.0),
                    "{text}"
                );
                Ok(true)
            })
            .await
            .unwrap();
            let text = metrics().await;
            let failures = value(&text, "spotscale_front_watch_failures", resource);
            assert!(failures.is_none_or(|count| count == 0.0), "{text}");
        }
    }

    pub(crate) async fn models_wanted(&self) -> i32 {
        let deployments: Api<Deployment> = Api::namespaced(self.client.clone(), &self.namespace);
        let model = deployments.get("spotscale-model").await.unwrap();
        model.spec.unwrap().replicas.unwrap()
    }

    /// Tells KEDA where the scalers are, as the name service does.
    pub(crate) async fn name_the_scalers_to_keda(&self) {
        let scalers = self.pods("scaler").into_iter().filter(|pod| pod.ready);
        let scalers: Vec<_> = scalers.map(|pod| pod.ip).collect();
        cluster().await.set_host(&format!("spotscale-scaler.{}.svc", self.namespace), &scalers);
    }

    /// Whether KEDA has asked one of the scalers that are there.
    pub(crate) async fn is_asked_by_keda(&self) -> bool {
        for pod in self.pods("scaler").iter().filter(|pod| pod.ready) {
            if self.get(pod, 8091, "/metrics").await.contains("\nspotscale_scaler_objects 1") {
                return true;
            }
        }
        false
    }

    /// Tells KEDA where the scalers are, and has it look at once: it has been failing for so long that its next try may be
    /// a minute away. It is to be quick from now on.
    pub(crate) async fn introduce_the_scaler_to_keda(&self) {
        self.name_the_scalers_to_keda().await;
        let change = Patch::Merge(json!({ "spec": {
            "pollingInterval": 2, "cooldownPeriod": 5, "initialCooldownPeriod": 5,
        } }));
        let objects = self.scaled_objects();
        objects.patch("spotscale-model", &PatchParams::default(), &change).await.unwrap();
        until("KEDA to accept the trigger", || async {
            let object = objects.get("spotscale-model").await?;
            let conditions = object.data["status"]["conditions"].as_array().cloned();
            let is_ready = |one: &Value| one["type"] == "Ready" && one["status"] == "True";
            Ok(conditions.is_some_and(|all| all.iter().any(is_ready)))
        })
        .await
        .unwrap();
    }

    pub(crate) fn scaled_objects(&self) -> Api<DynamicObject> {
        let kind = GroupVersionKind::gvk("keda.sh", "v1alpha1", "ScaledObject");
        Api::namespaced_with(self.client.clone(), &self.namespace, &ApiResource::from_gvk(&kind))
    }
}
