//! What was broken on purpose, whom it hit, and how long it was before the lost replica's place was
//! taken again.

use serde::Serialize;

use super::Counts;
use crate::up::{
    scenario::{Event, Happening, Recording, ready},
    view::{Phase, View},
};

/// One mishap and its consequences.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Mishap {
    /// When it was brought about.
    pub at_ms: f64,
    /// What it was, in words for people.
    pub what: String,
    /// Which of the two kinds it is.
    pub kind: Kind,
    /// The node or replica that it hit; `None` where there was none to hit.
    pub victim: Option<String>,
    /// Requests that were under way at it, or due after it in its phase.
    pub requests: Counts,
    /// Milliseconds until as many replicas were ready as before, or as many as were then still
    /// wanted, without the victim; `None` when that was not seen.
    pub recovered_ms: Option<f64>,
    /// Fewest replicas ready between the mishap and the recovery.
    pub ready_min: usize,
}

/// Kinds of mishap.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Kind {
    /// A spot node was taken away.
    Interruption,
    /// A replica got SIGKILL.
    Kill,
}

/// Every mishap, in order.
pub(super) fn all(recording: &Recording) -> Vec<Mishap> {
    recording.happenings.iter().map(|happening| of(recording, happening)).collect()
}

fn of(recording: &Recording, happening: &Happening) -> Mishap {
    let (kind, what) = match happening.event {
        Event::InterruptSpotNode { notice_seconds, .. } => {
            (Kind::Interruption, format!("spot node interrupted, {notice_seconds} s notice"))
        }
        Event::KillReplica { .. } => (Kind::Kill, "replica killed with SIGKILL".to_owned()),
    };
    let hit = |sample: &&crate::up::scenario::Sample| {
        sample.phase <= happening.phase && sample.due_ms + sample.latency_ms >= happening.at_ms
    };
    let after = recording.seen.partition_point(|seen| seen.at_ms <= happening.at_ms);
    let before = after.checked_sub(1).map_or(0, |last| ready(&recording.seen[last].view));
    let later = &recording.seen[after..];
    let recovered = happening.victim.as_deref().and_then(|victim| {
        let lives = after.checked_sub(1).map(|last| restarts(&recording.seen[last].view, victim));
        let gone = later.iter().position(|seen| {
            !serves(&seen.view, victim) || lives != Some(restarts(&seen.view, victim))
        })?;
        let back = later[gone..].iter().position(|seen| {
            ready(&seen.view) >= before.min(seen.view.desired_replicas as usize)
        })?;
        Some(gone + back)
    });
    let hurt = recovered.map_or(later, |index| &later[..=index]);
    Mishap {
        at_ms: happening.at_ms,
        what,
        kind,
        victim: happening.victim.clone(),
        requests: Counts::of(recording.samples.iter().filter(hit)),
        recovered_ms: recovered.map(|index| later[index].at_ms - happening.at_ms),
        ready_min: hurt.iter().map(|seen| ready(&seen.view)).min().unwrap_or(before),
    }
}

/// How often a replica of this name has been started anew: between two looks it may have died and come back.
fn restarts(view: &View, name: &str) -> u32 {
    view.replicas.iter().find(|replica| replica.name == name).map_or(0, |found| found.restarts)
}

/// Whether a victim, a replica or a node with a replica on it, still takes requests.
fn serves(view: &View, victim: &str) -> bool {
    view.replicas.iter().any(|replica| {
        replica.phase == Phase::Ready
            && (replica.name == victim || replica.node.as_deref() == Some(victim))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::up::report::fixture::{answered, named, recording};

    #[test]
    fn recovery_is_when_another_has_taken_the_victims_place() {
        let mut day = recording();
        let event = Event::KillReplica { at_seconds: 0.1 };
        let victim = Some("a".to_owned());
        day.happenings = vec![Happening { phase: 0, at_ms: 100.0, event, victim }];
        day.seen = vec![
            named(0.0, &["a", "b"]),
            // Not noticed yet: still counted ready, but this is no recovery.
            named(200.0, &["a", "b"]),
            named(400.0, &["b"]),
            named(900.0, &["b", "c"]),
        ];
        day.samples = vec![answered(50.0, 1.0), answered(150.0, 1.0)];
        let mishap = &all(&day)[0];
        assert_eq!(mishap.recovered_ms, Some(800.0));
        assert_eq!((mishap.ready_min, mishap.requests.sent), (1, 1));
    }

    #[test]
    fn a_replica_that_died_and_came_back_between_two_looks_has_recovered() {
        let mut day = recording();
        let event = Event::KillReplica { at_seconds: 0.1 };
        let victim = Some("a".to_owned());
        day.happenings = vec![Happening { phase: 0, at_ms: 100.0, event, victim }];
        day.seen = vec![named(0.0, &["a"]), named(200.0, &["a"]), named(700.0, &["a"])];
        day.seen[2].view.replicas[0].restarts = 1;
        assert_eq!(all(&day)[0].recovered_ms, Some(600.0));
    }
}
