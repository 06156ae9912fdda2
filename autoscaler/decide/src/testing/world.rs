//! A small cluster in memory that does what a plan says, one second at a time: a controller that keeps pods, a
//! scheduler, a provider that launches and takes machines and, where there is one, a provisioner that buys them.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;

use super::{at, node, pod, provisioner::Buyer, seen, workload};
use crate::{
    cluster::{EndedBy, Node, NodePhase, NoticeKind, Observation, Offering, Pod, PodPhase},
    planner::{Action, Plan},
    units::{Millis, NodeName, PodName},
};

/// Seconds that a machine takes to become ready.
pub(crate) const BOOT_SECS: i64 = 40;
/// Seconds that a pod takes to become ready on a ready machine.
pub(crate) const START_SECS: i64 = 5;

pub(crate) struct World {
    pub(crate) now: Observation,
    /// Pods that served when their machine was taken.
    pub(crate) killed: Vec<PodName>,
    starting_since: BTreeMap<PodName, Timestamp>,
    ending_since: BTreeMap<PodName, Timestamp>,
    pods_made: u32,
    /// What buys for pods that wait, where `now.provisioner` is.
    pub(crate) buyer: Buyer,
    /// What is bought and never becomes ready.
    pub(crate) stuck: BTreeSet<Offering>,
}

impl World {
    pub(crate) fn new(replicas: u32) -> Self {
        let mut now = seen(at(0), vec![]);
        now.workloads = vec![workload(replicas)];
        Self {
            now,
            killed: vec![],
            starting_since: BTreeMap::new(),
            ending_since: BTreeMap::new(),
            pods_made: 0,
            buyer: Buyer::default(),
            stuck: BTreeSet::new(),
        }
    }

    pub(crate) fn ready(&self) -> u32 {
        self.now.pods.iter().filter(|pod| pod.phase == PodPhase::Ready).count() as u32
    }

    pub(crate) fn alive(&self) -> impl Iterator<Item = &Node> {
        self.now.nodes.iter().filter(|node| node.is_alive())
    }

    pub(crate) fn apply(&mut self, plan: &Plan) {
        for step in &plan.steps {
            assert!(
                step.assumes.iter().all(|that| that.holds(&self.now)),
                "a step assumes what is not so: {step:?}"
            );
            self.act(&step.action);
        }
    }

    fn act(&mut self, action: &Action) {
        let now = self.now.at;
        match action {
            Action::Cordon { node, cause } => self.node(node).cordoned = Some(*cause),
            Action::Protect { node } => self.node(node).protected = true,
            Action::Uncordon { node } => self.node(node).cordoned = None,
            Action::Launch { node: name, offering } => {
                let mut new = node(name.as_str(), offering.clone(), now);
                new.phase = NodePhase::Provisioning;
                self.now.nodes.push(new);
            }
            Action::Terminate { node } => {
                self.node(node).phase = NodePhase::Ended { at: now, by: EndedBy::Us };
            }
            Action::Surge { pod } => {
                let pod = self.now.pods.iter_mut().find(|known| &known.name == pod).unwrap();
                assert!(!pod.surged, "{} is replaced twice", pod.name);
                pod.surged = true;
            }
            Action::Evict { pod, .. } => self.end_pod(&pod.clone()),
            Action::Overlay { .. } | Action::Weigh { .. } | Action::Close { .. } => {
                let turned = self.now.provisioner.as_mut().map(|knobs| knobs.turn(action));
                assert_eq!(turned, Some(true), "there is no such knob: {action:?}");
            }
        }
    }

    fn node(&mut self, name: &NodeName) -> &mut Node {
        self.now.nodes.iter_mut().find(|node| &node.name == name).unwrap()
    }

    fn end_pod(&mut self, name: &PodName) {
        let pod = self.now.pods.iter_mut().find(|pod| &pod.name == name).unwrap();
        assert_ne!(pod.phase, PodPhase::Terminating, "{name} is evicted twice");
        pod.phase = PodPhase::Terminating;
        self.ending_since.insert(name.clone(), self.now.at);
    }

    /// Lets a second pass.
    pub(crate) fn tick(&mut self) {
        self.now.at = Millis::from_secs(1).after(self.now.at);
        self.run_provider();
        self.run_controller();
        self.run_scheduler();
        self.buyer.run(&mut self.now);
    }

    fn run_provider(&mut self) {
        let now = self.now.at;
        let boot = Millis::from_secs(BOOT_SECS as u64);
        self.now.nodes.retain(Node::is_alive);
        let notices = self.now.notices.clone();
        for node in &mut self.now.nodes {
            let stuck = self.stuck.contains(&node.offering);
            let booted = boot.after(node.launched_at) <= now && !stuck;
            if node.phase == NodePhase::Provisioning && booted {
                node.phase = NodePhase::Ready;
            }
            let due =
                |kind| matches!(kind, NoticeKind::Interruption { deadline } if deadline <= now);
            if notices.iter().any(|notice| notice.node == node.name && due(notice.kind)) {
                node.phase = NodePhase::Ended { at: now, by: EndedBy::Provider };
            }
        }
        let nodes = &self.now.nodes;
        let gone =
            |name: &NodeName| !nodes.iter().any(|node| &node.name == name && node.is_alive());
        let (dead, alive) = std::mem::take(&mut self.now.pods)
            .into_iter()
            .partition(|pod| pod.node.as_ref().is_some_and(gone));
        self.now.pods = alive;
        let dead: Vec<Pod> = dead;
        self.killed.extend(dead.into_iter().map(|pod| pod.name));
        self.now.notices.retain(|notice| nodes.iter().any(|node| node.name == notice.node));
    }

    fn run_controller(&mut self) {
        let (now, ending) = (self.now.at, self.ending_since.clone());
        self.now.pods.retain(|pod| {
            ending.get(&pod.name).is_none_or(|since| pod.grace_ms.after(*since) > now)
        });
        for workload in self.now.workloads.clone() {
            let counts = |pod: &&Pod| {
                let its = pod.workload.as_ref() == Some(&workload.name);
                its && !pod.surged && pod.phase != PodPhase::Terminating
            };
            let kept = self.now.pods.iter().filter(counts).map(|pod| pod.name.clone());
            let kept: Vec<_> = kept.collect();
            let wanted = workload.replicas_wanted.0 as usize;
            for _ in kept.len()..wanted {
                self.pods_made += 1;
                let mut new = pod(&format!("pod-{}", self.pods_made), "nowhere");
                (new.node, new.phase) = (None, PodPhase::Pending);
                new.workload = Some(workload.name.clone());
                self.now.pods.push(new);
            }
            for name in kept.iter().skip(wanted) {
                self.end_pod(name);
            }
        }
    }

    fn run_scheduler(&mut self) {
        let now = self.now.at;
        let start = Millis::from_secs(START_SECS as u64);
        let mut free: BTreeMap<NodeName, usize> = self
            .alive()
            .filter(|node| node.is_ready() && node.cordoned.is_none())
            .map(|node| {
                let free =
                    (node.pods_max as usize).saturating_sub(self.now.pods_on(&node.name).count());
                (node.name.clone(), free)
            })
            .collect();
        for pod in &mut self.now.pods {
            if pod.phase == PodPhase::Pending
                && let Some((node, free)) = free.iter_mut().find(|(_, free)| **free > 0)
            {
                *free -= 1;
                (pod.node, pod.phase) = (Some(node.clone()), PodPhase::Starting);
                self.starting_since.insert(pod.name.clone(), now);
            }
            let since = self.starting_since.get(&pod.name);
            if pod.phase == PodPhase::Starting && since.is_some_and(|at| start.after(*at) <= now) {
                pod.phase = PodPhase::Ready;
            }
        }
    }
}
