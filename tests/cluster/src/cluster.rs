//! The whole: a control plane with KEDA, shared by the tests of one program.

use std::{
    net::IpAddr,
    path::{Path, PathBuf},
    process::Command,
    sync::{Arc, OnceLock},
};

use anyhow::{Context as _, bail};
use k8s_openapi::{
    api::core::v1::{Namespace, ServiceAccount},
    kube_aggregator::pkg::apis::apiregistration::v1::APIService,
};
use kube::{
    Api, Client,
    api::{ObjectMeta, PostParams},
};

use crate::{
    control_plane::{ControlPlane, Options, client, until},
    group::{Group, logs},
    keda::{EXTERNAL_METRICS, Keda},
};

/// Addresses of Pods. A route makes them all local, because `EndpointSlices` refuse loopback addresses.
pub const POD_NETWORK: &str = "10.244.0.0/16";

/// A running cluster. Dropped, or when this process ends in whatever way, its processes are killed and its data
/// removed; the logs stay in `target/test-cluster/NAME` until the next start.
///
/// It may also be a cluster that was there before ([`Options::kubeconfig`]): then nothing is started and nothing ends,
/// and what would need processes of its own panics and says so.
#[derive(Debug)]
pub struct TestCluster {
    kubeconfig: PathBuf,
    own: Option<(ControlPlane, Keda)>,
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

    /// Starts a cluster of its own, or takes the one that is given.
    pub async fn start(options: &Options) -> anyhow::Result<Self> {
        if let Some(kubeconfig) = &options.kubeconfig {
            return Self::given(kubeconfig).await;
        }
        add_route()?;
        let logs = logs(&options.name);
        let _ = std::fs::remove_dir_all(&logs);
        let group = Arc::new(Group::new(&logs)?);
        let start = async {
            let (plane, authority) = ControlPlane::start(group, options).await?;
            let keda = Keda::start(&plane, &authority).await?;
            let kubeconfig = plane.kubeconfig().to_owned();
            anyhow::Ok(Self { kubeconfig, own: Some((plane, keda)) })
        };
        start.await.with_context(|| format!("the logs are in {}", logs.display()))
    }

    /// The cluster of a kubeconfig, once it is seen to have what the tests need.
    async fn given(kubeconfig: &Path) -> anyhow::Result<Self> {
        let name = kubeconfig.display();
        let client =
            client(kubeconfig).await.with_context(|| format!("{name} is no kubeconfig"))?;
        let services: Api<APIService> = Api::all(client);
        let metrics = services.get_opt(EXTERNAL_METRICS).await;
        let metrics =
            metrics.with_context(|| format!("the API server of {name} does not answer"))?;
        metrics.with_context(|| format!("the cluster of {name} has no KEDA"))?;
        Ok(Self { kubeconfig: kubeconfig.to_owned(), own: None })
    }

    /// The control plane: its processes, its API server's end.
    pub fn plane(&self) -> &ControlPlane {
        &self.own("the control plane's processes").0
    }

    /// Kills KEDA's operator, as a crash would.
    pub fn kill_keda(&self) {
        self.own("the end of KEDA").1.kill_operator().unwrap();
    }

    /// Starts KEDA's operator again.
    pub fn restart_keda(&self) {
        self.own("the start of KEDA").1.restart_operator().unwrap();
    }

    /// Gives a name these addresses, for KEDA's operator alone, in place of those that it had.
    pub fn set_host(&self, name: &str, addresses: &[IpAddr]) {
        self.own("names for KEDA alone").1.set_host(name, addresses).unwrap();
    }

    /// A client of an administrator, bound to the calling runtime.
    pub async fn client(&self) -> Client {
        client(&self.kubeconfig).await.unwrap()
    }

    /// The kubeconfig of an administrator.
    pub fn kubeconfig(&self) -> &Path {
        &self.kubeconfig
    }

    fn own(&self, what: &str) -> &(ControlPlane, Keda) {
        let given = self.kubeconfig.display();
        self.own.as_ref().unwrap_or_else(|| {
            panic!(
                "{what}: not to be had of the cluster that {given} gives; run this test without it"
            )
        })
    }

    /// Makes a namespace `PREFIX-xxxxx` in which Pods can be made, and returns its name.
    pub async fn namespace(&self, prefix: &str) -> String {
        let metadata =
            ObjectMeta { generate_name: Some(format!("{prefix}-")), ..ObjectMeta::default() };
        let namespace = Namespace { metadata, ..Namespace::default() };
        let client = self.client().await;
        let namespaces: Api<Namespace> = Api::all(client.clone());
        let made = namespaces.create(&PostParams::default(), &namespace).await.unwrap();
        let name = made.metadata.name.unwrap();
        // A controller makes it a moment later; until then Pods are refused.
        let accounts: Api<ServiceAccount> = Api::namespaced(client, &name);
        let has_account = || async { Ok(accounts.get_opt("default").await?.is_some()) };
        until("a service account", has_account).await.unwrap();
        name
    }
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
