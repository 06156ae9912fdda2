//! The provider: it launches machines, has no more of them, and takes them back with a notice.

use spotscale_decide::{
    cluster::{EndedBy, Node, NodePhase, Notice, NoticeKind, Offering},
    units::{Millis, NodeName, PoolName},
};

use super::{Cluster, NodeFacts};
use crate::front::Front;

impl Cluster {
    /// Launches a machine, if there is one.
    pub(super) fn launch(
        &mut self,
        name: NodeName,
        offering: Offering,
        pool: Option<PoolName>,
    ) -> bool {
        let ahead = self.ahead();
        let alive = self.alive(&offering).count();
        if alive >= self.availability.lasting(&offering, self.now, ahead) as usize {
            self.census.sold_out += 1;
            return false;
        }
        let machine = self.machines.iter().find(|it| it.instance_type == offering.instance_type);
        let pods_max = machine.map_or(1, |machine| machine.pods_max.max(1));
        let facts = NodeFacts {
            boots_at: self.now.saturating_add(self.delay_dice.delay(self.delays.boot)),
            taken_at: self.fate(&offering),
            empty_since: None,
            has_image: false,
        };
        self.nodes.insert(name.clone(), facts);
        self.shown.seen.nodes.push(Node {
            name,
            instance: None,
            offering,
            phase: NodePhase::Provisioning,
            cordoned: None,
            protected: false,
            pool,
            launched_at: self.at(self.now),
            pods_max,
        });
        self.census.launched += 1;
        self.changed = true;
        true
    }

    /// When chance takes a node that is launched now.
    fn fate(&mut self, offering: &Offering) -> Option<Millis> {
        let per_hour = self.spot.interruptions_per_hour;
        let can_be_taken = Self::is_spot(offering) && per_hour > 0.0;
        can_be_taken.then(|| {
            let hours = self.fate_dice.exponential(1.0 / per_hour);
            let after = Millis((hours * 3_600_000.0) as u64).max(self.ahead());
            self.now.saturating_add(after)
        })
    }

    /// So long before its end a node's fate is settled.
    pub(super) fn ahead(&self) -> Millis {
        self.spot.notice.saturating_add(self.spot.rebalance_lead)
    }

    pub(super) fn alive(&self, offering: &Offering) -> impl Iterator<Item = &Node> {
        self.shown
            .seen
            .nodes
            .iter()
            .filter(move |node| node.is_alive() && &node.offering == offering)
    }

    /// Boots, notices and ends.
    pub(super) fn run_provider(&mut self, front: &mut Front) {
        self.settle_fates();
        let names: Vec<NodeName> =
            self.shown.seen.nodes.iter().map(|node| node.name.clone()).collect();
        for (place, name) in names.iter().enumerate() {
            let Some(facts) = self.nodes.get(name) else { continue };
            let (boots_at, taken_at) = (facts.boots_at, facts.taken_at);
            let node = &mut self.shown.seen.nodes[place];
            if node.phase == NodePhase::Provisioning && boots_at <= self.now {
                node.phase = NodePhase::Ready;
                self.changed = true;
            }
            if let Some(taken_at) = taken_at {
                self.give_notice(name, taken_at);
                if taken_at <= self.now {
                    self.take(name, taken_at, front);
                }
            }
        }
    }

    /// What has ended was shown with its end, and is shown no more.
    pub(crate) fn forget_ended(&mut self) {
        let before = self.shown.seen.nodes.len();
        self.shown.seen.nodes.retain(Node::is_alive);
        self.changed |= self.shown.seen.nodes.len() != before;
    }

    /// Of the nodes that capacity falls short of, chance chooses who goes.
    fn settle_fates(&mut self) {
        let ahead = self.ahead();
        let offerings: Vec<Offering> =
            self.shown.seen.nodes.iter().map(|node| node.offering.clone()).collect();
        for (place, offering) in offerings.iter().enumerate() {
            if offerings[..place].contains(offering) || !self.availability.knows(offering) {
                continue;
            }
            let now = (self.now, self.availability.now(offering, self.now));
            let drops = self.availability.drops(offering, self.now, ahead).to_vec();
            for (at, machines) in [now].into_iter().chain(drops) {
                self.leave_only(offering, machines as usize, at);
            }
        }
    }

    fn leave_only(&mut self, offering: &Offering, machines: usize, at: Millis) {
        let stays = |node: &&Node| {
            let facts = self.nodes.get(&node.name);
            facts.is_some_and(|facts| facts.taken_at.is_none_or(|taken| taken > at))
        };
        let mut standing: Vec<NodeName> =
            self.alive(offering).filter(stays).map(|node| node.name.clone()).collect();
        while standing.len() > machines {
            let loser = standing.swap_remove(self.fate_dice.below(standing.len()));
            if let Some(facts) = self.nodes.get_mut(&loser) {
                facts.taken_at = Some(at);
            }
        }
    }

    fn give_notice(&mut self, name: &NodeName, taken_at: Millis) {
        let kind = if taken_at <= self.now.saturating_add(self.spot.notice) {
            NoticeKind::Interruption { deadline: self.at(taken_at) }
        } else if taken_at <= self.now.saturating_add(self.ahead()) {
            NoticeKind::Rebalance
        } else {
            return;
        };
        let notice = Notice { node: name.clone(), kind };
        if self.shown.seen.notices.contains(&notice) {
            return;
        }
        self.census.noticed += u64::from(kind != NoticeKind::Rebalance);
        self.shown.seen.notices.push(notice);
        self.changed = true;
    }

    fn take(&mut self, name: &NodeName, at: Millis, front: &mut Front) {
        self.census.taken += 1;
        self.end_node(name, at, EndedBy::Provider);
        self.shown.seen.notices.retain(|notice| &notice.node != name);
        self.kill_pods_on(name, front);
    }

    /// We, or the provisioner, give a node back. Nothing may run on it any more.
    pub(super) fn give_back(&mut self, name: &NodeName) -> bool {
        if self.shown.seen.pods_on(name).next().is_some() {
            return false;
        }
        self.end_node(name, self.now, EndedBy::Us);
        self.shown.seen.notices.retain(|notice| &notice.node != name);
        true
    }

    fn end_node(&mut self, name: &NodeName, at: Millis, by: EndedBy) {
        self.nodes.remove(name);
        let at = self.at(at);
        let node = self.shown.seen.nodes.iter_mut().find(|it| &it.name == name && it.is_alive());
        if let Some(node) = node {
            node.phase = NodePhase::Ended { at, by };
            let lived = Millis::between(node.launched_at, at);
            let span = self.census.spans.entry(node.offering.clone()).or_default();
            *span = span.saturating_add(lived);
        }
        self.changed = true;
    }

    /// How long nodes of each offering were there, those that still are included.
    pub(crate) fn spans(&self) -> std::collections::BTreeMap<Offering, Millis> {
        let mut spans = self.census.spans.clone();
        for node in self.shown.seen.nodes.iter().filter(|node| node.is_alive()) {
            let span = spans.entry(node.offering.clone()).or_default();
            *span = span.saturating_add(Millis::between(node.launched_at, self.shown.seen.at));
        }
        spans
    }
}
