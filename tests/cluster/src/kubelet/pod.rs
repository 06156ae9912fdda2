//! One pod, from the moment that it is bound to a machine until its object is deleted.

use std::{
    fs,
    net::IpAddr,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use futures::future::join_all;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Container, Pod, PodSpec};
use kube::{
    Api,
    api::{DeleteParams, Preconditions},
};
use tokio::{sync::watch, time::sleep};

use super::{
    Image, Shared,
    board::{Board, Slot, Which},
    container::Runner,
    env::{Env, expand},
    fields::Identity,
    machine::Host,
    report::Reporter,
    volumes::Volumes,
};

/// Between two tries to write volumes or to delete the object.
const TRY_AGAIN: Duration = Duration::from_millis(300);

/// Between two looks at what volumes are made of. A real kubelet takes about a minute.
const REFRESH: Duration = Duration::from_secs(2);

/// What is wanted of a pod.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wanted {
    /// That it runs.
    Run,
    /// That it ends within this time.
    End(Duration),
    /// That it is no more: its object is gone, or the machine.
    Kill,
}

/// A pod with everything that its containers need.
pub(super) struct Sandbox {
    pub(super) shared: Arc<Shared>,
    pub(super) host: Arc<Host>,
    pub(super) identity: Identity,
    pub(super) volumes: Volumes,
    pub(super) board: watch::Sender<Board>,
    pub(super) wanted: watch::Receiver<Wanted>,
    folder: PathBuf,
    runs: AtomicU32,
}

impl Sandbox {
    pub(super) fn new(
        shared: Arc<Shared>,
        host: Arc<Host>,
        pod: Pod,
        ip: IpAddr,
        wanted: watch::Receiver<Wanted>,
    ) -> Self {
        let identity = Identity { pod, ip, host_ip: host.ip };
        let folder = shared.folder.join("pods").join(identity.uid());
        let slots = |containers: &[Container]| {
            let slot =
                |one: &Container| Slot::new(&one.name, one.image.as_deref().unwrap_or_default());
            containers.iter().map(slot).collect()
        };
        let spec = identity.pod.spec.as_ref();
        let board = Board {
            ip,
            host_ip: host.ip,
            accepted: Timestamp::now(),
            init: slots(spec.and_then(|spec| spec.init_containers.as_deref()).unwrap_or_default()),
            containers: slots(spec.map(|spec| spec.containers.as_slice()).unwrap_or_default()),
        };
        let volumes = Volumes::new(folder.join("volumes"));
        let (board, runs) = (watch::Sender::new(board), AtomicU32::new(0));
        Self { shared, host, identity, volumes, board, wanted, folder, runs }
    }

    /// Runs the pod to its end, and then has its object deleted.
    pub(super) async fn run(self) {
        let mut reporter = Reporter::new(&self);
        tokio::select! {
            () = reporter.follow() => {}
            () = self.live() => {}
        }
        if self.host.is_up().await {
            reporter.report().await;
            self.ending().await;
            self.delete().await;
        }
        let _ = fs::remove_dir_all(&self.folder);
    }

    /// The life of the containers.
    async fn live(&self) {
        tokio::select! {
            () = self.prepare() => {}
            () = self.ending() => return,
        }
        let spec = self.spec();
        for (index, container) in spec.init_containers.iter().flatten().enumerate() {
            let runner = Runner { pod: self, spec: container, which: Which::Init(index) };
            if runner.run().await != 0 {
                return;
            }
        }
        let containers = spec.containers.iter().enumerate();
        let runners: Vec<Runner<'_>> = containers
            .map(|(index, spec)| Runner { pod: self, spec, which: Which::Main(index) })
            .collect();
        tokio::select! {
            _ = join_all(runners.iter().map(Runner::run)) => {}
            () = self.refresh() => {}
        }
    }

    /// What a machine does before the first container: fetch the image, mount the volumes.
    async fn prepare(&self) {
        sleep(self.shared.cold_start).await;
        while let Err(error) = self.volumes.write(&self.shared.client, &self.identity).await {
            tracing::info!(
                pod = self.identity.name(),
                error = format!("{error:#}"),
                "it must wait"
            );
            sleep(TRY_AGAIN).await;
        }
    }

    /// Keeps the volumes as their sources are, for ever.
    async fn refresh(&self) {
        loop {
            sleep(REFRESH).await;
            if self.host.is_up().await {
                let written = self.volumes.write(&self.shared.client, &self.identity).await;
                if let Err(error) = written {
                    tracing::debug!(error = format!("{error:#}"), "the volumes stay as they were");
                }
            }
        }
    }

    async fn delete(&self) {
        let pods = Api::<Pod>::namespaced(self.shared.client.clone(), self.identity.namespace());
        let params = DeleteParams {
            grace_period_seconds: Some(0),
            preconditions: Some(Preconditions {
                uid: self.identity.pod.metadata.uid.clone(),
                resource_version: None,
            }),
            ..DeleteParams::default()
        };
        while self.host.is_up().await {
            match pods.delete(&self.identity.name(), &params).await {
                Ok(_) => return,
                // It is gone, or another pod has its name.
                Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => return,
                Err(error) => tracing::warn!(%error, "a pod's object is not deleted yet"),
            }
            sleep(TRY_AGAIN).await;
        }
    }

    /// Resolves when the pod is to end.
    pub(super) async fn ending(&self) {
        let mut wanted = self.wanted.clone();
        let _ = wanted.wait_for(|wanted| *wanted != Wanted::Run).await;
    }

    /// Resolves when nothing is to be waited for any more.
    pub(super) async fn killed(&self) {
        let mut wanted = self.wanted.clone();
        let _ = wanted.wait_for(|wanted| *wanted == Wanted::Kill).await;
    }

    pub(super) fn is_ending(&self) -> bool {
        *self.wanted.borrow() != Wanted::Run
    }

    /// The time to end in: as its deletion says, otherwise as its spec does.
    pub(super) fn grace(&self) -> Duration {
        match *self.wanted.borrow() {
            Wanted::End(grace) => grace,
            Wanted::Kill => Duration::ZERO,
            Wanted::Run => {
                let seconds = self.spec().termination_grace_period_seconds.unwrap_or(30);
                Duration::from_secs(seconds.max(0) as u64)
            }
        }
    }

    /// Resolves when the container is as asked for.
    pub(super) async fn when(&self, which: Which, mut holds: impl FnMut(&Slot) -> bool) {
        let mut board = self.board.subscribe();
        let slot = |board: &Board| match which {
            Which::Init(index) => holds(&board.init[index]),
            Which::Main(index) => holds(&board.containers[index]),
        };
        let _ = board.wait_for(slot).await;
    }

    pub(super) fn restart_policy(&self) -> &str {
        self.spec().restart_policy.as_deref().unwrap_or("Always")
    }

    /// A new folder for one run of a container.
    pub(super) fn run_folder(&self, container: &str) -> PathBuf {
        let run = self.runs.fetch_add(1, Ordering::Relaxed);
        self.folder.join(format!("{container}-{run}"))
    }

    pub(super) fn log_name(&self, container: &str) -> String {
        format!("pod-{}-{}-{container}", self.identity.namespace(), self.identity.name())
    }

    /// The environment that every container has before its spec says anything.
    pub(super) fn base_env(&self, image: &Image) -> Env {
        let (host, port) = &self.shared.api;
        let name = self.identity.name();
        let mut env: Env = [
            ("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"),
            ("HOME", "/root"),
            ("HOSTNAME", &name),
            ("KUBERNETES_SERVICE_HOST", host),
            ("KUBERNETES_SERVICE_PORT", port),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into();
        env.extend(self.host.machine.env.clone());
        let own = Env::from([("POD_IP".to_owned(), self.identity.ip.to_string())]);
        let templates = image.env.iter();
        env.extend(templates.map(|(name, text)| (name.clone(), expand(text, &own))));
        env
    }

    fn spec(&self) -> &PodSpec {
        // The API server accepts no pod without a spec.
        self.identity.pod.spec.as_ref().unwrap()
    }
}
