//! A cluster on one machine: virtual nodes, and pods as child processes. It is what Kubernetes and a cloud are to the
//! rest of the system, behind the same interface (`spotscale_autoscaler::Cluster`); it decides nothing itself.

mod pods;
mod process;
mod provider;
mod runner;
#[cfg(test)]
mod tests;
mod world;

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use jiff::{SignedDuration, Timestamp};
use spotscale_autoscaler::{Action, Applied, Cluster, ClusterError, Node, Observation};
use spotscale_decide::units::PodName;
use tokio::{
    sync::{Notify, mpsc, watch},
    task::JoinSet,
    time::timeout,
};
use tokio_util::sync::CancellationToken;
use tracing::info;

pub(crate) use self::process::{Process, ProcessError, Program, kibibytes};
pub(crate) use self::world::{Serving, Settings};
use self::{
    runner::Tell,
    world::{Order, World},
};
use super::{faults::Faults, keda::ScaleTarget, view::Replica};

/// How often time alone is given its turn: nodes become ready, notices run out.
const TICK: Duration = Duration::from_millis(100);

/// The cluster. Shared; every method is quick.
pub(crate) struct LocalCluster {
    world: Mutex<World>,
    program: Program,
    changed: Notify,
    endpoints: watch::Sender<Vec<Serving>>,
    runners: Mutex<BTreeMap<PodName, mpsc::Sender<Tell>>>,
}

impl LocalCluster {
    /// An empty one, at zero replicas and zero nodes.
    pub(crate) fn new(settings: Settings, program: Program) -> Arc<Self> {
        Arc::new(Self {
            world: Mutex::new(World::new(settings)),
            program,
            changed: Notify::new(),
            endpoints: watch::Sender::new(Vec::new()),
            runners: Mutex::default(),
        })
    }

    /// The pods that may be chosen, at every change.
    pub(crate) fn endpoints(&self) -> watch::Receiver<Vec<Serving>> {
        self.endpoints.subscribe()
    }

    /// Every pod that is not gone for long, for people to see.
    pub(crate) fn pods(&self) -> Vec<Replica> {
        let world = self.world();
        world.pods.iter().map(|pod| world.shown(pod)).collect()
    }

    /// Every node that is being paid for, and when the provider takes it if it has said so.
    pub(crate) fn nodes(&self) -> Vec<(Node, Option<Timestamp>)> {
        let world = self.world();
        let alive = world.nodes.iter().filter(|node| node.seen.is_alive());
        alive.map(|node| (node.seen.clone(), node.notice)).collect()
    }

    /// Runs the cluster until `shutdown`, then ends every process in good order and returns when all are gone.
    pub(crate) async fn run(self: Arc<Self>, shutdown: CancellationToken) {
        let mut pods = JoinSet::new();
        while !shutdown.is_cancelled() {
            self.turn(&mut pods);
            tokio::select! {
                () = self.changed.notified() => {}
                () = tokio::time::sleep(TICK) => {}
                () = shutdown.cancelled() => {}
            }
        }
        self.empty(&mut pods).await;
    }

    /// One turn of every controller, and the processes after them.
    fn turn(self: &Arc<Self>, pods: &mut JoinSet<()>) {
        while pods.try_join_next().is_some() {}
        let orders = self.world().reconcile(Timestamp::now());
        // The front must stop choosing a pod before the pod is told to end.
        self.publish();
        for order in orders {
            match order {
                Order::Start(pod) => {
                    let (tell, told) = mpsc::channel(8);
                    self.runners().insert(pod.clone(), tell);
                    pods.spawn(runner::run(Arc::clone(self), pod, told));
                }
                Order::Stop(pod, grace) => self.tell(&pod, Tell::Stop(grace)),
                Order::Kill(pod) => self.tell(&pod, Tell::Kill),
            }
        }
    }

    async fn empty(self: &Arc<Self>, pods: &mut JoinSet<()>) {
        let grace = self.world().settings.grace;
        let names: Vec<PodName> = self.runners().keys().cloned().collect();
        for pod in &names {
            self.tell(pod, Tell::Stop(grace));
        }
        let all_gone = async { while pods.join_next().await.is_some() {} };
        // What is left after this is killed as its runner is dropped.
        let _ = timeout(grace + Duration::from_secs(1), all_gone).await;
        pods.shutdown().await;
    }

    fn tell(&self, pod: &PodName, what: Tell) {
        if let Some(runner) = self.runners().get(pod) {
            // A full queue holds an order to end already.
            let _ = runner.try_send(what);
        }
    }

    fn publish(&self) {
        let now = self.world().endpoints();
        self.endpoints.send_if_modified(|before| {
            let changed = *before != now;
            *before = now;
            changed
        });
    }

    /// Changes the world, and gives the controllers their turn.
    fn change<T>(&self, what: impl FnOnce(&mut World) -> T) -> T {
        let result = what(&mut self.world());
        self.publish();
        self.changed.notify_one();
        result
    }

    fn program(&self) -> &Program {
        &self.program
    }

    fn starting(&self, pod: &PodName) {
        self.change(|world| world.starting(pod));
    }

    fn ready(&self, pod: &PodName, address: SocketAddr) {
        info!(%pod, %address, "ready");
        self.change(|world| world.ready(pod, address));
    }

    fn signalled(&self, pod: &PodName) {
        self.change(|world| world.signalled(pod));
    }

    fn gone(&self, pod: &PodName) {
        info!(%pod, "gone");
        self.runners().remove(pod);
        self.change(|world| world.gone(pod, Timestamp::now()));
    }

    // Nothing panics while it holds a lock, and the data would be whole if it did.
    fn world(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn runners(&self) -> MutexGuard<'_, BTreeMap<PodName, mpsc::Sender<Tell>>> {
        self.runners.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl Cluster for LocalCluster {
    async fn observe(&self) -> Result<Observation, ClusterError> {
        Ok(self.world().observe(Timestamp::now()))
    }

    async fn apply(&self, action: &Action) -> Result<Applied, ClusterError> {
        self.change(|world| world.apply(action, Timestamp::now()))
    }
}

impl ScaleTarget for LocalCluster {
    fn replicas(&self) -> u32 {
        self.world().wanted
    }

    fn scale(&self, replicas: u32) {
        self.change(|world| world.wanted = replicas);
    }
}

#[async_trait]
impl Faults for LocalCluster {
    async fn interrupt_spot_node(&self, notice: Duration) -> Option<String> {
        let deadline = Timestamp::now() + SignedDuration::try_from(notice).ok()?;
        let node = self.change(|world| world.interrupt(deadline))?;
        info!(%node, %deadline, "the provider gives notice");
        Some(node.to_string())
    }

    async fn kill_replica(&self) -> Option<String> {
        let pod = self.world().a_ready_pod()?;
        info!(%pod, "killed on purpose");
        self.tell(&pod, Tell::Crash);
        Some(pod.to_string())
    }
}
