//! Scenarios that need the daemon as a process, its queue, its node watcher, and machines that really go.

mod advice;
mod bounded;
mod machines;
mod planned;
mod prices;
mod returning;
mod told;
mod watching;

use std::time::Duration;

use k8s_openapi::api::core::v1::Node;
use kube::ResourceExt as _;
use spotscale_test_cluster::{kubelet::Running, provider::Instance};

use crate::ground::{Ground, daemon::Daemon, proxy::Act, queue::Queue};

const SCOPE: &str = "sleeper";
const BOOT: Duration = Duration::from_secs(1);
/// Long enough for the daemon to do something, if it were to.
const CALM: Duration = Duration::from_secs(3);
const TAINT: &str = "spotscale.dev/interruption";

/// Some pods that sleep on a machine each, and a daemon that reads a queue.
struct Stage {
    ground: Ground,
    queue: Queue,
    daemon: Daemon,
    pods: Vec<Running>,
}

impl Stage {
    async fn new(name: &str, replicas: usize) -> Self {
        Self::with(name, replicas, &[]).await
    }

    /// With these flags of the daemon, which leads.
    async fn with(name: &str, replicas: usize, flags: &[&str]) -> Self {
        let (ground, queue) = tokio::join!(Ground::new(name, BOOT), Queue::start());
        let environment = queue.environment();
        let stage = Self::on(ground, queue, replicas, flags, &environment).await;
        stage.daemon.leads().await;
        stage
    }

    async fn on(
        ground: Ground,
        queue: Queue,
        replicas: usize,
        flags: &[&str],
        environment: &[(&'static str, String)],
    ) -> Self {
        ground.sleepers(SCOPE, replicas).await;
        let pods = ground.slept(SCOPE, replicas).await;
        let of_queue = queue.flags();
        let flags: Vec<&str> =
            of_queue.iter().map(String::as_str).chain(flags.iter().copied()).collect();
        let daemon = Daemon::start(&ground, (SCOPE, "daemon"), &flags, environment).await;
        Self { ground, queue, daemon, pods }
    }

    fn machine(&self, n: usize) -> Instance {
        self.ground.machine_of(&self.pods[n])
    }

    /// Waits until all pods run, and none on these machines.
    async fn moved(&self, from: &[Instance]) {
        let is_moved = || async {
            let pods = self.ground.of(SCOPE);
            let is_left = |pod: &Running| from.iter().all(|machine| machine.node != pod.machine);
            Ok(pods.len() == self.pods.len() && pods.iter().all(|pod| pod.ready && is_left(pod)))
        };
        self.ground.until("the pods to move", is_moved).await;
    }

    /// Puts a message into the queue.
    async fn send(&self, event: &str) {
        self.queue.moto.send(&self.queue.url, event).await.unwrap();
    }

    /// Waits until nothing is left in the queue.
    async fn read(&self) {
        let is_empty = || async {
            let depth = self.queue.moto.depth(&self.queue.url).await?;
            Ok(depth.visible + depth.in_flight == 0)
        };
        self.ground.until("the queue to be empty", is_empty).await;
    }

    /// Each of these drains was done once: no step is missing, and none was done twice.
    async fn drained(&self, count: usize) {
        // A pod may be gone before the answer to its eviction is written down.
        let proxy = &self.daemon.proxy;
        let is_told = || async { Ok(proxy.count(Act::Evict) >= count) };
        self.ground.until("the evictions to be written down", is_told).await;
        for act in [Act::Cordon, Act::Surge, Act::Evict] {
            assert_eq!(proxy.count(act), count, "{act:?}: {:?}", proxy.acts());
        }
    }

    async fn node(&self, machine: &Instance) -> Option<Node> {
        self.ground.nodes().get_opt(&machine.node).await.unwrap()
    }

    /// Waits until a node is cordoned and has our taint, or is not and has not; and until that is written down, which may
    /// come after it is seen.
    async fn cordoned(&self, machine: &Instance, wanted: bool) {
        let is_so = || async {
            let node = self.node(machine).await;
            let spec = node.as_ref().and_then(|node| node.spec.clone()).unwrap_or_default();
            let is_tainted = spec.taints.iter().flatten().any(|taint| taint.key == TAINT);
            let is_closed = spec.unschedulable == Some(true);
            let act = if wanted { Act::Cordon } else { Act::Uncordon };
            let is_told = self.daemon.proxy.count(act) > 0;
            Ok(node.is_some() && (is_tainted, is_closed) == (wanted, wanted) && is_told)
        };
        self.ground.until(if wanted { "a cordon" } else { "no cordon" }, is_so).await;
    }

    /// Nothing is asked of the pods that were there at first: they are all where they were.
    async fn assert_calm(&self) {
        let before = self.daemon.proxy.acts();
        tokio::time::sleep(CALM).await;
        let place = |pod: &Running| (pod.name.clone(), pod.machine.clone(), pod.ready);
        let [then, now] = [self.pods.clone(), self.ground.of(SCOPE)]
            .map(|pods| pods.iter().map(place).collect::<std::collections::BTreeSet<_>>());
        assert_eq!(then, now);
        assert_eq!(before, self.daemon.proxy.acts());
    }

    /// The annotations of a machine's node.
    async fn annotation(&self, machine: &Instance, key: &str) -> Option<String> {
        self.node(machine).await?.annotations().get(key).cloned()
    }
}
