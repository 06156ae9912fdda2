//! The daemon is killed right before and right after each of its writes, in turn, and before and after it takes the
//! message off its queue, and started again: the drain ends, and nothing of it was done twice.

use std::{sync::Arc, time::Duration};

use futures::{StreamExt as _, stream};
use spotscale_test_cluster::{
    cloud::{Moto, moto::environment},
    kubelet::Running,
    provider::Instance,
};

use crate::ground::{
    Ground,
    daemon::Daemon,
    proxy::{Act, Kill},
    queue::{NOTICE, Queue},
    sqs::{Deletion, Sqs},
};

/// Cases that are played at once. With twice as many daemons calls are so slow that they are made anew.
const AT_ONCE: usize = 6;

/// How the daemon hears that a machine is to be left.
enum Hears {
    /// By its Node: an interruption. The machine is in its first hour, and left for EC2 to take.
    Node,
    /// By a queue: the advice to leave it. The machine is given back in the end.
    Queue(Queue),
}

/// One drain, with a daemon of its own that is killed once.
struct Case<'a> {
    ground: &'a Ground,
    scope: String,
    hears: Hears,
    kill: Kill,
}

impl Case<'_> {
    /// Returns what was done, and whether the daemon was killed.
    async fn run(&self) -> (Vec<Act>, bool) {
        let Self { ground, scope, kill, .. } = self;
        ground.sleepers(scope, 1).await;
        let old = ground.slept(scope, 1).await.remove(0);
        let mut daemon = self.start().await;
        daemon.leads().await;
        daemon.proxy.kill(daemon.process.pid(), Some(*kill));
        self.tell(&old).await;
        let last = *self.steps().last().unwrap();
        // Where calls are slow a pod may be gone before its eviction is answered.
        let is_killed_or_over = || async {
            let answered = daemon.proxy.count(last) > 0;
            Ok(daemon.proxy.has_killed() || answered && self.is_over(&old, true).await?)
        };
        ground.until("the kill or the end", is_killed_or_over).await;
        let was_killed = daemon.proxy.has_killed();
        // The machine may be gone before the next daemon looks, to which its message is then a stranger's for minutes.
        let knows = daemon.proxy.count(Act::Terminate) == 0;
        if was_killed {
            daemon.restart(ground).await;
        }
        let is_over = || async {
            let all = daemon.proxy.count(last) > 0 && ground.of(scope).len() == 1;
            Ok(all && self.is_over(&old, knows).await?)
        };
        ground.until("the end", is_over).await;
        (daemon.proxy.acts(), was_killed)
    }

    async fn start(&self) -> Daemon {
        let (flags, env) = match &self.hears {
            Hears::Node => (vec![], vec![]),
            Hears::Queue(queue) => (queue.flags().into(), queue.environment()),
        };
        let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
        Daemon::start(self.ground, (&self.scope, &self.scope), &flags, &env).await
    }

    async fn tell(&self, pod: &Running) {
        match &self.hears {
            Hears::Node => drop(self.ground.interrupt(&pod.machine, NOTICE).await),
            Hears::Queue(queue) => queue.rebalance(&self.ground.machine_of(pod)).await,
        }
    }

    /// The pod is ready elsewhere, and all that follows from the notice has followed; the end of the message only for a
    /// daemon that knows the machine.
    async fn is_over(&self, old: &Running, knows: bool) -> anyhow::Result<bool> {
        let mut pods = self.ground.of(&self.scope).into_iter();
        let moved = pods.all(|pod| pod.ready && pod.machine != old.machine);
        Ok(moved
            && match &self.hears {
                Hears::Node => true,
                Hears::Queue(queue) => {
                    let is_gone = !self.ground.machine_of(old).is_there();
                    is_gone && (!knows || queue.is_empty().await?)
                }
            })
    }

    /// What is done once in its drain.
    fn steps(&self) -> &'static [Act] {
        match self.hears {
            Hears::Node => &[Act::Cordon, Act::Surge, Act::Evict],
            Hears::Queue(_) => &[Act::Notice, Act::Cordon, Act::Surge, Act::Evict, Act::Terminate],
        }
    }
}

/// The machines that were ever bought for a scope.
fn bought(ground: &Ground, scope: &str) -> Vec<Instance> {
    let mut bought = ground.provider.instances();
    bought.retain(|machine| machine.pool.contains(&format!("-{scope}-")));
    bought
}

/// Before and after each of so many writes.
fn moments(writes: usize) -> impl Iterator<Item = (String, Kill)> {
    let moments = (0..writes).flat_map(|n| [Kill::Before(n), Kill::After(n)]);
    moments.enumerate().map(|(n, kill)| (format!("case{n}"), kill))
}

/// Runs all cases. A drain must have fewer writes than there are moments for.
async fn each_is_done_once(ground: &Ground, cases: Vec<Case<'_>>) {
    let outcomes: Vec<_> =
        stream::iter(cases.iter().map(Case::run)).buffered(AT_ONCE).collect().await;
    let mut killed = Vec::new();
    for (case, (acts, was_killed)) in cases.iter().zip(outcomes) {
        killed.extend(was_killed.then_some(case.kill));
        for once in case.steps() {
            let times = acts.iter().filter(|act| *act == once).count();
            assert!(times == 1, "{once:?} {times} times, killed {:?}: {acts:?}", case.kill);
        }
        let bought = bought(ground, &case.scope);
        assert_eq!(bought.len(), 2, "killed {:?}: {acts:?}: {bought:#?}", case.kill);
    }
    println!("killed {killed:?}");
    let last_step = cases[0].steps().len() - 1;
    let needed = [Kill::Before(last_step), Kill::After(last_step)];
    assert!(needed.iter().all(|kill| killed.contains(kill)), "{killed:?}");
    let last = cases.iter().rev().take(2).map(|case| case.kill);
    assert!(last.clone().all(|kill| !killed.contains(&kill)), "a drain has more: {killed:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_daemon_that_is_killed_at_any_write_of_a_drain_ends_it_and_does_nothing_twice() {
    let ground = Ground::new("killed", Duration::from_secs(1)).await;
    let case = |(scope, kill)| Case { ground: &ground, scope, hears: Hears::Node, kill };
    let cases = moments(8).map(case).collect();
    each_is_done_once(&ground, cases).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_daemon_that_is_killed_anywhere_from_the_message_to_the_machines_end_does_nothing_twice()
{
    let ground = Ground::new("killed-queue", Duration::from_secs(1)).await;
    let moto = Arc::new(Moto::start().await.unwrap());
    let mut cases = Vec::new();
    for (scope, kill) in moments(9) {
        let hears = Hears::Queue(Queue::within(&moto, &scope).await);
        cases.push(Case { ground: &ground, scope, hears, kill });
    }
    each_is_done_once(&ground, cases).await;
}

/// The message is taken off the queue when its machine is empty, which then waits for EC2 to take it: the daemon is killed
/// at that, and started again.
async fn message_is_done_once(ground: &Ground, moto: &Arc<Moto>, scope: &str, killed: Deletion) {
    let queue = Queue::within(moto, scope).await;
    let sqs = Sqs::start(&moto.endpoint()).await;
    ground.sleepers(scope, 1).await;
    let old = ground.slept(scope, 1).await.remove(0);
    let flags = queue.flags();
    let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
    let mut daemon =
        Daemon::start(ground, (scope, scope), &flags, &environment(&sqs.endpoint())).await;
    daemon.leads().await;
    sqs.kill(daemon.process.pid(), killed);
    let machine = ground.machine_of(&old);
    let deadline = ground.provider.interrupt(&machine.node, NOTICE).await.unwrap();
    queue.interruption(&machine, deadline).await;
    ground.until("the kill", || async { Ok(sqs.has_killed()) }).await;
    let is_left = killed == Deletion::Before;
    assert_eq!(queue.is_empty().await.unwrap(), !is_left, "killed {killed:?}");
    daemon.restart(ground).await;
    if is_left {
        sqs.come_again().await;
    }
    let deletions = if is_left { 2 } else { 1 };
    let is_over = || async {
        let pods = ground.of(scope);
        let moved = pods.len() == 1 && pods.iter().all(|pod| pod.ready && pod.name != old.name);
        // One that becomes visible while moto counts is counted nowhere.
        Ok(moved && sqs.deletions() >= deletions && queue.is_empty().await?)
    };
    ground.until("the end", is_over).await;
    assert_eq!(sqs.deletions(), deletions, "killed {killed:?}");
    let acts = daemon.proxy.acts();
    for once in [Act::Notice, Act::Cordon, Act::Surge, Act::Evict] {
        assert_eq!(daemon.proxy.count(once), 1, "{once:?}, killed {killed:?}: {acts:?}");
    }
    assert_eq!(bought(ground, scope).len(), 2, "killed {killed:?}: {acts:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_daemon_that_is_killed_at_the_deletion_of_a_message_does_nothing_of_it_twice() {
    let ground = Ground::new("killed-deletion", Duration::from_secs(1)).await;
    let moto = Arc::new(Moto::start().await.unwrap());
    let case = |scope, killed| message_is_done_once(&ground, &moto, scope, killed);
    tokio::join!(case("before", Deletion::Before), case("after", Deletion::After));
}
