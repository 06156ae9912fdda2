//! A cluster that does what it is told, if nothing is in the way.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use async_trait::async_trait;
use jiff::{SignedDuration, Timestamp};
use spotscale_autoscaler::{
    Action, Applied, CapacityType, Cluster, ClusterError, Node, NodePhase, Notice, NoticeKind,
    Observation, Offering, Pod, PodPhase, Workload,
};
use spotscale_decide::units::{InstanceId, Millis, Replicas, WorkloadName};
use tokio::time::{Instant, sleep};

/// Seconds from a launch to a ready node; a pod on it is ready one second later.
pub(crate) const BOOT_SECS: i64 = 30;

/// What keeps the pods of these tests.
fn workload() -> WorkloadName {
    "resnet".parse().unwrap()
}

/// What the next calls come to, if not what they should.
#[derive(Debug, Clone)]
pub(crate) enum Mishap {
    Fails(ClusterError),
    Hangs,
    /// It takes so long.
    Slow(Duration),
    /// Before this observation every pod is gone.
    PodsVanish,
}

pub(crate) struct ScriptedCluster {
    started: Instant,
    pub(crate) origin: Timestamp,
    world: Mutex<World>,
}

#[derive(Default)]
struct World {
    nodes: Vec<Node>,
    pods: Vec<Pod>,
    notices: Vec<Notice>,
    wanted: u32,
    pods_made: u32,
    on_observe: VecDeque<Option<Mishap>>,
    on_apply: VecDeque<Option<Mishap>>,
    /// Only so many actions are done; whoever asks for the next one waits for ever.
    acts_left: Option<usize>,
    applied: Vec<Action>,
}

impl ScriptedCluster {
    pub(crate) fn new(wanted: u32) -> Arc<Self> {
        let origin = "2026-01-01T00:00:00Z".parse().unwrap();
        let world = Mutex::new(World { wanted, ..World::default() });
        Arc::new(Self { started: Instant::now(), origin, world })
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.origin + SignedDuration::try_from(self.started.elapsed()).unwrap()
    }

    pub(crate) fn wants(&self, replicas: u32) {
        self.world().wanted = replicas;
    }

    pub(crate) fn on_observe(&self, mishaps: impl IntoIterator<Item = Option<Mishap>>) {
        self.world().on_observe.extend(mishaps);
    }

    pub(crate) fn on_apply(&self, mishaps: impl IntoIterator<Item = Option<Mishap>>) {
        self.world().on_apply.extend(mishaps);
    }

    /// Only so many more actions are done.
    pub(crate) fn acts_left(&self, left: Option<usize>) {
        self.world().acts_left = left;
    }

    pub(crate) fn applied(&self) -> Vec<&'static str> {
        self.world().applied.iter().map(Action::kind).collect()
    }

    /// Every node that is there gets its notice.
    pub(crate) fn interrupt(&self, lead: SignedDuration) {
        let deadline = self.now() + lead;
        let mut world = self.world();
        let alive = world.nodes.iter().filter(|node| node.is_alive());
        let notices = alive.map(|node| Notice {
            node: node.name.clone(),
            kind: NoticeKind::Interruption { deadline },
        });
        world.notices = notices.collect();
    }

    /// Somebody else has bought a machine so long ago.
    pub(crate) fn joins(&self, instance_type: &str, age: SignedDuration) {
        let launched_at = self.now() - age;
        let mut world = self.world();
        let name = format!("another-{}", world.nodes.len() + 1);
        world.nodes.push(Node {
            instance: Some(format!("i-{name}").parse().unwrap()),
            name: name.parse().unwrap(),
            offering: Offering {
                instance_type: instance_type.parse().unwrap(),
                zone: "a".parse().unwrap(),
                capacity_type: CapacityType::Spot,
            },
            phase: NodePhase::Ready,
            cordoned: None,
            protected: false,
            pool: None,
            launched_at,
            pods_max: 1,
        });
    }

    /// Every node is gone, and nothing says why; their machines.
    pub(crate) fn lose(&self) -> Vec<InstanceId> {
        let mut world = self.world();
        world.wanted = 0;
        let gone = std::mem::take(&mut world.nodes);
        gone.into_iter().filter_map(|node| node.instance).collect()
    }

    fn world(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap()
    }
}

#[async_trait]
impl Cluster for ScriptedCluster {
    async fn observe(&self) -> Result<Observation, ClusterError> {
        let mishap = self.world().on_observe.pop_front().flatten();
        happen(mishap.as_ref()).await?;
        let mut world = self.world();
        world.pass_time(self.now());
        if matches!(mishap, Some(Mishap::PodsVanish)) {
            world.pods.clear();
        }
        Ok(Observation {
            at: self.now(),
            workloads: vec![Workload { name: workload(), replicas_wanted: Replicas(world.wanted) }],
            nodes: world.nodes.clone(),
            pods: world.pods.clone(),
            notices: world.notices.clone(),
            provisioner: None,
        })
    }

    async fn apply(&self, action: &Action) -> Result<Applied, ClusterError> {
        let mishap = self.world().next_apply();
        happen(mishap.as_ref()).await?;
        let now = self.now();
        self.world().act(action, now);
        Ok(Applied::Done)
    }
}

async fn happen(mishap: Option<&Mishap>) -> Result<(), ClusterError> {
    match mishap {
        Some(Mishap::Fails(error)) => Err(error.clone()),
        Some(Mishap::Hangs) => std::future::pending().await,
        Some(Mishap::Slow(span)) => {
            sleep(*span).await;
            Ok(())
        }
        _ => Ok(()),
    }
}

impl World {
    fn next_apply(&mut self) -> Option<Mishap> {
        match &mut self.acts_left {
            Some(0) => return Some(Mishap::Hangs),
            Some(left) => *left -= 1,
            None => {}
        }
        self.on_apply.pop_front().flatten()
    }

    fn pass_time(&mut self, now: Timestamp) {
        for node in &mut self.nodes {
            let age = now.duration_since(node.launched_at).as_secs();
            if node.phase == NodePhase::Provisioning && age >= BOOT_SECS {
                node.phase = NodePhase::Ready;
            }
        }
        self.pods.retain(|pod| pod.phase != PodPhase::Terminating);
        for pod in &mut self.pods {
            if pod.phase == PodPhase::Starting {
                pod.phase = PodPhase::Ready;
            }
        }
        let counted = self.pods.iter().filter(|pod| !pod.surged).count();
        self.pods.truncate(if self.wanted == 0 { 0 } else { usize::MAX });
        for _ in counted..self.wanted as usize {
            self.place_a_pod();
        }
    }

    /// A pod is only made when there is room for it, which is all that these tests need.
    fn place_a_pod(&mut self) {
        let taken =
            |node: &&Node| self.pods.iter().any(|pod| pod.node.as_ref() == Some(&node.name));
        let free = |node: &&Node| node.is_ready() && node.cordoned.is_none() && !taken(node);
        let Some(node) = self.nodes.iter().find(free).map(|node| node.name.clone()) else {
            return;
        };
        self.pods_made += 1;
        self.pods.push(Pod {
            name: format!("pod-{}", self.pods_made).parse().unwrap(),
            workload: Some(workload()),
            node: Some(node),
            phase: PodPhase::Starting,
            surged: false,
            grace_ms: Millis::from_secs(10),
            critical: false,
        });
    }

    fn act(&mut self, action: &Action, now: Timestamp) {
        self.applied.push(action.clone());
        match action {
            Action::Cordon { node, cause } => {
                let named = self.nodes.iter_mut().filter(|n| &n.name == node);
                named.for_each(|n| n.cordoned = Some(*cause));
            }
            Action::Terminate { node } => self.nodes.retain(|known| &known.name != node),
            Action::Surge { pod } => {
                self.pods.iter_mut().filter(|p| &p.name == pod).for_each(|p| p.surged = true);
            }
            Action::Evict { pod, .. } => {
                let evicted = self.pods.iter_mut().filter(|p| &p.name == pod);
                evicted.for_each(|p| p.phase = PodPhase::Terminating);
            }
            Action::Launch { node, offering } => self.nodes.push(Node {
                name: node.clone(),
                instance: Some(format!("i-{node}").parse().unwrap()),
                offering: offering.clone(),
                phase: NodePhase::Provisioning,
                cordoned: None,
                protected: false,
                pool: None,
                launched_at: now,
                pods_max: 1,
            }),
            other => panic!("nothing asks for this here: {other:?}"),
        }
    }
}
