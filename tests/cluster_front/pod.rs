//! A Pod whose program is a listener of this test.

use std::{
    net::{IpAddr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use axum::{Router, extract::State, http::StatusCode, routing::get};
use k8s_openapi::api::core::v1 as core;
use kube::{
    Api, Client,
    api::{DeleteParams, Patch, PatchParams, PostParams},
};
use serde_json::json;
use spotscale_test_cluster::exclusive::address;
use tokio::{
    net::TcpListener,
    sync::{Semaphore, watch},
};
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};

use crate::{front::PATIENCE, world::now};

/// Where the Pods listen; each has an address of its own.
const PORT: u16 = 8000;

/// A Pod, and the replica that plays its program.
pub(crate) struct Pod {
    pub(crate) name: String,
    pub(crate) address: SocketAddr,
    api: Api<core::Pod>,
    replica: Arc<Replica>,
    is_ready: watch::Sender<bool>,
    stop: CancellationToken,
    _kubelet: AbortOnDropHandle<()>,
}

/// Answers every request with the Pod's name.
struct Replica {
    name: String,
    requests: AtomicUsize,
    /// Requests wait for a permit while this is on.
    is_held: AtomicBool,
    permits: Semaphore,
}

impl Pod {
    pub(crate) async fn start(client: &Client, namespace: &str, service: &str, node: &str) -> Self {
        let address = SocketAddr::new(address(), PORT);
        let listener =
            TcpListener::bind(address).await.expect("is there a route to 10.244.0.0/16?");
        let name = format!("{service}-{}", fastrand::u32(..));
        let api: Api<core::Pod> = Api::namespaced(client.clone(), namespace);
        let pod = json!({
            "metadata": { "name": name, "labels": { "app": service } },
            "spec": {
                "nodeName": node,
                "automountServiceAccountToken": false,
                "containers": [{ "name": "replica", "image": "none" }],
            },
        });
        let pod = serde_json::from_value(pod).unwrap();
        api.create(&PostParams::default(), &pod).await.unwrap();
        let replica = Arc::new(Replica {
            name: name.clone(),
            requests: AtomicUsize::new(0),
            is_held: AtomicBool::new(false),
            permits: Semaphore::new(0),
        });
        let stop = CancellationToken::new();
        let router = Router::new()
            .route("/readyz", get(|| async { "ok" }))
            .fallback(answer)
            .with_state(Arc::clone(&replica));
        let serving =
            axum::serve(listener, router).with_graceful_shutdown(stop.clone().cancelled_owned());
        tokio::spawn(serving.into_future());
        let is_ready = watch::Sender::new(true);
        let telling = tell(api.clone(), name.clone(), address.ip(), is_ready.subscribe());
        let kubelet = AbortOnDropHandle::new(tokio::spawn(telling));
        Self { name, address, api, replica, is_ready, stop, _kubelet: kubelet }
    }

    /// What its readiness probe says from now on.
    pub(crate) fn ready(&self, is_ready: bool) {
        self.is_ready.send_replace(is_ready);
    }

    /// Asks Kubernetes to end it. It is `Terminating` until [`Self::gone`].
    pub(crate) async fn delete(&self) {
        self.api.delete(&self.name, &DeleteParams::default()).await.unwrap();
    }

    /// What the kubelet does after a grace: the program ends, and then the Pod.
    pub(crate) async fn gone(&self) {
        self.stop.cancel();
        self.api.delete(&self.name, &DeleteParams::default().grace_period(0)).await.unwrap();
    }

    /// Its program ends at once, and nobody knows.
    pub(crate) fn stop(&self) {
        self.stop.cancel();
    }

    /// From now on requests wait for [`Self::let_go`].
    pub(crate) fn hold(&self) {
        self.replica.is_held.store(true, Ordering::SeqCst);
    }

    pub(crate) fn let_go(&self) {
        self.replica.is_held.store(false, Ordering::SeqCst);
        self.replica.permits.add_permits(1000);
    }

    /// Waits until it has been sent so many in all.
    pub(crate) async fn until_requests(&self, count: usize) {
        let sent = async {
            while self.requests() < count {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(PATIENCE, sent).await.expect("no request comes");
    }

    /// Other than probes.
    pub(crate) fn requests(&self) -> usize {
        self.replica.requests.load(Ordering::SeqCst)
    }
}

/// The part of the kubelet: tells the Pod's state when it changes, and every second besides, because Kubernetes says
/// that no Pod is ready on a Node that could not renew its lease.
async fn tell(api: Api<core::Pod>, name: String, ip: IpAddr, mut is_ready: watch::Receiver<bool>) {
    let mut since = (true, now());
    loop {
        let value = *is_ready.borrow_and_update();
        if value != since.0 {
            since = (value, now());
        }
        let condition = json!({
            "type": "Ready", "lastTransitionTime": since.1,
            "status": if value { "True" } else { "False" },
        });
        let status = json!({ "status": {
            "phase": "Running", "podIP": ip, "podIPs": [{ "ip": ip }], "conditions": [condition],
        } });
        let _ = api.patch_status(&name, &PatchParams::default(), &Patch::Strategic(status)).await;
        let _ = tokio::time::timeout(Duration::from_secs(1), is_ready.changed()).await;
    }
}

async fn answer(State(replica): State<Arc<Replica>>) -> (StatusCode, String) {
    replica.requests.fetch_add(1, Ordering::SeqCst);
    if replica.is_held.load(Ordering::SeqCst) {
        replica.permits.acquire().await.unwrap().forget();
    }
    (StatusCode::OK, replica.name.clone())
}
