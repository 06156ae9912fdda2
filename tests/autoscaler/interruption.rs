//! Requests flow at 60 % of what the replicas can do while their machines are taken away: how many are lost, how late
//! the others are, how fast a pod is replaced, and how much of the notice is left when its last request has ended.
//!
//! The front may not send a request again that a replica has begun (no path is declared idempotent), and some are under
//! way on every replica at every moment: a replica that dies of its machine loses requests, and is seen.
//!
//! `SPOTSCALE_REQUESTS` makes it a benchmark: at least so many requests in each scenario, to twice as many replicas that
//! each take more at once, with interruptions all along. What the replicas can do is bound by how long each collects
//! requests, not by the one machine that plays all.

use std::{fmt, sync::Arc, time::Duration};

use jiff::Timestamp;
use serde_json::Value;
use spotscale_test_cluster::{catalog::CapacityType, kubelet::Running, provider::Instance};

use crate::ground::{
    Ground,
    daemon::Daemon,
    load::{Load, Outcome, Target},
    objects::{MODEL, Pods},
    process::Process,
    queue::{NOTICE, Queue},
};

/// Of the latency of all requests of a run, at the 95th percentile.
const P95_MAX: Duration = Duration::from_millis(500);
/// A benchmark has its machine to itself; a test shares it, and may be so many times slower.
const BUSY: u32 = 4;
/// Requests of the same load without any interruption.
const QUIET: u64 = 500;
/// Where all spot is gone, from the notices until every replica serves on demand: half of the notice is left.
const ON_DEMAND_WITHIN: Duration = Duration::from_mins(1);
/// From a machine's launch to its Node.
const BOOT: Duration = Duration::from_secs(3);
/// Requests that each replica may have at once in a benchmark. Ten replicas that hold each request for 40 ms answer 3,000
/// a second at most; a million at the load's share of that would take ten minutes.
const BENCHMARK_CONCURRENCY: u32 = 12;
/// The load, as a share of the measured capacity.
const UTILISATION: f64 = 0.6;

/// A run.
struct Play {
    pods: Pods,
    requests: u64,
    /// Requests that each replica may have at once.
    concurrency: u32,
    /// Machines that are taken at once, time after time.
    at_once: &'static [usize],
    /// From the notice to the end.
    lead: Duration,
    /// Of what no machine can be had from the notice until the pods have left.
    sold_out: &'static [CapacityType],
    /// Replicas that may be missing at any moment.
    missing_max: usize,
}

/// What one interruption came to.
#[derive(Clone, Copy)]
struct Interruption {
    machines: usize,
    /// From the notice until all replicas were ready on other machines.
    replaced: Duration,
    /// How many replicas served, and were not told to end, when it was fewest.
    serving_min: usize,
    /// How many of those that were ready elsewhere then were on demand.
    on_demand: usize,
    /// What was left until the deadline when the last process on the machines had ended.
    margin: Duration,
    /// Requests that were sent by its end.
    sent: u64,
}

/// What a run came to.
struct Report {
    capacity: f64,
    /// The same load before.
    quiet: Outcome,
    outcome: Outcome,
    interruptions: Vec<Interruption>,
}

/// The parts of a run under way.
struct Stage {
    ground: Ground,
    queue: Queue,
    daemon: Daemon,
    front: Process,
    target: Arc<Target>,
}

impl Stage {
    async fn new(name: &str, play: &Play) -> Self {
        let ground = Ground::new(name, BOOT).await;
        ground.model(play.pods).await;
        let queue = Queue::start().await;
        let flags = queue.flags();
        let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
        let daemon = Daemon::start(&ground, (MODEL, "daemon"), &flags, &queue.environment()).await;
        let (front, target) = ground.front(play.concurrency).await;
        Self { ground, queue, daemon, front, target }
    }

    /// Takes so many machines of those that have replicas and no notice yet, and waits until others have taken over.
    async fn interrupt(&self, count: usize, load: &Load, play: &Play) -> Interruption {
        let ground = &self.ground;
        let serving = ground.ready(play.pods.replicas).await;
        let has_replica =
            |machine: &Instance| serving.iter().any(|pod| pod.machine == machine.node);
        let mut victims = ground.machines();
        victims.retain(has_replica);
        victims.truncate(count);
        self.sell_out(play.sold_out, true);
        let mut deadline = Timestamp::MAX;
        for victim in &victims {
            deadline =
                deadline.min(ground.provider.interrupt(&victim.node, play.lead).await.unwrap());
        }
        let noticed = Timestamp::now();
        for victim in &victims {
            self.queue.interruption(victim, deadline).await;
        }
        let is_on_victim = |machine: &str| victims.iter().any(|victim| victim.node == machine);
        let margin = async {
            let is_left =
                || async { Ok(!ground.pods().iter().any(|pod| is_on_victim(&pod.machine))) };
            ground.until("the machines to be left", is_left).await;
            self.sell_out(play.sold_out, false);
            Timestamp::now().duration_until(deadline).try_into().unwrap_or_default()
        };
        let replaced = async {
            let is_replaced = || async {
                let pods = ground.pods();
                let elsewhere = pods.iter().filter(|pod| pod.ready && !is_on_victim(&pod.machine));
                Ok(elsewhere.count() >= play.pods.replicas)
            };
            ground.until("the replacements", is_replaced).await;
            let kind = |pod: &Running| ground.machine_of(pod).offering.capacity_type;
            let pods = ground.pods();
            let elsewhere = pods.iter().filter(|pod| pod.ready && !is_on_victim(&pod.machine));
            let on_demand = elsewhere.filter(|pod| kind(pod) == CapacityType::OnDemand).count();
            (noticed.duration_until(Timestamp::now()).unsigned_abs(), on_demand)
        };
        let avoided = async {
            let pods: Vec<_> = serving.iter().filter(|pod| is_on_victim(&pod.machine)).collect();
            let is_avoided = || async { Ok(self.avoids(&pods).await) };
            ground.until("the front to avoid the machines", is_avoided).await;
        };
        let all = Box::pin(async { tokio::join!(margin, replaced, avoided) });
        let counted = ground.fewest_serving(all);
        let (serving_min, (margin, (replaced, on_demand), ())) = counted.await;
        let (machines, sent) = (victims.len(), load.sent());
        Interruption { machines, replaced, serving_min, on_demand, margin, sent }
    }

    /// Whether the front sends to these pods only what no other has room for.
    async fn avoids(&self, pods: &[&Running]) -> bool {
        let page = self.front.page("/debug/front").await;
        let services = page.as_array().into_iter().flatten();
        let endpoints: Vec<&Value> =
            services.flat_map(|service| service["endpoints"].as_array().unwrap()).collect();
        pods.iter().all(|pod| {
            let is_avoided = |endpoint: &&Value| {
                let address = endpoint["endpoint"].as_str().unwrap_or_default();
                address.contains(&format!("{}:", pod.ip)) && endpoint["is_leaving"] == true
            };
            endpoints.iter().copied().any(|endpoint| is_avoided(&endpoint))
        })
    }

    fn sell_out(&self, kinds: &[CapacityType], is_sold_out: bool) {
        for kind in kinds {
            self.ground.set_capacity(*kind, !is_sold_out);
        }
    }

    /// Once each; a benchmark goes on until its requests are sent.
    async fn interrupt_again_and_again(&self, load: &Load, play: &Play) -> Vec<Interruption> {
        let mut interruptions = Vec::new();
        for count in play.at_once.iter().copied().cycle() {
            let is_once = interruptions.len() >= play.at_once.len();
            if is_once && (wanted().is_none() || load.is_enough()) {
                break;
            }
            let interruption = Box::pin(self.interrupt(count, load, play)).await;
            println!("{interruption}");
            interruptions.push(interruption);
        }
        interruptions
    }
}

impl Play {
    async fn run(mut self, name: &str) {
        if let Some(requests) = wanted() {
            self.requests = requests;
            self.pods.replicas *= 2;
            self.concurrency = BENCHMARK_CONCURRENCY;
        }
        let stage = Stage::new(name, &self).await;
        let clients = self.pods.replicas * self.concurrency as usize;
        let capacity = stage.target.capacity(clients, Duration::from_secs(3)).await;
        let quiet = stage.target.load(QUIET, capacity * UTILISATION).outcome().await;
        let load = stage.target.load(self.requests, capacity * UTILISATION);
        let interruptions = stage.interrupt_again_and_again(&load, &self).await;
        let report = Report { capacity, quiet, outcome: load.outcome().await, interruptions };
        drop((stage.front, stage.daemon));
        println!("{name}: {report}");
        report.assert_good(&self);
    }
}

/// The number of requests of a benchmark.
fn wanted() -> Option<u64> {
    std::env::var("SPOTSCALE_REQUESTS").ok().map(|text| text.parse().unwrap())
}

impl Report {
    /// Nothing was lost or late, and at every moment enough replicas served.
    fn assert_good(&self, play: &Play) {
        self.outcome.assert_none_lost();
        let p95_max = P95_MAX * if wanted().is_some() { 1 } else { BUSY };
        assert!(self.outcome.quantile(0.95) < p95_max, "{self}");
        let is_good = |one: &Interruption| {
            one.margin > Duration::ZERO && one.serving_min + play.missing_max >= play.pods.replicas
        };
        assert!(self.interruptions.iter().all(is_good), "{self}");
        if play.sold_out == [CapacityType::Spot] {
            let moved = |one: &Interruption| {
                one.on_demand >= play.pods.replicas && one.replaced <= ON_DEMAND_WITHIN
            };
            assert!(self.interruptions.iter().all(moved), "{self}");
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { capacity, quiet, outcome, interruptions } = self;
        let [p50, p95, p99] = [0.5, 0.95, 0.99].map(|share| outcome.quantile(share));
        write!(
            f,
            "{} answered, {} lost, p50 {p50:.1?}, p95 {p95:.1?} ({:.1?} before), p99 {p99:.1?}, at {:.0} of {capacity:.0} requests/s; {} interruptions",
            outcome.answered(),
            outcome.lost.len(),
            quiet.quantile(0.95),
            capacity * UTILISATION,
            interruptions.len(),
        )?;
        if let Some(worst) = Interruption::worst(interruptions) {
            write!(f, ", in all and at worst {worst}")?;
        }
        Ok(())
    }
}

impl Interruption {
    /// The machines of all, and the worst of everything else.
    fn worst(all: &[Self]) -> Option<Self> {
        all.iter().copied().reduce(|one, other| Self {
            machines: one.machines + other.machines,
            replaced: one.replaced.max(other.replaced),
            on_demand: one.on_demand.min(other.on_demand),
            serving_min: one.serving_min.min(other.serving_min),
            margin: one.margin.min(other.margin),
            sent: one.sent.max(other.sent),
        })
    }
}

impl fmt::Display for Interruption {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { machines, replaced, on_demand, serving_min, margin, sent } = self;
        write!(
            f,
            "{sent} requests sent; {machines} machines taken: replaced in {replaced:.1?}, {on_demand} on demand then, left {margin:.1?} early, {serving_min} serving at least"
        )
    }
}

/// Scenario A.
#[tokio::test(flavor = "multi_thread")]
async fn scenario_a_machines_are_taken_one_two_and_three_at_a_time_and_no_request_is_lost() {
    let play = Play {
        pods: Pods::default(),
        requests: 10_000,
        concurrency: 4,
        at_once: &[1, 2, 3],
        lead: NOTICE,
        sold_out: &[],
        missing_max: 0,
    };
    play.run("load").await;
}

/// Scenario B.
#[tokio::test(flavor = "multi_thread")]
async fn scenario_b_pods_that_do_not_hear_sigterm_lose_no_request_and_leave_in_time() {
    let play = Play {
        pods: Pods { image: "stubborn", grace: 5, ..Pods::default() },
        requests: 4000,
        concurrency: 4,
        at_once: &[2],
        lead: NOTICE,
        sold_out: &[],
        missing_max: 0,
    };
    play.run("stubborn").await;
}

/// Scenario C: nothing can replace it in that time, so the pod goes before its replacement is there.
#[tokio::test(flavor = "multi_thread")]
async fn scenario_c_a_notice_thirty_seconds_ahead_forces_the_pod_out_and_no_request_is_lost() {
    let play = Play {
        pods: Pods::default(),
        requests: 4000,
        concurrency: 4,
        at_once: &[1],
        lead: Duration::from_secs(30),
        sold_out: &[CapacityType::Spot, CapacityType::OnDemand],
        missing_max: 1,
    };
    play.run("late").await;
}

/// Scenario E. Peers ask for 99.8 % answered; here no request may be lost.
#[tokio::test(flavor = "multi_thread")]
async fn scenario_e_all_spot_goes_at_once_and_on_demand_serves_before_it_is_gone() {
    let play = Play {
        pods: Pods::default(),
        requests: 8000,
        concurrency: 4,
        at_once: &[usize::MAX],
        lead: NOTICE,
        sold_out: &[CapacityType::Spot],
        missing_max: 0,
    };
    play.run("drought-load").await;
}
