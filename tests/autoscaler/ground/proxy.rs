//! A proxy between one daemon and the API server: it writes down every write, can kill the daemon right before or right
//! after one of them, and can be an API server that is out of reach, in part or whole. The product needs no hook for any of this.

use std::{
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
};

use axum::{
    Router,
    body::{Body, to_bytes},
    extract::State,
    response::{IntoResponse as _, Response},
};
use http::{Method, Request, StatusCode};
use jiff::Timestamp;
use kube::Client;
use rustix::process::Signal;
use serde_json::{Value, json};
use spotscale_test_cluster::control_plane::ControlPlane;
use tokio::net::TcpListener;
use tokio_util::task::AbortOnDropHandle;

use super::process::kill;

/// Far more than any object of a test has.
const BODY_BYTES_MAX: usize = 8 << 20;

/// A write that the daemon has sent.
#[derive(Debug, Clone)]
pub(crate) struct Write {
    /// When it was answered.
    pub(crate) at: Timestamp,
    pub(crate) method: Method,
    /// Without the query.
    pub(crate) path: String,
    pub(crate) body: Value,
    pub(crate) status: StatusCode,
}

impl Write {
    /// What it did; nothing where it is the daemon's own book-keeping or was refused.
    pub(crate) fn act(&self) -> Option<Act> {
        let patched = |pointer: &str| self.body.pointer(pointer).is_some_and(|new| !new.is_null());
        let act = match self.path.rsplit('/').nth(1)? {
            "nodes" if self.body["spec"]["unschedulable"] == true => Act::Cordon,
            "nodes" if self.body["spec"]["unschedulable"] == false => Act::Uncordon,
            "nodes" if patched("/metadata/annotations/karpenter.sh~1do-not-disrupt") => {
                Act::Protect
            }
            "nodes" if patched("/metadata/annotations/spotscale.dev~1notices") => Act::Notice,
            "pods" if self.method == Method::DELETE => Act::Evict,
            "pods" if patched("/metadata/annotations/spotscale.dev~1surged") => Act::Surge,
            "nodeclaims" if self.method == Method::DELETE => Act::Terminate,
            _ if self.path.ends_with("/eviction") => Act::Evict,
            _ if is_act(&self.path) => Act::Steer,
            _ => return None,
        };
        self.status.is_success().then_some(act)
    }
}

/// What a write did to the cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Act {
    Notice,
    Protect,
    Cordon,
    Uncordon,
    Surge,
    Evict,
    Terminate,
    /// Overlays, and weights and limits of pools.
    Steer,
}

fn is_act(path: &str) -> bool {
    let own = ["/leases", "/events", "/configmaps", "/selfsubject"];
    !own.iter().any(|own| path.contains(own))
}

/// When the daemon is killed: at its n-th act, counted from zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kill {
    /// The API server never sees the act.
    Before(usize),
    /// The API server has done it, and the daemon never hears so.
    After(usize),
}

struct Shared {
    client: Client,
    writes: Mutex<Vec<Write>>,
    acts: Mutex<usize>,
    kill: Mutex<Option<Kill>>,
    killed: AtomicBool,
    pid: AtomicU32,
    /// Requests whose path has this in it are not let through.
    refused: Mutex<Option<&'static str>>,
}

/// A running proxy.
pub(crate) struct Proxy {
    address: SocketAddr,
    shared: Arc<Shared>,
    _serving: AbortOnDropHandle<()>,
}

impl Proxy {
    pub(crate) async fn start(plane: &ControlPlane) -> Self {
        let mut config = plane.config().await.unwrap();
        // What the API server answers is the daemon's to see.
        config.default_retry = false;
        let shared = Arc::new(Shared {
            client: Client::try_from(config).unwrap(),
            writes: Mutex::default(),
            acts: Mutex::default(),
            kill: Mutex::default(),
            killed: AtomicBool::new(false),
            pid: AtomicU32::new(0),
            refused: Mutex::default(),
        });
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let router = Router::new().fallback(forward).with_state(Arc::clone(&shared));
        let serving = async move { axum::serve(listener, router).await.unwrap() };
        Self { address, shared, _serving: AbortOnDropHandle::new(tokio::spawn(serving)) }
    }

    /// A kubeconfig that leads here.
    pub(crate) fn kubeconfig(&self, namespace: &str) -> Value {
        json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "proxy",
            "clusters": [{ "name": "proxy", "cluster": { "server": format!("http://{}", self.address) } }],
            "users": [{ "name": "proxy", "user": {} }],
            "contexts": [{
                "name": "proxy",
                "context": { "cluster": "proxy", "user": "proxy", "namespace": namespace },
            }],
        })
    }

    /// Kills the process at that act, once.
    pub(crate) fn kill(&self, pid: u32, at: Option<Kill>) {
        self.shared.pid.store(pid, Ordering::SeqCst);
        self.shared.killed.store(false, Ordering::SeqCst);
        *self.shared.acts.lock().unwrap() = 0;
        *self.shared.kill.lock().unwrap() = at;
    }

    /// Whether that has happened.
    pub(crate) fn has_killed(&self) -> bool {
        self.shared.killed.load(Ordering::SeqCst)
    }

    /// From now on what has this in its path is out of reach: `/` is everything.
    pub(crate) fn refuse(&self, part: Option<&'static str>) {
        *self.shared.refused.lock().unwrap() = part;
    }

    /// Everything that was written, in order.
    pub(crate) fn writes(&self) -> Vec<Write> {
        self.shared.writes.lock().unwrap().clone()
    }

    /// What was done to the cluster, in order.
    pub(crate) fn acts(&self) -> Vec<Act> {
        self.writes().iter().filter_map(Write::act).collect()
    }

    /// How often it was done.
    pub(crate) fn count(&self, act: Act) -> usize {
        self.acts().iter().filter(|done| **done == act).count()
    }
}

impl Shared {
    /// The number of this act.
    fn count(&self) -> usize {
        let mut acts = self.acts.lock().unwrap();
        *acts += 1;
        *acts - 1
    }

    /// Kills the daemon if it is time, and then answers nothing any more.
    async fn kill_at(&self, moment: Kill) {
        let is_now = *self.kill.lock().unwrap() == Some(moment);
        if is_now && !self.killed.swap(true, Ordering::SeqCst) {
            kill(self.pid.load(Ordering::SeqCst), Signal::KILL);
            std::future::pending::<()>().await;
        }
    }
}

async fn forward(State(shared): State<Arc<Shared>>, request: Request<Body>) -> Response {
    let refused = *shared.refused.lock().unwrap();
    if refused.is_some_and(|part| request.uri().path().contains(part)) {
        return StatusCode::BAD_GATEWAY.into_response();
    }
    let (parts, body) = request.into_parts();
    let body = to_bytes(body, BODY_BYTES_MAX).await.unwrap();
    let (method, path) = (parts.method.clone(), parts.uri.path().to_owned());
    let is_write = method != Method::GET;
    let act = (is_write && is_act(&path)).then(|| shared.count());
    if let Some(act) = act {
        shared.kill_at(Kill::Before(act)).await;
    }
    let value = serde_json::from_slice(&body).unwrap_or_default();
    let mut onward = Request::builder().method(parts.method).uri(parts.uri);
    for (name, value) in &parts.headers {
        if !["host", "connection", "content-length"].contains(&name.as_str()) {
            onward = onward.header(name, value);
        }
    }
    let onward = onward.body(kube::client::Body::from(body.to_vec())).unwrap();
    // Spawned: the API server gets it whole even if the daemon is gone meanwhile.
    let client = shared.client.clone();
    let answer = tokio::spawn(async move { client.send(onward).await }).await.unwrap();
    let Ok(answer) = answer else { return StatusCode::BAD_GATEWAY.into_response() };
    if is_write {
        let write =
            Write { at: Timestamp::now(), method, path, body: value, status: answer.status() };
        shared.writes.lock().unwrap().push(write);
    }
    if let Some(act) = act {
        shared.kill_at(Kill::After(act)).await;
    }
    answer.map(Body::new)
}
