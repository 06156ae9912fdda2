//! Two instances and one Lease.

use std::time::{Duration, Instant};

use spotscale_autoscaler::{
    Gate as _,
    kubernetes::{Election, ElectionConfig, client},
};
use tokio::runtime::Runtime;

use crate::world::{World, restricted_config};

/// By which another leads when the leader has died, and a busy machine's time on top.
const FAILOVER: Duration = Duration::from_secs(15);

/// An instance in a runtime of its own, so that it can die in a moment.
struct Instance {
    runtime: Option<Runtime>,
    election: Election,
}

impl Instance {
    async fn start(world: &World, identity: &str) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let config = ElectionConfig::new(&world.namespace, "autoscaler", identity);
        let (done, started) = std::sync::mpsc::channel();
        let of_client = restricted_config(&world.cluster).await;
        runtime.spawn(async move {
            done.send(Election::start(client(of_client).unwrap(), config)).unwrap();
        });
        let election = started.recv().unwrap();
        Self { runtime: Some(runtime), election }
    }

    fn leads(&self) -> bool {
        self.election.term().is_some()
    }

    /// Dies without a word: no task of it runs on.
    fn die(&mut self) {
        self.runtime.take().unwrap().shutdown_background();
    }
}

impl Drop for Instance {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// Watches two instances until a condition holds; never may both act.
async fn until(
    what: &str,
    instances: [&Instance; 2],
    is_so: impl Fn(bool, bool) -> bool,
) -> Duration {
    let start = Instant::now();
    loop {
        let [a, b] = instances.map(Instance::leads);
        assert!(!(a && b), "both may act");
        if is_so(a, b) {
            return start.elapsed();
        }
        assert!(start.elapsed() < Duration::from_secs(90), "{what}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_leads_and_when_it_dies_the_other_does_and_never_both() {
    let world = World::new("election", 0).await;
    let mut leader = Instance::start(&world, "a").await;
    leader.election.won().await;
    let heir = Instance::start(&world, "b").await;
    until("some renewals", [&leader, &heir], |_, _| true).await;
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!((leader.election.term(), heir.election.term()), (Some(1), None));
    leader.die();
    let died = Instant::now();
    until("the heir to lead", [&leader, &heir], |_, b| b).await;
    let took = died.elapsed();
    assert!(took < FAILOVER, "{took:?}");
    let next = Instance::start(&world, "a").await;
    let start = Instant::now();
    while start.elapsed() < Duration::from_secs(5) {
        assert!(heir.leads() && !next.leads());
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_gives_up_is_followed_at_once() {
    let world = World::new("release", 0).await;
    let first = Instance::start(&world, "a").await;
    first.election.won().await;
    let second = Instance::start(&world, "b").await;
    first.election.release().await;
    assert!(!first.leads());
    let took = until("b to lead", [&first, &second], |_, b| b).await;
    // A tenth of it where the machine has nothing else to do; a crash takes at least 10 s.
    assert!(took < Duration::from_secs(9), "{took:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_api_server_the_leader_stops_before_another_could_lead() {
    let world = World::alone("outage", 0).await;
    let (a, b) = (Instance::start(&world, "a").await, Instance::start(&world, "b").await);
    until("one to lead", [&a, &b], |a, b| a || b).await;
    let term = a.election.term().or(b.election.term());
    world.cluster.plane().kill_api_server().unwrap();
    let took = until("none to lead", [&a, &b], |a, b| !a && !b).await;
    assert!(took < Duration::from_secs(10), "{took:?}");
    world.restart_api_server().await;
    until("one to lead again", [&a, &b], |a, b| a || b).await;
    assert_eq!(term, Some(1));
}
