//! A stand-in for the kubelet: machines that keep their leases, and Pods that are real processes on addresses of their
//! own.
//!
//! As in a cluster: a pod has its own files over this machine's, with its volumes where its spec mounts them; its
//! `ServiceAccount`'s token, so that RBAC is in force; the names of Services, through `/etc/hosts`; init containers,
//! probes, restarts, hooks and grace periods. Not as in a cluster:
//!
//! - One network for all: pod addresses lie in 10.244.0.0/16, which `ip route add local 10.244.0.0/16 dev lo` gives to
//!   this machine. `0.0.0.0` and `[::]` in arguments and variables become the pod's own; a program whose *default* is
//!   to bind all addresses must be told by [`Image::env`]. Who binds `127.0.0.1` shares it with everybody.
//! - No proxy for Services: their names mean the ready pods themselves, so a caller uses the target port.
//! - No limits, no users, no security context: a process runs as this test does, as root, because mounts need it.
//! - A crashed container waits from 0.5 s to 5 s for its next start, not from 10 s to 5 min.
//! - Tokens are not renewed: no test lasts for an hour.

mod board;
mod container;
mod env;
mod fields;
mod hosts;
mod machine;
mod pod;
mod pods;
mod probe;
mod process;
mod report;
mod status;
mod volumes;

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use anyhow::Context as _;
use k8s_openapi::api::core::v1::Node;
use kube::{Api, Client, api::DeleteParams};
pub use rustix::process::Signal;
use tokio::runtime::Runtime;

use self::{hosts::Hosts, machine::Link, pods::Pods};
pub use self::{
    machine::Machine,
    pods::{Running, all_ready},
};
use crate::{control_plane::ControlPlane, group::Group};

/// For the Nodes to be deleted at the end, at most.
const LEAVE: Duration = Duration::from_secs(3);

/// What stands for an image: a program of this machine.
#[derive(Debug, Clone, Default)]
pub struct Image {
    /// The program and the arguments that come before a container's own.
    pub entrypoint: Vec<String>,
    /// Variables of the image; `$(POD_IP)` in a value is the pod's address. A container may set them otherwise.
    pub env: BTreeMap<String, String>,
}

impl Image {
    /// An image of one program.
    pub fn of(program: &Path) -> Self {
        Self { entrypoint: vec![program.display().to_string()], env: BTreeMap::new() }
    }

    /// With this variable.
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.env.insert(name.to_owned(), value.to_owned());
        self
    }

    /// What a container's `command` means in this image: nothing is the entry point, and the name of the image's
    /// program, with any path, is that program.
    fn command(&self, given: Vec<String>) -> Vec<String> {
        let name = |path: &String| Path::new(path).file_name().map(ToOwned::to_owned);
        match (given.first(), self.entrypoint.first()) {
            (None, _) => self.entrypoint.clone(),
            (Some(word), Some(program)) if name(word) == name(program) => {
                [program].into_iter().chain(&given[1..]).cloned().collect()
            }
            _ => given,
        }
    }
}

/// What a kubelet is started with.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// The machines that are there from the start.
    pub machines: Vec<Machine>,
    /// By repository, without a tag.
    pub images: BTreeMap<String, Image>,
    /// From a pod's binding to the start of its first container.
    pub cold_start: Duration,
}

/// What every part of a kubelet knows.
struct Shared {
    client: Client,
    group: Arc<Group>,
    folder: PathBuf,
    hosts: Arc<Hosts>,
    images: BTreeMap<String, Image>,
    cold_start: Duration,
    /// Host and port of the API server, as pods are told.
    api: (String, String),
}

/// The kubelets of some machines. Dropped, it ends all their processes and deletes their Nodes: too many that nobody
/// speaks for, and the cluster takes the fault for its own and replaces no pod any more.
pub struct Kubelet {
    pods: Arc<Pods>,
    /// Its own, so that no test holds up a heartbeat.
    runtime: Option<Runtime>,
}

impl Kubelet {
    /// Starts with the machines of `options`, when their Nodes are registered.
    pub async fn start(plane: &ControlPlane, options: Options) -> anyhow::Result<Self> {
        anyhow::ensure!(rustix::process::geteuid().is_root(), "pods as processes need root");
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .thread_name("kubelet")
            .enable_all()
            .build()?;
        let config = plane.config().await?;
        let group = Arc::clone(plane.group());
        let machines = options.machines.clone();
        let starting = runtime.spawn(async { begin(config, group, options) });
        let pods = starting.await??;
        let kubelet = Self { pods, runtime: Some(runtime) };
        for machine in machines {
            kubelet.add(machine).await?;
        }
        Ok(kubelet)
    }

    /// A new machine joins; its Node is there when this returns.
    pub async fn add(&self, machine: Machine) -> anyhow::Result<()> {
        let pods = Arc::clone(&self.pods);
        self.within(async move { pods.join(machine).await }).await
    }

    /// The machine is taken away: its processes are killed and it says nothing any more. Its Node object stays, as a
    /// cloud leaves it at first.
    pub fn take(&self, machine: &str) {
        self.pods.link(machine, Link::Gone);
    }

    /// Deletes the Node object, as a cloud's controller does with a machine that was taken away.
    pub async fn forget(&self, machine: &str) -> anyhow::Result<()> {
        let nodes = Api::<Node>::all(self.pods.shared.client.clone());
        let machine = machine.to_owned();
        self.within(async move {
            nodes.delete(&machine, &DeleteParams::default()).await?;
            Ok(())
        })
        .await
    }

    /// The machine can no longer reach the API server; its processes run on.
    pub fn cut(&self, machine: &str) {
        self.pods.link(machine, Link::Cut);
    }

    /// The end of [`Self::cut`]: the machine reports, and does what it was not told meanwhile.
    pub async fn heal(&self, machine: &str) -> anyhow::Result<()> {
        self.pods.link(machine, Link::Up);
        let pods = Arc::clone(&self.pods);
        // What it begins belongs to this kubelet's runtime.
        self.within(async move {
            pods.catch_up();
            Ok(())
        })
        .await
    }

    /// The pods with a process, by namespace and name.
    pub fn pods(&self) -> Vec<Running> {
        self.pods.running()
    }

    /// Sends a signal to the processes of a pod. Returns how many there were.
    pub fn kill(&self, namespace: &str, pod: &str, signal: Signal) -> usize {
        self.pods.signal(namespace, pod, signal)
    }

    /// The `/etc/hosts` of a namespace's pods, kept up to date: for a program outside that must know their names.
    pub fn hosts(&self, namespace: &str) -> anyhow::Result<PathBuf> {
        Ok(self.pods.shared.hosts.file(namespace)?)
    }

    async fn within<T: Send + 'static>(
        &self,
        work: impl Future<Output = anyhow::Result<T>> + Send + 'static,
    ) -> anyhow::Result<T> {
        self.runtime.as_ref().context("it has ended")?.spawn(work).await?
    }
}

impl Drop for Kubelet {
    fn drop(&mut self) {
        self.pods.kill_all();
        if let Some(runtime) = self.runtime.take() {
            let (done, wait) = std::sync::mpsc::channel();
            let pods = Arc::clone(&self.pods);
            runtime.spawn(async move {
                pods.leave().await;
                let _ = done.send(());
            });
            let _ = wait.recv_timeout(LEAVE);
            runtime.shutdown_background();
        }
    }
}

fn begin(config: kube::Config, group: Arc<Group>, options: Options) -> anyhow::Result<Arc<Pods>> {
    let url = &config.cluster_url;
    let host = url.host().context("the API server has no host")?.to_owned();
    let api = (host, url.port_u16().unwrap_or(443).to_string());
    let client = Client::try_from(config)?;
    let folder = group.folder().join(format!("kubelet-{:08x}", fastrand::u32(..)));
    let hosts = Arc::new(Hosts::new(folder.join("hosts"))?);
    tokio::spawn(Arc::clone(&hosts).follow(client.clone()));
    let shared = Shared {
        client,
        group,
        folder,
        hosts,
        images: options.images,
        cold_start: options.cold_start,
        api,
    };
    let pods = Arc::new(Pods::new(shared));
    tokio::spawn(Arc::clone(&pods).follow());
    Ok(pods)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_is_the_images_program_or_one_of_its_own() {
        let image =
            Image { entrypoint: vec!["/bin/spotscale".into(), "-v".into()], ..Image::default() };
        let command =
            |given: &[&str]| image.command(given.iter().map(ToString::to_string).collect());
        assert_eq!(command(&[]), ["/bin/spotscale", "-v"]);
        assert_eq!(command(&["/usr/local/bin/spotscale", "front"]), ["/bin/spotscale", "front"]);
        assert_eq!(command(&["sh", "-c", "x"]), ["sh", "-c", "x"]);
    }
}
