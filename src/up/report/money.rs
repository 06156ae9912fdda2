//! The bill at the end of the run.

use crate::up::{scenario::Recording, view::Money};

const MS_PER_HOUR: f64 = 3_600_000.0;

/// What was billed when the last view was published, and since then the nodes that were still there, to `end_ms`. The
/// baseline stays as it was seen: the saving is rather told too small.
pub(super) fn at(recording: &Recording, end_ms: f64) -> Money {
    let Some(last) = recording.seen.last() else {
        return Money::default();
    };
    let usd_per_hour: f64 = last.view.nodes.iter().map(|node| node.usd_per_hour).sum();
    let hours = (end_ms - last.at_ms).max(0.0) / MS_PER_HOUR;
    let Money { spend_usd, .. } = last.view.money;
    Money { spend_usd: spend_usd + usd_per_hour * hours, ..last.view.money }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::up::report::fixture::{node, recording, replicas};

    #[test]
    fn nodes_that_are_still_there_are_billed_to_the_end() {
        let mut played = recording();
        let (early, mut last) = (replicas(1000.0, 1), replicas(4000.0, 1));
        last.view.nodes = vec![node("a", 0.36), node("b", 0.72)];
        last.view.money = Money { spend_usd: 1.0, baseline_usd: 2.0, refund_usd: 0.0 };
        played.seen = vec![early, last];
        let money = at(&played, 14_000.0);
        assert!((money.spend_usd - 1.003).abs() < 1e-9, "{money:?}");
        assert_eq!((money.baseline_usd, money.refund_usd), (2.0, 0.0));
        assert_eq!(at(&played, 4000.0), played.seen[1].view.money);
    }

    #[test]
    fn without_a_view_nothing_was_billed() {
        assert_eq!(at(&recording(), 1000.0), Money::default());
    }
}
