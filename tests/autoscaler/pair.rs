//! Two daemons: one acts, and another when that one is gone, stuck or cut off. Never both.

use std::time::{Duration, Instant};

use jiff::Timestamp;
use rustix::process::Signal;

use crate::ground::{
    Ground,
    daemon::Daemon,
    proxy::{Act, Write},
    queue::NOTICE,
};

const SCOPE: &str = "pair";
/// How long nobody may be there to act.
const FAILOVER_MAX: Duration = Duration::from_secs(15);

/// One leads and the other waits.
struct Pair {
    ground: Ground,
    leader: Daemon,
    other: Daemon,
}

impl Pair {
    async fn new(name: &str) -> Self {
        let ground = Ground::new(name, Duration::from_secs(1)).await;
        ground.sleepers(SCOPE, 2).await;
        ground.slept(SCOPE, 2).await;
        let leader = Daemon::start(&ground, (SCOPE, "first"), &[], &[]).await;
        leader.leads().await;
        let other = Daemon::start(&ground, (SCOPE, "second"), &[], &[]).await;
        let waits = || async { Ok(other.state().await["role"] == "standby") };
        ground.until("the other to wait", waits).await;
        Self { ground, leader, other }
    }

    /// A machine is to be taken; which.
    async fn notice(&self) -> String {
        let victim = self.ground.slept(SCOPE, 2).await.remove(0).machine;
        self.ground.interrupt(&victim, NOTICE).await;
        victim
    }

    /// Waits until both pods are ready on other machines.
    async fn left(&self, victim: String) {
        let is_left = || async {
            let pods = self.ground.of(SCOPE);
            let elsewhere = pods.iter().filter(|pod| pod.ready && pod.machine != victim);
            Ok(pods.len() == 2 && elsewhere.count() == 2)
        };
        self.ground.until("the pod to move", is_left).await;
    }

    /// A drain, done by this daemon alone.
    async fn drained_by(&self, daemon: &Daemon, times: usize) {
        self.left(self.notice().await).await;
        self.evicted(daemon, times).await;
    }

    /// Waits until a daemon is known to have evicted so many pods; it must not have evicted more.
    async fn evicted(&self, daemon: &Daemon, times: usize) {
        // A pod may be gone before the answer to its eviction is written down.
        let is_told = || async { Ok(daemon.proxy.count(Act::Evict) >= times) };
        self.ground.until("the evictions to be written down", is_told).await;
        assert_eq!(daemon.proxy.count(Act::Evict), times);
    }
}

/// What a daemon has done to the cluster after a moment.
fn acts_after(daemon: &Daemon, moment: Timestamp) -> Vec<Write> {
    let mut writes = daemon.proxy.writes();
    writes.retain(|write| write.act().is_some() && write.at > moment);
    writes
}

#[tokio::test(flavor = "multi_thread")]
async fn when_the_leader_is_killed_the_other_acts_within_fifteen_seconds() {
    let mut pair = Pair::new("killed-leader").await;
    pair.drained_by(&pair.leader, 1).await;
    assert!(pair.other.proxy.acts().is_empty(), "{:?}", pair.other.proxy.acts());
    let killed = Instant::now();
    pair.leader.process.signal(Signal::KILL);
    pair.leader.process.ended().await;
    pair.other.leads().await;
    let took = killed.elapsed();
    println!("failover after SIGKILL: {took:.1?}");
    assert!(took < FAILOVER_MAX, "{took:?}");
    pair.drained_by(&pair.other, 1).await;
    assert_eq!(pair.leader.proxy.count(Act::Evict), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_that_was_stopped_past_its_lease_does_not_act_again() {
    let pair = Pair::new("stopped-leader").await;
    pair.leader.process.signal(Signal::STOP);
    let stopped = Instant::now();
    pair.other.leads().await;
    println!("failover after SIGSTOP: {:.1?}", stopped.elapsed());
    // Both see the notice at once, and the one that slept takes itself for the leader if anything does.
    let victim = pair.notice().await;
    let woken = Timestamp::now();
    pair.leader.process.signal(Signal::CONT);
    let waits = || async { Ok(pair.leader.state().await["role"] == "standby") };
    pair.ground.until("it to wait", waits).await;
    pair.left(victim).await;
    pair.evicted(&pair.other, 1).await;
    pair.drained_by(&pair.other, 2).await;
    let acts = acts_after(&pair.leader, woken);
    assert!(acts.is_empty(), "two acted: {acts:?}");
}

/// It still sees the cluster and could act on it, but does not hear that its Lease was taken.
#[tokio::test(flavor = "multi_thread")]
async fn a_leader_that_cannot_renew_its_lease_stops_before_the_other_begins() {
    replaced_without("/leases", "blind-leader").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_that_is_cut_off_leaves_the_acting_to_the_other() {
    replaced_without("/", "cut-leader").await;
}

/// The leader can no longer reach a part of the API.
async fn replaced_without(part: &'static str, name: &str) {
    let pair = Pair::new(name).await;
    pair.leader.proxy.refuse(Some(part));
    let (cut, start) = (Timestamp::now(), Instant::now());
    pair.other.leads().await;
    let took = start.elapsed();
    assert!(took < FAILOVER_MAX, "{took:?}");
    pair.drained_by(&pair.other, 1).await;
    pair.leader.proxy.refuse(None);
    pair.drained_by(&pair.other, 2).await;
    let acts = acts_after(&pair.leader, cut);
    assert!(acts.is_empty(), "two acted: {acts:?}");
}
