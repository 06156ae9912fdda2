//! How long machines have kept us waiting, by the looks at them. A clock that is set makes no machine late: between two
//! looks no more is believed to have gone by than looks are apart.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{
    cluster::{Node, NodePhase},
    units::{Millis, NodeName},
};

/// Looks are less apart than this, unless nobody looked or the clock was set.
const APART_MAX: Millis = Millis::from_secs(60);

/// The machines that are not ready.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Waits {
    looked_at: Option<Timestamp>,
    waited: BTreeMap<NodeName, Millis>,
}

impl Waits {
    /// Takes note of a look.
    pub(super) fn look<'a>(&mut self, nodes: impl Iterator<Item = &'a Node>, now: Timestamp) {
        let passed = self.looked_at.map(|last| Millis::between(last, now).min(APART_MAX));
        let before = std::mem::take(&mut self.waited);
        let waited = |node: &Node| match (before.get(&node.name), passed) {
            (Some(waited), Some(passed)) => waited.saturating_add(passed),
            // It was not there at the last look, or was ready.
            (None, Some(passed)) => passed.min(lasted(node, now)),
            (_, None) => lasted(node, now),
        };
        let late = nodes.filter(|node| since(node).is_some());
        self.waited = late.map(|node| (node.name.clone(), waited(node))).collect();
        self.looked_at = Some(now);
    }

    /// How long it has kept us waiting; nothing for one that is ready.
    pub(super) fn of(&self, node: &Node) -> Millis {
        self.waited.get(&node.name).copied().unwrap_or_default()
    }
}

/// How long that is by its own account.
fn lasted(node: &Node, now: Timestamp) -> Millis {
    since(node).map_or(Millis::ZERO, |since| Millis::between(since, now))
}

fn since(node: &Node) -> Option<Timestamp> {
    match node.phase {
        NodePhase::Provisioning => Some(node.launched_at),
        NodePhase::Unready { since } => Some(since),
        NodePhase::Ready | NodePhase::Leaving | NodePhase::Ended { .. } => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{at, node, spot};

    fn waited(looks: &[(i64, NodePhase)]) -> u64 {
        let mut waits = Waits::default();
        let mut one = node("n", spot("a"), at(100));
        for (second, phase) in looks {
            one.phase = *phase;
            waits.look([&one].into_iter(), at(*second));
        }
        waits.of(&one).0 / 1000
    }

    #[test]
    fn a_machine_that_does_not_come_is_waited_for_since_its_launch() {
        let coming = |second| (second, NodePhase::Provisioning);
        assert_eq!(waited(&[coming(400)]), 300, "at the first look it is taken at its word");
        assert_eq!(waited(&[coming(400), coming(410), coming(430)]), 330);
        let lost = |second| (second, NodePhase::Unready { since: at(420) });
        assert_eq!(waited(&[(410, NodePhase::Ready), lost(430), lost(440)]), 20);
        assert_eq!(waited(&[coming(400), (410, NodePhase::Ready)]), 0);
    }

    #[test]
    fn a_clock_that_is_set_makes_no_machine_late() {
        let coming = |second| (second, NodePhase::Provisioning);
        let looks = [coming(110), coming(3720), coming(3730), coming(140)];
        assert_eq!(waited(&looks[..2]), 10 + 60);
        assert_eq!(waited(&looks), 10 + 60 + 10, "nor does the way back");
        let mut waits = Waits::default();
        waits.look([].into_iter(), at(3710));
        let new = Node { phase: NodePhase::Provisioning, ..node("n", spot("a"), at(110)) };
        waits.look([&new].into_iter(), at(3712));
        assert_eq!(waits.of(&new), Millis::from_secs(2), "it was not there before");
    }
}
