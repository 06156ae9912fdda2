//! Pods: how many there are, where they run, when they are ready and when they end.

use std::cmp::Reverse;

use spotscale_decide::{
    cluster::{Node, Pod, PodPhase},
    units::{NodeName, PodName},
};

use super::{Cluster, PodFacts};
use crate::front::{Front, Place};

impl Cluster {
    /// Starts and ends that are due.
    pub(super) fn run_pods(&mut self, front: &mut Front) {
        for place in (0..self.shown.seen.pods.len()).rev() {
            let pod = &self.shown.seen.pods[place];
            let Some(facts) = self.pods.get(&pod.name) else { continue };
            let (seat, due) = (facts.seat, facts.due.is_some_and(|due| due <= self.now));
            match pod.phase {
                PodPhase::Starting if due => self.become_ready(place, front),
                PodPhase::Terminating if due || !front.works(seat) => {
                    front.close(self.moment(), seat);
                    let pod = self.shown.seen.pods.remove(place);
                    self.pods.remove(&pod.name);
                    self.changed = true;
                }
                _ => {}
            }
        }
    }

    fn become_ready(&mut self, place: usize, front: &mut Front) {
        let now = self.moment();
        let pod = &mut self.shown.seen.pods[place];
        pod.phase = PodPhase::Ready;
        let Some(facts) = self.pods.get_mut(&pod.name) else { return };
        facts.due = None;
        let seat = facts.seat;
        let name = pod.node.clone();
        let node = self.shown.seen.nodes.iter().find(|node| Some(&node.name) == name.as_ref());
        let Some(node) = node else { return };
        let kind = &node.offering.instance_type;
        let machine = self.machines.iter().find(|machine| &machine.instance_type == kind);
        let time = machine.map(|machine| self.service.time(machine)).unwrap_or_default();
        if let Some(facts) = self.nodes.get_mut(&node.name) {
            facts.has_image = true;
        }
        front.open(now, seat, time);
        if node.cordoned.is_some() {
            front.mark(seat, Place::Leaving);
        }
        self.changed = true;
    }

    /// As many pods as are wanted, not counting those that were surged.
    pub(super) fn run_controller(&mut self, front: &mut Front) {
        let wanted = self.shown.seen.workloads[0].replicas_wanted.0 as usize;
        let counts = |pod: &&Pod| !pod.surged && pod.phase != PodPhase::Terminating;
        let counted = self.shown.seen.pods.iter().filter(counts);
        let mut kept: Vec<_> =
            counted.map(|pod| (pod.phase, self.pods[&pod.name].seat, pod.name.clone())).collect();
        for _ in kept.len()..wanted {
            self.make_pod();
        }
        // As Kubernetes does: first those that do not serve, of those that do the youngest.
        kept.sort_by_key(|(phase, seat, _)| (*phase == PodPhase::Ready, Reverse(*seat)));
        let surplus = kept.len().saturating_sub(wanted);
        for (_, _, name) in kept.drain(..surplus) {
            self.end_pod(&name, front);
        }
    }

    fn make_pod(&mut self) {
        self.made += 1;
        let Ok(name) = format!("service-{}", self.made).parse::<PodName>() else { return };
        self.pods.insert(name.clone(), PodFacts { seat: self.made, due: None });
        self.shown.seen.pods.push(Pod {
            name,
            workload: Some(self.workload.clone()),
            node: None,
            phase: PodPhase::Pending,
            surged: false,
            grace_ms: self.delays.grace,
            critical: false,
        });
        self.changed = true;
    }

    /// Tells a pod to end. It finishes what it serves, for as long as its grace lasts.
    pub(super) fn end_pod(&mut self, name: &PodName, front: &mut Front) -> bool {
        let pods = &mut self.shown.seen.pods;
        let Some(place) = pods.iter().position(|pod| &pod.name == name) else { return false };
        self.changed = true;
        if pods[place].phase == PodPhase::Pending {
            pods.remove(place);
            return self.pods.remove(name).is_some();
        }
        pods[place].phase = PodPhase::Terminating;
        let Some(facts) = self.pods.get_mut(name) else { return false };
        facts.due = Some(self.now.saturating_add(self.delays.grace));
        front.mark(facts.seat, Place::Ending);
        true
    }

    pub(super) fn kill_pods_on(&mut self, node: &NodeName, front: &mut Front) {
        let now = self.moment();
        let dead: Vec<PodName> =
            self.shown.seen.pods_on(node).map(|pod| pod.name.clone()).collect();
        self.shown.seen.pods.retain(|pod| pod.node.as_ref() != Some(node));
        for facts in dead.iter().filter_map(|name| self.pods.remove(name)) {
            front.close(now, facts.seat);
        }
    }

    /// Pods that wait go where there is room.
    pub(super) fn run_scheduler(&mut self) {
        for place in 0..self.shown.seen.pods.len() {
            if self.shown.seen.pods[place].phase != PodPhase::Pending {
                continue;
            }
            let takes = |node: &&Node| {
                node.is_ready() && node.cordoned.is_none() && self.free_room(node) > 0
            };
            let Some(node) = self.shown.seen.nodes.iter().find(takes) else { return };
            let name = node.name.clone();
            let has_image = self.nodes.get(&name).is_some_and(|facts| facts.has_image);
            let usual = if has_image { self.delays.start } else { self.delays.first_start };
            let due = self.now.saturating_add(self.delay_dice.delay(usual));
            let pod = &mut self.shown.seen.pods[place];
            (pod.node, pod.phase) = (Some(name), PodPhase::Starting);
            if let Some(facts) = self.pods.get_mut(&pod.name) {
                facts.due = Some(due);
            }
            self.changed = true;
        }
    }

    pub(super) fn free_room(&self, node: &Node) -> usize {
        let taken = self.shown.seen.pods_on(&node.name).count();
        (node.pods_max as usize).saturating_sub(taken)
    }
}
