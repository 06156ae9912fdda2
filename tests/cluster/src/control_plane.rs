//! etcd, kube-apiserver, kube-controller-manager and kube-scheduler: their certificates, flags and start order.

use std::{
    path::{Path, PathBuf},
    process::{Child, Command},
    sync::{Arc, Mutex},
    time::Duration,
};

use anyhow::Context as _;
use k8s_openapi::api::core::v1::ServiceAccount;
use kube::{Api, Client, Config, config::Kubeconfig};
use tokio::time::{Instant, sleep, timeout};

use crate::{
    exclusive::ports,
    flags,
    group::{Group, test_program},
    pki::{Authority, Pair, token_keys},
    programs::program,
};

/// Generous: a busy machine of two cores takes a third of it.
const START_TIMEOUT: Duration = Duration::from_mins(3);
const POLL_MIN: Duration = Duration::from_millis(50);
const POLL_MAX: Duration = Duration::from_millis(300);

/// What a test may want to be different.
#[derive(Debug, Clone)]
pub struct Options {
    /// How often the HPA looks. Kubernetes' own default is 15 s.
    pub hpa_sync: Duration,
    /// How long a node may be silent before it counts as gone. Kubernetes' own default is 50 s.
    pub node_grace: Duration,
    /// Which controllers run, as kube-controller-manager has their names. By default all do.
    pub controllers: String,
    /// Names the folder of the logs, `target/test-cluster/NAME`.
    pub name: String,
    /// A cluster that is there already: its API server and its KEDA are used, and nothing is started. By default
    /// what `SPOTSCALE_TEST_KUBECONFIG` names.
    pub kubeconfig: Option<PathBuf>,
}

/// The running control plane.
#[derive(Debug)]
pub struct ControlPlane {
    group: Arc<Group>,
    api_port: u16,
    authority: PathBuf,
    admin: PathBuf,
    api_server: Mutex<Child>,
    api_server_args: Vec<String>,
    node_grace: Duration,
}

/// The certificates that the programs are started with.
pub(crate) struct Certificates {
    pub(crate) cluster: Authority,
    pub(crate) front_proxy: Authority,
    pub(crate) server: Pair,
    pub(crate) front_proxy_client: Pair,
    pub(crate) token: Pair,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            hpa_sync: Duration::from_secs(1),
            node_grace: Duration::from_secs(8),
            controllers: "*".to_owned(),
            name: test_program(),
            kubeconfig: std::env::var_os("SPOTSCALE_TEST_KUBECONFIG").map(PathBuf::from),
        }
    }
}

impl ControlPlane {
    /// Starts all four and waits until Pods could be created.
    pub async fn start(group: Arc<Group>, options: &Options) -> anyhow::Result<(Self, Authority)> {
        let folder = group.folder().join("pki");
        let certificates = Certificates::new(&folder)?;
        let [etcd_port, peer_port, api_port] = ports()?;
        let data = group.folder().join("etcd");
        group.spawn("etcd", &mut flags::etcd(&data, etcd_port, peer_port)?)?;
        let api_server_args = flags::api_server(&certificates, etcd_port, api_port);
        let api_server = Mutex::new(start_api_server(&group, &api_server_args)?);
        let Certificates { cluster, token, .. } = certificates;
        let authority = cluster.file.clone();
        let identity = |name: &str, user: &str, of: Option<&str>| {
            let pair = cluster.issue(&folder, name, (user, of), &[])?;
            write_kubeconfig(&folder, name, api_port, &authority, &pair)
        };
        let admin = identity("admin", "admin", Some("system:masters"))?;
        let manager = identity("controller-manager", "system:kube-controller-manager", None)?;
        let scheduler = identity("scheduler", "system:kube-scheduler", None)?;
        let plane = Self {
            group,
            api_port,
            authority: authority.clone(),
            admin,
            api_server,
            api_server_args,
            node_grace: options.node_grace,
        };
        plane.until_ready().await?;
        let mut command = flags::controller_manager(&manager, &authority, &token.key, options)?;
        plane.group.spawn("kube-controller-manager", &mut command)?;
        plane.group.spawn("kube-scheduler", &mut flags::scheduler(&scheduler)?)?;
        plane.until_service_accounts().await?;
        Ok((plane, cluster))
    }

    /// The group that all its processes are in.
    pub fn group(&self) -> &Arc<Group> {
        &self.group
    }

    /// The kubeconfig of an administrator.
    pub fn kubeconfig(&self) -> &Path {
        &self.admin
    }

    /// How an administrator calls the API server.
    pub async fn config(&self) -> anyhow::Result<Config> {
        config(&self.admin).await
    }

    /// How long a node may be silent before it counts as gone.
    pub fn node_grace(&self) -> Duration {
        self.node_grace
    }

    /// A client of an administrator, without limits, bound to the calling runtime.
    pub async fn client(&self) -> anyhow::Result<Client> {
        client(&self.admin).await
    }

    /// A kubeconfig for another identity, named `name`.
    pub fn identity(&self, name: &str, pair: &Pair) -> anyhow::Result<PathBuf> {
        write_kubeconfig(
            &self.group.folder().join("pki"),
            name,
            self.api_port,
            &self.authority,
            pair,
        )
    }

    /// Kills the API server, as a crash would.
    pub fn kill_api_server(&self) -> anyhow::Result<()> {
        let mut child = self.api_server.lock().unwrap();
        child.kill()?;
        child.wait()?;
        Ok(())
    }

    /// Starts the API server again after [`Self::kill_api_server`].
    pub async fn restart_api_server(&self) -> anyhow::Result<()> {
        *self.api_server.lock().unwrap() = start_api_server(&self.group, &self.api_server_args)?;
        self.until_ready().await
    }

    async fn until_ready(&self) -> anyhow::Result<()> {
        let client = self.client().await?;
        until("kube-apiserver", || async {
            let request = http::Request::get("/readyz").body(Vec::new())?;
            Ok(client.request_text(request).await? == "ok")
        })
        .await
    }

    async fn until_service_accounts(&self) -> anyhow::Result<()> {
        let accounts: Api<ServiceAccount> = Api::namespaced(self.client().await?, "default");
        until("the service account `default`", || async {
            Ok(accounts.get_opt("default").await?.is_some())
        })
        .await
    }
}

impl Certificates {
    fn new(folder: &Path) -> anyhow::Result<Self> {
        let cluster = Authority::new(folder, "cluster")?;
        let front_proxy = Authority::new(&folder.join("front-proxy"), "front-proxy")?;
        let hosts = ["kubernetes.default.svc", "localhost", "127.0.0.1", "10.96.0.1"];
        let server = cluster.issue(folder, "apiserver", ("kube-apiserver", None), &hosts)?;
        let user = ("front-proxy-client", None);
        let front_proxy_client = front_proxy.issue(folder, "front-proxy-client", user, &[])?;
        Ok(Self { server, front_proxy_client, token: token_keys(folder)?, cluster, front_proxy })
    }
}

/// A client for a kubeconfig, without client-side limits of its own.
pub async fn client(kubeconfig: &Path) -> anyhow::Result<Client> {
    Ok(Client::try_from(config(kubeconfig).await?)?)
}

async fn config(kubeconfig: &Path) -> anyhow::Result<Config> {
    let config = Kubeconfig::read_from(kubeconfig)?;
    let options = kube::config::KubeConfigOptions::default();
    Ok(Config::from_custom_kubeconfig(config, &options).await?)
}

/// Waits for a condition; errors count as not yet, and the last one is told.
pub async fn until<F>(what: &str, mut condition: impl FnMut() -> F) -> anyhow::Result<()>
where
    F: Future<Output = anyhow::Result<bool>>,
{
    found(what, || {
        let holds = condition();
        async { Ok(holds.await?.then_some(())) }
    })
    .await
}

/// Waits until there is something to be found, and returns that. Errors count as not yet, and the last one is told.
pub async fn found<T, F>(what: &str, mut look: impl FnMut() -> F) -> anyhow::Result<T>
where
    F: Future<Output = anyhow::Result<Option<T>>>,
{
    let start = Instant::now();
    loop {
        let outcome = timeout(START_TIMEOUT, look()).await.unwrap_or_else(|late| Err(late.into()));
        if let Ok(Some(found)) = outcome {
            return Ok(found);
        }
        if start.elapsed() > START_TIMEOUT {
            let late = format!("{what}: not ready in {START_TIMEOUT:?}");
            return Err(match outcome {
                Err(error) => error.context(late),
                Ok(_) => anyhow::Error::msg(late),
            });
        }
        // What has lasted for long is not asked for as often: many wait at the same time.
        sleep((start.elapsed() / 10).clamp(POLL_MIN, POLL_MAX)).await;
    }
}

fn start_api_server(group: &Group, args: &[String]) -> anyhow::Result<Child> {
    let mut command = Command::new(program("kube-apiserver")?);
    // A tenth of its work was to collect garbage; there is more memory than time.
    command.args(args).env("GOGC", "300");
    group.spawn("kube-apiserver", &mut command).context("kube-apiserver")
}

/// JSON is YAML too.
fn write_kubeconfig(
    folder: &Path,
    name: &str,
    port: u16,
    authority: &Path,
    pair: &Pair,
) -> anyhow::Result<PathBuf> {
    let server = format!("https://127.0.0.1:{port}");
    let config = serde_json::json!({
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": name,
        "clusters": [{ "name": "test", "cluster": { "server": server, "certificate-authority": authority } }],
        "users": [{ "name": name, "user": { "client-certificate": pair.cert, "client-key": pair.key } }],
        "contexts": [{ "name": name, "context": { "cluster": "test", "user": name } }],
    });
    let path = folder.join(format!("{name}.kubeconfig"));
    std::fs::write(&path, serde_json::to_vec_pretty(&config)?)?;
    Ok(path)
}
