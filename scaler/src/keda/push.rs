//! When `StreamIsActive` speaks: loud enough that no activation is lost, quiet enough that nothing is woken in vain.
//!
//! KEDA acts on `true` only, drops one that comes before the HPA exists (kedacore/keda#8168), and pays for each with
//! API-server writes that also prolong the cooldown (kedacore/http-add-on#1792). An edge that meets the end of a scaling
//! to zero is lost, too. Hence: `true` on the edge, and again while work waits and nothing can serve it: once soon, then
//! slowly.

use std::{sync::Arc, time::Duration};

use futures::{Stream, stream};
use spotscale_proto::externalscaler::IsActiveResponse;
use tokio::{
    sync::watch,
    time::{Instant, sleep_until},
};
use tonic::Status;

use super::{metrics::Metrics, snapshot::Snapshot, streams::Lease};

/// An edge is repeated after this time: by then KEDA has acted on it, if it was not lost.
const REPEAT_EDGE_AFTER: Duration = Duration::from_secs(1);
/// The shortest time between two repeats.
const REPEAT_AFTER: Duration = Duration::from_secs(5);

/// What the last snapshot means for a push stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Work {
    /// Nothing is known: neither an edge nor a reason to speak.
    Unknown,
    /// Nothing to do.
    None,
    /// There is work, and replicas that can take it.
    Served,
    /// Work waits and no replica can take it.
    Stranded,
}

/// What a stream has to do next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Due {
    /// Say `true` now, because of this.
    Now(&'static str),
    /// Say it at this time, unless something changes before.
    At(Instant),
    /// Nothing, until something changes.
    Never,
}

/// The memory of one stream.
#[derive(Debug, Default)]
pub(crate) struct Rules {
    active: bool,
    /// Nothing is repeated before.
    quiet_until: Option<Instant>,
}

impl Rules {
    /// What is due at `now`; a `Now` counts as sent.
    pub(crate) fn due(&mut self, now: Instant, work: Work) -> Due {
        let was_active = self.active;
        match work {
            Work::Unknown => return Due::Never,
            Work::None => self.active = false,
            Work::Served | Work::Stranded => self.active = true,
        }
        let (due, quiet_for) = match (work, self.quiet_until) {
            _ if self.active && !was_active => (Due::Now("edge"), REPEAT_EDGE_AFTER),
            (Work::Stranded, Some(until)) if now < until => return Due::At(until),
            (Work::Stranded, _) => (Due::Now("repeat"), REPEAT_AFTER),
            _ => return Due::Never,
        };
        self.quiet_until = Some(now + quiet_for);
        due
    }
}

/// One open push stream.
struct Push {
    rules: Rules,
    snapshots: watch::Receiver<Arc<Snapshot>>,
    lease: Lease,
    metrics: Arc<Metrics>,
}

/// The stream of one trigger: `true` whenever one is due, ended cleanly with its lease.
pub(crate) fn stream(
    snapshots: watch::Receiver<Arc<Snapshot>>,
    lease: Lease,
    metrics: Arc<Metrics>,
) -> impl Stream<Item = Result<IsActiveResponse, Status>> + Send + 'static {
    let push = Push { rules: Rules::default(), snapshots, lease, metrics };
    stream::unfold(push, |mut push| async {
        push.next().await.then_some((Ok(IsActiveResponse { result: true }), push))
    })
}

impl Push {
    /// Waits until `true` is due; false when the stream ends instead.
    async fn next(&mut self) -> bool {
        loop {
            let work = self.snapshots.borrow_and_update().work();
            let wake = match self.rules.due(Instant::now(), work) {
                Due::Now(why) => {
                    self.metrics.push(why);
                    return true;
                }
                Due::At(at) => at,
                Due::Never => self.lease.ends_at,
            };
            tokio::select! {
                () = self.lease.ended() => return false,
                changed = self.snapshots.changed() => if changed.is_err() { return false },
                () = sleep_until(wake) => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn the_edge_is_told_once() {
        let (mut rules, now) = (Rules::default(), Instant::now());
        assert_eq!(rules.due(now, Work::None), Due::Never);
        assert_eq!(rules.due(now, Work::Served), Due::Now("edge"));
        assert_eq!(rules.due(now + 60 * SECOND, Work::Served), Due::Never);
    }

    #[test]
    fn stranded_work_repeats_once_soon_and_then_every_five_seconds_at_most() {
        let (mut rules, now) = (Rules::default(), Instant::now());
        assert_eq!(rules.due(now, Work::Stranded), Due::Now("edge"));
        assert_eq!(rules.due(now, Work::Stranded), Due::At(now + SECOND));
        assert_eq!(rules.due(now + SECOND, Work::Stranded), Due::Now("repeat"));
        let later = now + SECOND + REPEAT_AFTER;
        assert_eq!(rules.due(now + 2 * SECOND, Work::Stranded), Due::At(later));
        assert_eq!(rules.due(later, Work::Stranded), Due::Now("repeat"));
    }

    #[test]
    fn work_that_loses_its_last_replica_is_told_at_once() {
        let (mut rules, now) = (Rules::default(), Instant::now());
        rules.due(now, Work::Served);
        assert_eq!(rules.due(now + 60 * SECOND, Work::Stranded), Due::Now("repeat"));
    }

    #[test]
    fn an_unknown_state_is_no_edge() {
        let (mut rules, now) = (Rules::default(), Instant::now());
        rules.due(now, Work::Served);
        assert_eq!(rules.due(now, Work::Unknown), Due::Never);
        assert_eq!(rules.due(now, Work::Served), Due::Never);
    }
}
