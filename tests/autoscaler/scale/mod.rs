//! A large cluster, 5,000 nodes and 50,000 pods, in a real API server, and the daemon as a process on it. The benchmark
//! (`make bench-plan`) tells how long ticks take and how much memory the daemon has, and fails where a bound is missed; in
//! the test the cluster is small, and it is what the daemon sees and does that counts.

mod crowd;
mod objects;
mod pods;
mod watched;

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use serde_json::Value;

use self::{
    crowd::Crowd,
    watched::{Ticks, Watched},
};

/// Of the own work of a tick: without the calls by which the cluster is told what to do.
const TICK_MS_MAX: f64 = 100.0;
const MEMORY_MIB_MAX: u64 = 300;
const NODES: usize = 5000;
const TICKS: usize = 60;
const CHANGES_PER_SECOND: u32 = 50;
/// Longer than a busy machine takes to tell all nodes that are under notice.
const PATIENCE: Duration = Duration::from_secs(90);

/// How large a cluster is.
#[derive(Debug, Clone, Copy)]
struct Size {
    nodes: usize,
    deployments: usize,
    /// Nodes that get a notice at once.
    noticed: usize,
}

impl Size {
    const fn pods(self) -> usize {
        self.nodes * pods::PODS_PER_NODE
    }

    /// Pods that are not a DaemonSet's.
    const fn replicas(self) -> usize {
        self.pods() - self.nodes
    }
}

fn names(objects: &[Value]) -> BTreeSet<String> {
    objects.iter().map(|object| object["metadata"]["name"].as_str().unwrap().to_owned()).collect()
}

/// It sees everything there is, and has nothing to do.
async fn assert_calm(crowd: &Crowd, daemon: &Watched) {
    let size = crowd.size;
    let state = daemon.state().await;
    let seen = &state["snapshot"]["seen"];
    let count = |what: &Value| what.as_array().unwrap().len();
    assert_eq!(
        (count(&seen["nodes"]), count(&seen["pods"]), count(&seen["workloads"])),
        (size.nodes, size.replicas(), size.deployments),
    );
    assert_eq!(count(&seen["provisioner"]["pools"]), 2);
    assert_eq!(count(&state["plan"]["steps"]), 0, "{}", state["plan"]);
    assert!(crowd.closed().await.is_empty() && crowd.released().await.is_empty());
}

/// Waits until the nodes under notice are cordoned and all replicas on them are released, and sees that no others are.
async fn assert_told(crowd: &Crowd, daemon: &Watched) {
    let size = crowd.size;
    let on_noticed = 0..size.noticed * pods::PODS_PER_NODE;
    let is_replica = |pod: &usize| !pod.is_multiple_of(pods::PODS_PER_NODE);
    let replicas: BTreeSet<String> =
        on_noticed.filter(is_replica).map(|pod| pods::pod_name(size, pod)).collect();
    let start = Instant::now();
    while crowd.released().await.len() < replicas.len() {
        assert!(start.elapsed() < PATIENCE, "{} are released", crowd.released().await.len());
        // To find them the API server looks at every pod, on the cores that the daemon has.
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    assert_eq!(names(&crowd.released().await), replicas);
    let closed = crowd.closed().await;
    assert!(closed.iter().all(objects::is_cordoned), "{closed:#?}");
    assert_eq!(names(&closed), (0..size.noticed).map(objects::node_name).collect());
    let evictions = r#"spotscale_actions_total{action="evict",outcome="done"}"#;
    assert!(daemon.process.metric(evictions).await.is_err(), "a pod was not replaced yet");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_nodes_are_all_seen_and_only_those_under_notice_are_emptied() {
    let crowd = Crowd::new(Size { nodes: 100, deployments: 20, noticed: 5 }).await;
    let daemon = Watched::start(&crowd).await;
    daemon.next_ticks(3).await;
    assert_calm(&crowd, &daemon).await;
    let written =
        |all: Vec<Value>| all.iter().filter(|it| objects::is_written_by_daemon(it)).count();
    assert_eq!(written(crowd.all().await), 0);
    crowd.notice().await;
    assert_told(&crowd, &daemon).await;
    daemon.next_ticks(2).await;
    assert_told(&crowd, &daemon).await;
    let told = crowd.size.noticed * pods::PODS_PER_NODE;
    assert_eq!(written(crowd.all().await), told, "each node under notice, and nine pods on it");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "a benchmark: make bench-plan"]
async fn a_plan_of_thousands_of_nodes_is_quick_and_small() {
    let nodes = std::env::var("SPOTSCALE_NODES").map_or(NODES, |text| text.parse().unwrap());
    let size = Size { nodes, deployments: 500, noticed: 50 };
    let start = Instant::now();
    let crowd = Crowd::new(size).await;
    println!("{nodes} nodes, {} pods, made in {:.0?}", size.pods(), start.elapsed());
    let daemon = Watched::start(&crowd).await;
    println!("first plan {:.1?} after the start; {}", daemon.first_plan, memory(&daemon));
    daemon.next_ticks(5).await;
    assert_calm(&crowd, &daemon).await;
    let mut bound = Bound::default();
    bound.hold("in peace", &daemon, &daemon.next_ticks(TICKS).await);
    let changed = tokio::select! {
        () = crowd.change_pods(CHANGES_PER_SECOND) => unreachable!("it goes on"),
        ticks = daemon.next_ticks(TICKS) => ticks,
    };
    bound.hold("with 50 changes of pods a second", &daemon, &changed);
    let (asked, shown) = tokio::join!(ask(&daemon), daemon.next_ticks(TICKS / 4));
    bound.hold(&format!("while /debug/plan is asked for ({asked})"), &daemon, &shown);
    let noticed = Instant::now();
    crowd.notice().await;
    let told = async {
        assert_told(&crowd, &daemon).await;
        noticed.elapsed()
    };
    let (told, ticks) = tokio::join!(told, daemon.next_ticks(TICKS / 4));
    let when = format!("with notices for {} nodes, all told in {told:.1?}", size.noticed);
    bound.hold(&when, &daemon, &ticks);
    let peak = daemon.memory().peak >> 10;
    assert!(bound.own_max_ms <= TICK_MS_MAX, "a tick took {:.1} ms", bound.own_max_ms);
    assert!(peak <= MEMORY_MIB_MAX, "{peak} MiB were resident");
}

/// The longest tick so far.
#[derive(Default)]
struct Bound {
    own_max_ms: f64,
}

impl Bound {
    fn hold(&mut self, when: &str, daemon: &Watched, ticks: &Ticks) {
        println!("{when}: {ticks}; {}", memory(daemon));
        self.own_max_ms = self.own_max_ms.max(ticks.own_max_ms());
    }
}

fn memory(daemon: &Watched) -> String {
    let memory = daemon.memory();
    format!("{} MiB resident, {} at most", memory.now >> 10, memory.peak >> 10)
}

/// Asks for the whole plan ten times; what the slowest answer took.
async fn ask(daemon: &Watched) -> String {
    let mut slowest = Duration::ZERO;
    for _ in 0..10 {
        let start = Instant::now();
        assert_eq!(daemon.state().await["role"], "leader");
        slowest = slowest.max(start.elapsed());
    }
    format!("{slowest:.1?} at most")
}
