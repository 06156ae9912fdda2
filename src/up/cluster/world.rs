//! What there is in the local cluster, as a value: time is an argument, and no process is touched. Its controllers are
//! in `pods` (the Deployment's, and the scheduler) and in `provider`; `Order`s say what to do to processes.

use std::{net::SocketAddr, time::Duration};

use jiff::{SignedDuration, Timestamp};
use spotscale_autoscaler::{
    Action, Applied, ClusterError, CordonCause, EndedBy, Node, NodePhase, Notice, NoticeKind,
    Observation, Pod, PodPhase, Workload,
};
use spotscale_decide::units::{NodeName, PodName, Replicas, WorkloadName};

use crate::up::view::{Phase, Replica};

/// How long a pod that is gone stays in sight of people, and an ended node in sight of the ledger.
const REMEMBERED: SignedDuration = SignedDuration::from_secs(5);

/// What the local cluster is told once.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    /// The workload: pods are called after it.
    pub workload: WorkloadName,
    /// From the launch of a node to its being ready for a pod.
    pub provisioning: Duration,
    /// What a pod may take from SIGTERM to its end.
    pub grace: Duration,
    /// Most nodes that this machine stands for at once.
    pub nodes_max: usize,
}

/// What is to be done to a process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Order {
    Start(PodName),
    /// End in good order within this time.
    Stop(PodName, Duration),
    /// End this instant: its machine is gone.
    Kill(PodName),
}

/// Where a pod serves that the front may choose.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Serving {
    pub(crate) address: SocketAddr,
    /// On a node that is to be emptied: the second choice.
    pub(crate) is_leaving: bool,
}

/// A pod and what only this cluster knows of it.
#[derive(Debug, Clone)]
pub(super) struct LocalPod {
    pub(super) seen: Pod,
    /// Where it serves, while it does.
    pub(super) address: Option<SocketAddr>,
    /// How often its process was started.
    pub(super) lives: u32,
    /// SIGTERM was sent.
    pub(super) signalled: bool,
    pub(super) gone_at: Option<Timestamp>,
}

/// A node and what only the provider knows of it.
#[derive(Debug, Clone)]
pub(super) struct LocalNode {
    pub(super) seen: Node,
    /// When the provider takes it, once it has said so.
    pub(super) notice: Option<Timestamp>,
}

/// Everything there is.
#[derive(Debug)]
pub(super) struct World {
    pub(super) wanted: u32,
    /// Oldest first.
    pub(super) pods: Vec<LocalPod>,
    /// Oldest first.
    pub(super) nodes: Vec<LocalNode>,
    pub(super) settings: Settings,
    pub(super) pods_made: u64,
    pub(super) orders: Vec<Order>,
}

impl World {
    pub(super) fn new(settings: Settings) -> Self {
        let (pods, nodes, orders) = (Vec::new(), Vec::new(), Vec::new());
        Self { wanted: 0, pods, nodes, settings, pods_made: 0, orders }
    }

    /// Lets every controller have its turn; returns what must be done to processes, in order.
    pub(super) fn reconcile(&mut self, now: Timestamp) -> Vec<Order> {
        self.provision(now);
        self.take_back(now);
        self.replicate(now);
        self.place();
        self.pods.retain(|pod| pod.gone_at.is_none_or(|at| now.duration_since(at) < REMEMBERED));
        self.nodes.retain(|node| match node.seen.phase {
            NodePhase::Ended { at, .. } => now.duration_since(at) < REMEMBERED,
            _ => true,
        });
        std::mem::take(&mut self.orders)
    }

    /// Does one action of the autoscaler.
    pub(super) fn apply(
        &mut self,
        action: &Action,
        now: Timestamp,
    ) -> Result<Applied, ClusterError> {
        match action {
            Action::Cordon { node, cause } => Ok(self.set_cordon(node, Some(*cause))),
            Action::Uncordon { node } => Ok(self.set_cordon(node, None)),
            Action::Surge { pod } => {
                let pod = self.pod(pod).filter(|pod| pod.is_alive());
                Ok(set(pod.map(|pod| &mut pod.seen.surged)))
            }
            Action::Evict { pod, by, .. } => Ok(self.evict(pod, now, *by)),
            Action::Launch { node, offering } => self.launch(node, offering, now),
            Action::Terminate { node } => Ok(self.end_node(node, now, EndedBy::Us)),
            Action::Protect { .. }
            | Action::Overlay { .. }
            | Action::Weigh { .. }
            | Action::Close { .. } => {
                Err(ClusterError::Refused("there is no provisioner to be steered".to_owned()))
            }
        }
    }

    /// What the daemon sees.
    pub(super) fn observe(&self, now: Timestamp) -> Observation {
        let pods = self.pods.iter().filter(|pod| pod.gone_at.is_none());
        let standing = self.nodes.iter().filter(|node| node.seen.is_alive()).filter_map(|node| {
            let kind = NoticeKind::Interruption { deadline: node.notice? };
            Some(Notice { node: node.seen.name.clone(), kind })
        });
        Observation {
            at: now,
            workloads: vec![Workload {
                name: self.settings.workload.clone(),
                replicas_wanted: Replicas(self.wanted),
            }],
            nodes: self.nodes.iter().map(|node| node.seen.clone()).collect(),
            pods: pods.map(|pod| pod.seen.clone()).collect(),
            notices: standing.collect(),
            provisioner: None,
        }
    }

    /// The pods that the front may choose: ready, and not ending.
    pub(super) fn endpoints(&self) -> Vec<Serving> {
        let ready = self.pods.iter().filter(|pod| pod.seen.phase == PodPhase::Ready);
        let serving = |pod: &LocalPod| {
            Some(Serving { address: pod.address?, is_leaving: self.is_leaving(pod) })
        };
        ready.filter_map(serving).collect()
    }

    /// How a person sees a pod: one on a node that is to be emptied is on its way out already.
    pub(super) fn shown(&self, pod: &LocalPod) -> Replica {
        let phase = match pod.seen.phase {
            _ if pod.gone_at.is_some() => Phase::Gone,
            PodPhase::Pending | PodPhase::Starting => Phase::Starting,
            PodPhase::Ready if self.is_leaving(pod) => Phase::Draining,
            PodPhase::Ready => Phase::Ready,
            PodPhase::Terminating if pod.signalled => Phase::Stopping,
            PodPhase::Terminating => Phase::Draining,
        };
        let node = pod.seen.node.as_ref().map(ToString::to_string);
        let restarts = pod.lives.saturating_sub(1);
        Replica { name: pod.seen.name.to_string(), node, phase, restarts }
    }

    /// Stands on a node that is cordoned or under notice.
    pub(super) fn is_leaving(&self, pod: &LocalPod) -> bool {
        let node = self.nodes.iter().find(|node| Some(&node.seen.name) == pod.seen.node.as_ref());
        node.is_some_and(|node| node.seen.cordoned.is_some() || node.notice.is_some())
    }

    pub(super) fn pod(&mut self, name: &PodName) -> Option<&mut LocalPod> {
        self.pods.iter_mut().find(|pod| &pod.seen.name == name)
    }

    fn set_cordon(&mut self, name: &NodeName, cordon: Option<CordonCause>) -> Applied {
        match self.alive_node(name) {
            Some(node) if node.seen.cordoned != cordon => {
                node.seen.cordoned = cordon;
                Applied::Done
            }
            _ => Applied::AlreadySo,
        }
    }

    pub(super) fn alive_node(&mut self, name: &NodeName) -> Option<&mut LocalNode> {
        self.nodes.iter_mut().find(|node| &node.seen.name == name && node.seen.is_alive())
    }
}

/// Sets a flag; a missing one belongs to something that is gone, which is fine.
fn set(flag: Option<&mut bool>) -> Applied {
    match flag {
        Some(flag) if !*flag => {
            *flag = true;
            Applied::Done
        }
        _ => Applied::AlreadySo,
    }
}
