//! The life of pods: the Deployment's controller makes and ends them, the scheduler places them (one a node), and their
//! processes report how far they are.

use std::{net::SocketAddr, time::Duration};

use jiff::Timestamp;
use spotscale_autoscaler::{Applied, Pod, PodPhase};
use spotscale_decide::units::{Millis, PodName, WorkloadName};

use super::world::{LocalNode, LocalPod, Order, World};

impl World {
    /// The Deployment's controller: as many pods as are wanted, not counting those for which a replacement was asked.
    pub(super) fn replicate(&mut self, now: Timestamp) {
        let counted = self.pods.iter().filter(|pod| pod.is_alive() && !pod.seen.surged).count();
        let wanted = self.wanted as usize;
        for _ in counted..wanted {
            self.pods_made += 1;
            let name = format!("{}-{}", self.settings.workload, self.pods_made);
            let Ok(name) = PodName::try_from(name) else { return };
            let grace_ms = Millis(self.settings.grace.as_millis() as u64);
            let workload = self.settings.workload.clone();
            self.pods.push(LocalPod::pending(name, workload, grace_ms));
        }
        for victim in self.victims(counted.saturating_sub(wanted)) {
            self.evict(&victim, now, None);
        }
    }

    /// The pods that are missed least: first what does not serve, then what stands on a node under notice, then the
    /// newest.
    fn victims(&self, count: usize) -> Vec<PodName> {
        let mut pods: Vec<&LocalPod> =
            self.pods.iter().filter(|pod| pod.is_alive() && !pod.seen.surged).rev().collect();
        pods.sort_by_key(|pod| match pod.seen.phase {
            PodPhase::Pending => 0,
            PodPhase::Starting => 1,
            _ if self.is_leaving(pod) => 2,
            _ => 3,
        });
        pods.into_iter().take(count).map(|pod| pod.seen.name.clone()).collect()
    }

    pub(super) fn evict(
        &mut self,
        name: &PodName,
        now: Timestamp,
        by: Option<Timestamp>,
    ) -> Applied {
        let grace = self.settings.grace;
        let Some(pod) = self.pod(name).filter(|pod| pod.is_alive()) else {
            return Applied::AlreadySo;
        };
        let was = std::mem::replace(&mut pod.seen.phase, PodPhase::Terminating);
        if was == PodPhase::Pending {
            pod.gone_at = Some(now);
            return Applied::Done;
        }
        let left = by.map(|by| Duration::try_from(by.duration_since(now)).unwrap_or_default());
        self.orders.push(Order::Stop(name.clone(), left.unwrap_or(grace).min(grace)));
        Applied::Done
    }

    /// The scheduler: waiting pods go to ready nodes with room, oldest to oldest.
    pub(super) fn place(&mut self) {
        for index in 0..self.pods.len() {
            if self.pods[index].seen.phase != PodPhase::Pending {
                continue;
            }
            let Some(node) = self.nodes.iter().find(|node| self.has_room(node)) else { return };
            let node = node.seen.name.clone();
            let pod = &mut self.pods[index].seen;
            (pod.node, pod.phase) = (Some(node), PodPhase::Starting);
            self.orders.push(Order::Start(pod.name.clone()));
        }
    }

    fn has_room(&self, node: &LocalNode) -> bool {
        let there = |pod: &&LocalPod| {
            pod.gone_at.is_none() && pod.seen.node.as_ref() == Some(&node.seen.name)
        };
        node.seen.is_ready()
            && node.seen.cordoned.is_none()
            && node.notice.is_none()
            && self.pods.iter().filter(there).count() < node.seen.pods_max as usize
    }

    /// Some pod that serves.
    pub(super) fn a_ready_pod(&self) -> Option<PodName> {
        let pod = self.pods.iter().find(|pod| pod.seen.phase == PodPhase::Ready)?;
        Some(pod.seen.name.clone())
    }

    /// The process has been asked to load, or is gone and starts anew.
    pub(super) fn starting(&mut self, name: &PodName) {
        if let Some(pod) = self.pod(name).filter(|pod| pod.is_alive()) {
            (pod.seen.phase, pod.address) = (PodPhase::Starting, None);
            pod.lives += 1;
        }
    }

    /// The process serves at `address`.
    pub(super) fn ready(&mut self, name: &PodName, address: SocketAddr) {
        if let Some(pod) = self.pod(name).filter(|pod| pod.is_alive()) {
            (pod.seen.phase, pod.address) = (PodPhase::Ready, Some(address));
        }
    }

    /// The process has been sent SIGTERM.
    pub(super) fn signalled(&mut self, name: &PodName) {
        if let Some(pod) = self.pod(name) {
            pod.signalled = true;
        }
    }

    /// The process is gone and does not come back.
    pub(super) fn gone(&mut self, name: &PodName, now: Timestamp) {
        if let Some(pod) = self.pod(name) {
            pod.seen.phase = PodPhase::Terminating;
            (pod.address, pod.gone_at) = (None, Some(now));
        }
    }
}

impl LocalPod {
    fn pending(name: PodName, workload: WorkloadName, grace_ms: Millis) -> Self {
        let (workload, node, phase) = (Some(workload), None, PodPhase::Pending);
        let seen = Pod { name, workload, node, phase, surged: false, grace_ms, critical: false };
        Self { seen, address: None, lives: 0, signalled: false, gone_at: None }
    }

    /// Not told to end.
    pub(super) fn is_alive(&self) -> bool {
        self.seen.phase != PodPhase::Terminating
    }
}
