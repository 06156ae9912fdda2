//! The whole: a control plane with KEDA, shared by the tests of one program.

use std::{
    net::IpAddr,
    path::{Path, PathBuf},
    process::Command,
    sync::{Arc, OnceLock},
};

use anyhow::{Context as _, bail};
use k8s_openapi::api::core::v1::Namespace;
use kube::{
    Api, Client,
    api::{ObjectMeta, PostParams},
};

use crate::{
    control_plane::{ControlPlane, Options},
    group::Group,
    keda::Keda,
};

/// Addresses of Pods. A route makes them all local, because `EndpointSlices` refuse loopback addresses.
pub const POD_NETWORK: &str = "10.244.0.0/16";

/// A running cluster. Dropped, or when this process ends in whatever way, its processes are killed and its data removed;
/// the logs stay in `target/test-cluster/NAME` until the next start.
#[derive(Debug)]
pub struct TestCluster {
    plane: ControlPlane,
    keda: Keda,
}

impl TestCluster {
    /// The cluster that the tests of this program share; each test takes a namespace of its own.
    pub fn shared() -> &'static Self {
        static SHARED: OnceLock<TestCluster> = OnceLock::new();
        // On a thread of its own: the caller is usually inside of a runtime, which may not block on another one.
        let start = || {
            let runtime = tokio::runtime::Runtime::new().unwrap();
            runtime
                .block_on(Self::start(&Options::default()))
                .unwrap_or_else(|error| panic!("{error:#}"))
        };
        SHARED
            .get_or_init(|| std::thread::spawn(start).join().expect("the cluster has not started"))
    }

    /// Starts a cluster of its own.
    pub async fn start(options: &Options) -> anyhow::Result<Self> {
        add_route()?;
        let logs = logs().join(&options.name);
        let _ = std::fs::remove_dir_all(&logs);
        let group = Arc::new(Group::new(&logs)?);
        let start = async {
            let (plane, authority) = ControlPlane::start(group, options).await?;
            let keda = Keda::start(&plane, &authority).await?;
            anyhow::Ok(Self { plane, keda })
        };
        start.await.with_context(|| format!("the logs are in {}", logs.display()))
    }

    /// The control plane: its kubeconfig, its processes, its API server's end.
    pub fn plane(&self) -> &ControlPlane {
        &self.plane
    }

    /// Kills KEDA's operator, as a crash would.
    pub fn kill_keda(&self) {
        self.keda.kill_operator().unwrap();
    }

    /// Starts KEDA's operator again.
    pub fn restart_keda(&self) {
        self.keda.restart_operator().unwrap();
    }

    /// Gives a name these addresses, for KEDA's operator alone.
    pub fn add_host(&self, name: &str, addresses: &[IpAddr]) {
        self.keda.add_host(name, addresses).unwrap();
    }

    /// A client of an administrator, bound to the calling runtime.
    pub async fn client(&self) -> Client {
        self.plane.client().await.unwrap()
    }

    /// The kubeconfig of an administrator.
    pub fn kubeconfig(&self) -> &Path {
        self.plane.kubeconfig()
    }

    /// Makes a namespace `PREFIX-xxxxx` and returns its name.
    pub async fn namespace(&self, prefix: &str) -> String {
        let metadata =
            ObjectMeta { generate_name: Some(format!("{prefix}-")), ..ObjectMeta::default() };
        let namespace = Namespace { metadata, ..Namespace::default() };
        let namespaces: Api<Namespace> = Api::all(self.client().await);
        namespaces.create(&PostParams::default(), &namespace).await.unwrap().metadata.name.unwrap()
    }
}

fn logs() -> PathBuf {
    let target = std::env::var_os("CARGO_TARGET_DIR")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target"), PathBuf::from);
    target.join("test-cluster")
}

fn add_route() -> anyhow::Result<()> {
    let output = Command::new("ip")
        .args(["route", "replace", "local", POD_NETWORK, "dev", "lo"])
        .output()
        .context("ip (Debian: iproute2)")?;
    if !output.status.success() {
        bail!(
            "Pods need addresses: run as root, or run `sudo ip route replace local {POD_NETWORK} dev lo` once ({})",
            String::from_utf8_lossy(&output.stderr).trim()
        );
    }
    Ok(())
}
