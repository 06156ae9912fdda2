//! The daemon is killed right before and right after each of its writes, in turn, and started again: the drain ends, and
//! nothing of it was done twice.

use std::time::Duration;

use futures::future::join_all;

use crate::ground::{
    Ground,
    daemon::Daemon,
    proxy::{Act, Kill},
    queue::NOTICE,
};

/// A drain has fewer writes.
const WRITES_MAX: usize = 8;

/// One drain, with a daemon of its own that is killed once.
struct Case<'a> {
    ground: &'a Ground,
    scope: String,
    kill: Kill,
}

impl Case<'_> {
    /// Returns what was done, and whether the daemon was killed.
    async fn run(&self) -> (Vec<Act>, bool) {
        let Self { ground, scope, kill } = self;
        let old = ground.slept(scope, 1).await.remove(0);
        let mut daemon = Daemon::start(ground, (scope.as_str(), scope.as_str()), &[], &[]).await;
        daemon.leads().await;
        daemon.proxy.kill(daemon.process.pid(), Some(*kill));
        ground.interrupt(&old.machine, NOTICE).await;
        let is_over = || ground.of(scope).iter().all(|pod| pod.ready && pod.machine != old.machine);
        ground
            .until("the kill or the end", || async { Ok(daemon.proxy.has_killed() || is_over()) })
            .await;
        let was_killed = daemon.proxy.has_killed();
        if was_killed {
            daemon.restart(ground).await;
        }
        ground.until("the end", || async { Ok(ground.of(scope).len() == 1 && is_over()) }).await;
        (daemon.proxy.acts(), was_killed)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_daemon_that_is_killed_at_any_write_of_a_drain_ends_it_and_does_nothing_twice() {
    let ground = Ground::new("killed", Duration::from_secs(1)).await;
    let moments = (0..WRITES_MAX).flat_map(|n| [Kill::Before(n), Kill::After(n)]);
    let scopes = moments.enumerate().map(|(n, kill)| (format!("case{n}"), kill));
    let cases: Vec<_> = scopes.map(|(scope, kill)| Case { ground: &ground, scope, kill }).collect();
    join_all(cases.iter().map(|case| ground.sleepers(&case.scope, 1))).await;
    let outcomes = join_all(cases.iter().map(Case::run)).await;
    let mut killed = Vec::new();
    for (case, (acts, was_killed)) in cases.iter().zip(outcomes) {
        killed.extend(was_killed.then_some(case.kill));
        for once in [Act::Cordon, Act::Surge, Act::Evict] {
            let times = acts.iter().filter(|act| **act == once).count();
            assert!(times == 1, "{once:?} {times} times, killed {:?}: {acts:?}", case.kill);
        }
        let bought = ground.provider.instances();
        let of_case =
            bought.iter().filter(|machine| machine.pool.contains(&format!("-{}-", case.scope)));
        assert_eq!(of_case.count(), 2, "machines, killed {:?}: {acts:?}", case.kill);
    }
    println!("killed {killed:?}");
    assert!(killed.contains(&Kill::Before(2)) && killed.contains(&Kill::After(2)), "{killed:?}");
    let last = [Kill::Before(WRITES_MAX - 1), Kill::After(WRITES_MAX - 1)];
    assert!(!killed.iter().any(|kill| last.contains(kill)), "a drain has more writes: {killed:?}");
}
