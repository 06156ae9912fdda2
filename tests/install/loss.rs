//! A hundred thousand requests through the installed front, while model pods are deleted and killed and every role is
//! rolled: how many are lost.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    process::Command,
    sync::{
        Arc, LazyLock, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use futures::future::join_all;
use http::Request;
use http_body_util::{BodyExt as _, Full};
use hyper_util::{
    client::legacy::{Client as HttpClient, connect::HttpConnector},
    rt::TokioExecutor,
};
use serde_json::{Value, json};
use spotscale_test_cluster::{kubelet::Signal, parts::part, until};
use tokio::time::{sleep, timeout};

use crate::{
    cluster::{kubectl, quiet},
    install::Install,
};

const REQUESTS: u64 = 100_000;
const CLIENTS: usize = 24;
/// For a busy machine. No test passes by waiting for it.
const PATIENCE: Duration = Duration::from_mins(1);

/// Held by the tests of which one measures what the other's load would spoil.
pub(crate) static ALONE: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

/// What all clients know and add to.
struct Traffic {
    http: HttpClient<HttpConnector, Full<Bytes>>,
    picture: Bytes,
    /// The fronts that a load balancer would choose from.
    fronts: Mutex<Vec<String>>,
    sent: AtomicU64,
    lost: Mutex<Vec<String>>,
}

impl Traffic {
    fn is_over(&self) -> bool {
        self.sent.load(Ordering::SeqCst) >= REQUESTS
    }

    /// Follows the Service as a load balancer does: it hears of a change a little later.
    async fn balance(&self, install: &Install) {
        while !self.is_over() {
            let ready = install.ready_addresses("spotscale-front").await;
            *self.fronts.lock().unwrap() = ready;
            sleep(Duration::from_millis(200)).await;
        }
    }

    /// One request after the other, each to the next front.
    async fn client(&self) {
        while !self.is_over() {
            let number = self.sent.fetch_add(1, Ordering::SeqCst);
            let answer = timeout(PATIENCE, self.classify(number)).await;
            let answer = answer.unwrap_or_else(|_| Err("no answer in time".to_owned()));
            if answer != Ok(200) {
                self.lost.lock().unwrap().push(format!("request {number}: {answer:?}"));
            }
        }
    }

    async fn classify(&self, number: u64) -> Result<u16, String> {
        let front = {
            let fronts = self.fronts.lock().unwrap();
            let chosen = number as usize % fronts.len().max(1);
            fronts.get(chosen).cloned().ok_or("no front is ready")?
        };
        let request = Request::post(format!("http://{front}:8080/v1/classify"));
        let request = request.body(Full::new(self.picture.clone())).unwrap();
        let answer = self.http.request(request).await.map_err(|error| format!("{error:?}"))?;
        let status = answer.status().as_u16();
        answer.into_body().collect().await.map_err(|error| error.to_string())?;
        Ok(status)
    }
}

/// Three replicas of a model that costs little, next to nothing of which is arithmetic.
fn values(folder: &Path) -> Value {
    json!({
        "scaler": {}, "front": { "preStopSeconds": 3 },
        "model": {
            "minReplicas": 3, "maxReplicas": 4,
            "models": ["tiny=/models/logits.onnx"],
            "volume": { "hostPath": { "path": folder } },
            "args": ["--threads=1"],
        },
    })
}

/// A folder with the model `logits.onnx`. Not a temporary one, of which a pod has its own.
pub(crate) fn tiny_model() -> &'static Path {
    static WRITTEN: LazyLock<PathBuf> = LazyLock::new(|| {
        let models = Path::new(env!("CARGO_TARGET_TMPDIR")).join("tiny-models");
        std::fs::create_dir_all(&models).unwrap();
        let script =
            Path::new(env!("CARGO_MANIFEST_DIR")).join("inference/tests/python/tiny_model.py");
        let written = Command::new(part("SPOTSCALE_PYTHON")).arg(script).arg(&models).status();
        assert!(written.unwrap().success());
        models
    });
    &WRITTEN
}

/// A picture of one white pixel.
pub(crate) fn pixel() -> Bytes {
    let mut bmp =
        b"BM\x3a\0\0\0\0\0\0\0\x36\0\0\0\x28\0\0\0\x01\0\0\0\x01\0\0\0\x01\0\x18\0".to_vec();
    bmp.resize(54, 0);
    bmp.extend([255, 255, 255, 0]);
    bmp.into()
}

/// Until the traffic is over, one mishap after the other; how many there were of each kind.
async fn mishaps(install: &Install, traffic: &Traffic) -> BTreeMap<&'static str, usize> {
    let mut happened = BTreeMap::new();
    for kind in ["killed", "deleted", "fronts rolled", "scalers rolled"].into_iter().cycle() {
        let enough = || async {
            Ok(traffic.is_over() || install.ready_addresses("spotscale-model").await.len() >= 3)
        };
        until("three replicas of the model", enough).await.unwrap();
        if traffic.is_over() {
            break;
        }
        let pods = install.pods("model");
        let victim = &pods.iter().find(|pod| pod.ready).expect("three are ready").name;
        let namespace = &install.namespace;
        match kind {
            "killed" => assert!(install.kubelet.kill(namespace, victim, Signal::KILL) > 0),
            "deleted" => {
                on_a_thread(["delete", "pod", "-n", namespace, victim, "--wait=false"]).await;
            }
            "fronts rolled" => restart(install, "spotscale-front").await,
            _ => restart(install, "spotscale-scaler").await,
        }
        *happened.entry(kind).or_default() += 1;
        sleep(Duration::from_secs(2)).await;
    }
    happened
}

/// Rolls a Deployment, and waits until that is done.
async fn restart(install: &Install, name: &str) {
    let deployment = format!("deployment/{name}");
    on_a_thread(["rollout", "restart", "-n", &install.namespace, &deployment]).await;
    on_a_thread(["rollout", "status", "-n", &install.namespace, &deployment, "--timeout=3m"]).await;
}

async fn on_a_thread<const N: usize>(args: [&str; N]) {
    let args = args.map(str::to_owned);
    let call = move || kubectl(&args.each_ref().map(String::as_str));
    quiet(&tokio::task::spawn_blocking(call).await.unwrap());
}

#[tokio::test(flavor = "multi_thread")]
async fn of_a_hundred_thousand_requests_none_is_lost_while_pods_die_and_every_role_is_rolled() {
    let _alone = ALONE.lock().await;
    let install = Install::new("loss").await;
    install.helm("install", values(tiny_model())).await;
    install.introduce_the_scaler_to_keda().await;
    let traffic = Arc::new(Traffic {
        http: HttpClient::builder(TokioExecutor::new()).build_http(),
        picture: pixel(),
        fronts: Mutex::new(install.ready_addresses("spotscale-front").await),
        sent: AtomicU64::new(0),
        lost: Mutex::default(),
    });
    let start = std::time::Instant::now();
    let clients = (0..CLIENTS).map(|_| {
        let traffic = Arc::clone(&traffic);
        tokio::spawn(async move { traffic.client().await })
    });
    let (ended, (), mishaps) = tokio::join!(
        join_all(clients.collect::<Vec<_>>()),
        traffic.balance(&install),
        mishaps(&install, &traffic),
    );
    assert!(ended.iter().all(Result::is_ok));
    let (lost, sent) = (traffic.lost.lock().unwrap(), traffic.sent.load(Ordering::SeqCst));
    println!("{sent} requests, {mishaps:?}, {} lost, {:?}", lost.len(), start.elapsed());
    assert!(
        lost.is_empty(),
        "{} of {sent} were lost: {:#?}",
        lost.len(),
        &lost[..lost.len().min(20)]
    );
    assert!(mishaps.len() == 4 && mishaps.values().sum::<usize>() >= 8, "only {mishaps:?}");
}
