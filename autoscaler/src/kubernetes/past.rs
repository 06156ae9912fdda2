//! The nodes that were there a moment ago. A machine's end is an absence: who ended it follows from what was known of it
//! until then. Where nothing follows it is not known.

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};
use spotscale_decide::{
    cluster::{EndedBy, Node, NodePhase, NoticeKind, Observation},
    units::{Millis, NodeName},
};

/// For so long it is told that a node has ended.
const TOLD_FOR: SignedDuration = SignedDuration::from_secs(300);

/// A clock that is behind by as much was set back.
const SET_BACK: SignedDuration = SignedDuration::from_secs(60);

/// What was there, by the machine, or by the node's name where the machine is not known.
#[derive(Debug, Default)]
pub(super) struct Past {
    lives: BTreeMap<String, Life>,
    ended: Vec<(Timestamp, Node)>,
}

#[derive(Debug)]
struct Life {
    node: Node,
    /// When the provider said that it would take the machine.
    deadline: Option<Timestamp>,
    /// When it was first seen that the machine is being given back.
    left_at: Option<Timestamp>,
    /// When it was seen last.
    seen_at: Timestamp,
}

impl Past {
    /// Adds the nodes that have ended to what is seen.
    pub(super) fn complete(&mut self, seen: &mut Observation) {
        let mut deadlines = BTreeMap::new();
        for notice in &seen.notices {
            if let NoticeKind::Interruption { deadline } = notice.kind {
                deadlines.insert(&notice.node, deadline);
            }
        }
        let mut before = std::mem::take(&mut self.lives);
        for node in &seen.nodes {
            let known =
                before.remove(key(node)).filter(|life| life.node.launched_at == node.launched_at);
            let left_at = node.is_leaving().then_some(seen.at);
            let life = Life {
                node: node.clone(),
                deadline: deadlines.get(&node.name).copied(),
                left_at: known.and_then(|life| life.left_at).or(left_at),
                seen_at: seen.at,
            };
            self.lives.insert(key(node).to_owned(), life);
        }
        self.ended.extend(before.into_values().map(|life| (seen.at, life.end(seen.at))));
        if !self.ended.is_empty() {
            self.forget_ended(seen.at);
        }
        seen.nodes.extend(self.ended.iter().map(|(_, node)| node.clone()));
    }

    /// We give this one back: it may be gone before it is seen to leave.
    pub(super) fn give_back(&mut self, node: &NodeName, now: Timestamp) {
        let mut lives = self.lives.values_mut();
        if let Some(life) = lives.find(|life| &life.node.name == node) {
            life.left_at.get_or_insert(now);
        }
    }

    /// Those that are there again, or were told for long enough.
    fn forget_ended(&mut self, now: Timestamp) {
        let lives = &self.lives;
        let listed: BTreeSet<_> =
            lives.values().map(|life| (&life.node.name, life.node.launched_at)).collect();
        self.ended.retain(|(told_at, node)| {
            // It was not listed for a while, without its label for instance, or is known by its machine by now.
            let same = lives.get(key(node)).is_some_and(|l| l.node.launched_at == node.launched_at);
            let is_back = same || listed.contains(&(&node.name, node.launched_at));
            // Told by a clock that was set back since, it was told wrong.
            let told_for = now.duration_since(*told_at);
            !is_back && (-SET_BACK..TOLD_FOR).contains(&told_for)
        });
    }
}

impl Life {
    /// The provider took it if it said that it would and it was not given back before. A machine that goes shortly before
    /// its deadline, as EC2's do, was taken too, unless somebody is seen to have given it back. Where there is neither a
    /// deadline nor anybody a notice may never have come.
    fn end(self, now: Timestamp) -> Node {
        /// Clocks differ, and the last look is a little old.
        const EARLY: Millis = Millis::from_secs(10);
        let taken = self.deadline.filter(|deadline| {
            let given_back = self.left_at.is_some_and(|left_at| left_at < *deadline);
            !given_back && EARLY.before(*deadline) <= now
        });
        let phase = match (taken, self.left_at) {
            (Some(deadline), _) => {
                NodePhase::Ended { at: deadline.min(now), by: EndedBy::Provider }
            }
            (None, Some(_)) => NodePhase::Ended { at: now, by: EndedBy::Us },
            (None, None) => NodePhase::Ended { at: self.seen_at, by: EndedBy::Unknown },
        };
        Node { phase, ..self.node }
    }
}

fn key(node: &Node) -> &str {
    node.instance.as_ref().map_or(node.name.as_str(), |id| id.as_str())
}

#[cfg(test)]
mod tests {
    use spotscale_decide::{
        cluster::{CapacityType, Notice, Offering},
        ledger::{Baseline, Ledger},
        prices::{PriceBook, PriceChange},
        units::MicroUsd,
    };

    use super::*;
    use crate::kubernetes::mapping::testing::at;

    fn node(name: &str, instance: Option<&str>) -> Node {
        Node {
            name: name.parse().unwrap(),
            instance: instance.map(|id| id.parse().unwrap()),
            offering: Offering {
                instance_type: "g4dn.xlarge".parse().unwrap(),
                zone: "a".parse().unwrap(),
                capacity_type: CapacityType::Spot,
            },
            phase: NodePhase::Ready,
            cordoned: None,
            protected: false,
            pool: None,
            launched_at: at(0),
            pods_max: 1,
        }
    }

    fn look(
        past: &mut Past,
        second: i64,
        nodes: &[Node],
        deadline: Option<i64>,
        leaving: bool,
    ) -> Vec<Node> {
        completed(past, second, nodes, deadline, leaving).nodes
    }

    fn completed(
        past: &mut Past,
        second: i64,
        nodes: &[Node],
        deadline: Option<i64>,
        leaving: bool,
    ) -> Observation {
        let notice = |deadline| Notice {
            node: nodes[0].name.clone(),
            kind: NoticeKind::Interruption { deadline: at(deadline) },
        };
        let notices = deadline.map(notice).into_iter().collect();
        let mut nodes = nodes.to_vec();
        if leaving {
            for node in &mut nodes {
                node.phase = NodePhase::Leaving;
            }
        }
        let mut seen = Observation {
            at: at(second),
            workloads: vec![],
            nodes,
            pods: vec![],
            notices,
            provisioner: None,
        };
        past.complete(&mut seen);
        seen
    }

    /// What was spent at the last of these looks: at a second, is the node listed?
    fn spend(looks: &[(i64, bool)], instance: Option<&str>) -> MicroUsd {
        let price = PriceChange { at: at(0), price: "0.36".parse().unwrap() };
        let prices = PriceBook::from_iter([(node("a", None).offering, price)]);
        let baseline =
            Baseline { instance_type: "g4dn.xlarge".parse().unwrap(), pods_max: 1, nodes: None };
        let (mut past, mut ledger) = (Past::default(), Ledger::default());
        for (second, is_listed) in looks {
            let nodes: Vec<_> = is_listed.then(|| node("a", instance)).into_iter().collect();
            let seen = completed(&mut past, *second, &nodes, None, false);
            ledger.observe(&seen, &prices);
        }
        let last = looks.last().unwrap().0;
        ledger.totals(&baseline, &prices, at(last)).spend
    }

    fn phase_after(deadline: Option<i64>, leaving: bool, gone_at: i64) -> NodePhase {
        let mut past = Past::default();
        look(&mut past, 10, &[node("a", None)], deadline, leaving);
        let seen = look(&mut past, gone_at, &[], None, false);
        assert_eq!(look(&mut past, gone_at + 1, &[], None, false), seen, "it is told again");
        assert!(look(&mut past, gone_at + 301, &[], None, false).is_empty(), "not for ever");
        seen[0].phase
    }

    #[test]
    fn the_provider_took_what_it_said_it_would_and_nobody_gave_back() {
        use EndedBy::{Provider, Unknown, Us};
        let ended = |second, by| NodePhase::Ended { at: at(second), by };
        for (deadline, leaving, gone_at, expected) in [
            (None, true, 50, ended(50, Us)),
            (None, false, 50, ended(10, Unknown)),
            (Some(130), false, 140, ended(130, Provider)),
            (Some(130), false, 125, ended(125, Provider)),
            (Some(130), false, 60, ended(10, Unknown)),
            (Some(130), true, 140, ended(140, Us)),
        ] {
            let case = format!("{deadline:?}, {leaving}, {gone_at}");
            assert_eq!(phase_after(deadline, leaving, gone_at), expected, "{case}");
        }
    }

    #[test]
    fn what_we_give_back_and_never_see_leave_was_given_back_by_us() {
        let mut past = Past::default();
        look(&mut past, 10, &[node("a", Some("i-1"))], None, false);
        past.give_back(&"a".parse().unwrap(), at(11));
        let seen = look(&mut past, 12, &[], None, false);
        assert_eq!(seen[0].phase, NodePhase::Ended { at: at(12), by: EndedBy::Us });
    }

    #[test]
    fn a_machine_that_joins_goes_on_and_a_name_that_is_used_again_does_not() {
        let mut past = Past::default();
        look(&mut past, 10, &[node("claim", Some("i-1"))], None, false);
        let seen = look(&mut past, 20, &[node("ip-10-0-0-1", Some("i-1"))], None, false);
        assert_eq!(seen.len(), 1, "the same machine under the name of its node");
        let next = Node { launched_at: at(30), ..node("ip-10-0-0-1", Some("i-2")) };
        let seen = look(&mut past, 40, &[next], None, false);
        assert_eq!(seen.iter().filter(|node| node.is_alive()).count(), 1);
        assert_eq!(seen.len(), 2);
    }

    #[test]
    fn a_machine_that_gets_its_id_late_has_not_ended() {
        let mut past = Past::default();
        look(&mut past, 10, &[node("claim", None)], None, false);
        assert_eq!(look(&mut past, 20, &[node("claim", Some("i-1"))], None, false).len(), 1);
    }

    #[test]
    fn a_machine_that_is_listed_again_goes_on_costing() {
        for instance in [None, Some("i-1")] {
            let cost = |looks: &[(i64, bool)]| spend(looks, instance).0;
            assert_eq!(cost(&[(100, true), (110, false), (200, false)]), 10_000);
            let back = [(100, true), (110, false), (120, true), (130, true), (200, true)];
            assert_eq!(cost(&back), 20_000, "it was there all the time");
            let twice = [(100, true), (110, false), (120, true), (150, false), (160, true)];
            assert_eq!(cost(&twice), 16_000);
            let late = [(100, true), (110, false), (500, false), (600, true)];
            assert_eq!(cost(&late), 60_000, "also when its end is told no more");
        }
    }
}
