//! Scenarios of interruption that need the daemon as a process, its queue, its node watcher and machines that really go.

use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::Node;
use spotscale_autoscaler::NoticeKind;
use spotscale_test_cluster::{
    catalog::CapacityType,
    cloud::{MetadataMock, Notices, events, metadata},
    kubelet::Running,
    provider::{EndedBy, Instance, State},
};

use crate::ground::{
    Ground,
    daemon::Daemon,
    process::Process,
    proxy::Act,
    queue::{NOTICE, Queue},
};

const SCOPE: &str = "sleeper";
const BOOT: Duration = Duration::from_secs(1);

/// Some pods that sleep on a machine each, and a daemon that reads a queue.
struct Stage {
    ground: Ground,
    queue: Queue,
    daemon: Daemon,
    pods: Vec<Running>,
}

impl Stage {
    async fn new(name: &str, replicas: usize) -> Self {
        let (ground, queue) = tokio::join!(Ground::new(name, BOOT), Queue::start());
        ground.sleepers(SCOPE, replicas).await;
        let pods = ground.slept(SCOPE, replicas).await;
        let flags = queue.flags();
        let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
        let daemon = Daemon::start(&ground, (SCOPE, "daemon"), &flags, &queue.environment()).await;
        daemon.leads().await;
        Self { ground, queue, daemon, pods }
    }

    fn machine(&self, n: usize) -> Instance {
        self.ground.machine_of(&self.pods[n])
    }

    /// Waits until all pods run, and none on these machines.
    async fn moved(&self, from: &[Instance]) {
        let is_moved = || async {
            let pods = self.ground.of(SCOPE);
            let is_left = |pod: &Running| from.iter().all(|machine| machine.node != pod.machine);
            Ok(pods.len() == self.pods.len() && pods.iter().all(|pod| pod.ready && is_left(pod)))
        };
        self.ground.until("the pods to move", is_moved).await;
    }

    /// Waits until nothing is left in the queue.
    async fn read(&self) {
        let is_empty = || async {
            let depth = self.queue.moto.depth(&self.queue.url).await?;
            Ok(depth.visible + depth.in_flight == 0)
        };
        self.ground.until("the queue to be empty", is_empty).await;
    }

    /// Each of these drains was done once: no step is missing, and none was done twice.
    async fn drained(&self, count: usize) {
        // A pod may be gone before the answer to its eviction is written down.
        let proxy = &self.daemon.proxy;
        let is_told = || async { Ok(proxy.count(Act::Evict) >= count) };
        self.ground.until("the evictions to be written down", is_told).await;
        for act in [Act::Cordon, Act::Surge, Act::Evict] {
            assert_eq!(proxy.count(act), count, "{act:?}: {:?}", proxy.acts());
        }
    }

    async fn node(&self, machine: &Instance) -> Option<Node> {
        self.ground.nodes().get_opt(&machine.node).await.unwrap()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn scenario_1_a_notice_in_the_metadata_of_the_node_empties_it() {
    let stage = Stage::new("metadata", 1).await;
    let victim = stage.machine(0);
    let instance = metadata::Instance {
        id: victim.id.clone(),
        instance_type: victim.offering.instance_type.clone(),
        zone: victim.offering.zone.clone(),
    };
    let mut metadata = MetadataMock::start(&instance, &Notices::default()).await.unwrap();
    let args = ["node", "--admin-listen=127.0.0.1:0", "--imds-poll=500ms", "--node", &victim.node];
    let args = args.map(str::to_owned);
    let cluster = &stage.ground.cluster;
    let env = [
        ("KUBECONFIG", cluster.kubeconfig().display().to_string()),
        ("AWS_EC2_METADATA_SERVICE_ENDPOINT", metadata.endpoint()),
    ];
    let name = format!("{}-node", stage.ground.namespace);
    let _watcher = Process::start(cluster.plane().group(), &name, &args, &env).await;
    let start = Instant::now();
    let time = stage.ground.provider.interrupt(&victim.node, NOTICE).await.unwrap();
    let interruption =
        metadata::Interruption { action: "terminate", time, shown: Timestamp::now() };
    let notices = Notices { interruption: Some(interruption), rebalance: None };
    metadata.tell(&notices).await.unwrap();
    stage.moved(&[victim]).await;
    println!("notice in the metadata to pod elsewhere: {:.1?}", start.elapsed());
    stage.drained(1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn scenario_2_and_d_a_notice_that_comes_twice_by_the_queue_and_by_the_node_is_one_drain() {
    let stage = Stage::new("twice", 1).await;
    let victim = stage.machine(0);
    let deadline = stage.ground.interrupt(&victim.node, NOTICE).await;
    stage.queue.interruption(&victim, deadline).await;
    stage.queue.interruption(&victim, deadline).await;
    stage.moved(&[victim]).await;
    stage.read().await;
    stage.drained(1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn scenario_c_and_5_what_is_foreign_or_over_or_said_while_nobody_listens() {
    let mut stage = Stage::new("odd", 2).await;
    let (late, missed) = (stage.machine(0), stage.machine(1));
    let ago = |seconds| Timestamp::now() - SignedDuration::from_secs(seconds);
    let foreign = events::spot_interruption("i-00000000000000f0e", "us-east-1a", ago(3600));
    stage.queue.moto.send(&stage.queue.url, &foreign).await.unwrap();
    stage.read().await;
    stage.drained(0).await;
    // Its deadline has passed, and the machine is still there.
    let past = events::spot_interruption(&late.id, &late.offering.zone, ago(150));
    stage.queue.moto.send(&stage.queue.url, &past).await.unwrap();
    stage.moved(std::slice::from_ref(&late)).await;
    stage.daemon.process.signal(rustix::process::Signal::KILL);
    let deadline = stage.ground.provider.interrupt(&missed.node, NOTICE).await.unwrap();
    stage.queue.interruption(&missed, deadline).await;
    stage.daemon.restart(&stage.ground).await;
    stage.moved(&[late, missed]).await;
    stage.read().await;
    assert_eq!(stage.daemon.proxy.count(Act::Cordon), 2, "{:?}", stage.daemon.proxy.acts());
}

#[tokio::test(flavor = "multi_thread")]
async fn scenario_12_ten_messages_at_once_are_ten_drains() {
    let stage = Stage::new("ten", 10).await;
    let victims: Vec<Instance> = (0..10).map(|n| stage.machine(n)).collect();
    let start = Instant::now();
    for victim in &victims {
        let deadline = stage.ground.provider.interrupt(&victim.node, NOTICE).await.unwrap();
        stage.queue.interruption(victim, deadline).await;
    }
    stage.moved(&victims).await;
    println!("ten drains: {:.1?}", start.elapsed());
    stage.read().await;
    stage.drained(10).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn scenario_16_an_interrupted_machine_goes_and_its_pod_is_well_elsewhere() {
    let stage = Stage::new("taken", 1).await;
    let victim = stage.machine(0);
    let deadline = stage.ground.interrupt(&victim.node, Duration::from_secs(15)).await;
    stage.moved(std::slice::from_ref(&victim)).await;
    assert!(Timestamp::now() < deadline, "it was still there when the machine went");
    stage
        .ground
        .until("the Node to go", || async { Ok(stage.node(&victim).await.is_none()) })
        .await;
    let became = stage.ground.provider.instance(&victim.node).unwrap().state;
    assert!(matches!(became, State::Ended { by: EndedBy::Cloud, .. }), "{became:?}");
    stage.moved(&[victim]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn scenario_17_a_machine_that_is_ended_behind_the_clusters_back_is_replaced() {
    let stage = Stage::new("vanished", 1).await;
    let victim = stage.machine(0);
    stage.ground.provider.interrupt(&victim.node, Duration::ZERO).await.unwrap();
    let event = events::state_change(&victim.id, "shutting-down", Timestamp::now());
    stage.queue.moto.send(&stage.queue.url, &event).await.unwrap();
    let start = Instant::now();
    stage.moved(&[victim]).await;
    println!("machine gone without notice to pod elsewhere: {:.1?}", start.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn scenario_e_when_all_spot_goes_at_once_on_demand_takes_over() {
    let stage = Stage::new("drought", 4).await;
    let victims: Vec<Instance> = (0..4).map(|n| stage.machine(n)).collect();
    stage.ground.set_capacity(CapacityType::Spot, false);
    let start = Instant::now();
    for victim in &victims {
        let deadline = stage.ground.provider.interrupt(&victim.node, NOTICE).await.unwrap();
        stage.queue.interruption(victim, deadline).await;
    }
    stage.moved(&victims).await;
    println!("all spot gone to all on demand: {:.1?}", start.elapsed());
    stage.drained(4).await;
    let capacity = |pod: &Running| stage.ground.machine_of(pod).offering.capacity_type;
    let pods = stage.ground.of(SCOPE);
    assert!(pods.iter().all(|pod| capacity(pod) == CapacityType::OnDemand), "{pods:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn scenario_g_who_is_advised_to_leave_a_machine_is_not_led_to_one_of_its_kind() {
    let stage = Stage::new("elsewhere", 1).await;
    let advised = stage.machine(0);
    stage.ground.notice(&advised.node, &[NoticeKind::Rebalance]).await;
    stage.moved(std::slice::from_ref(&advised)).await;
    stage.drained(1).await;
    let heir = stage.ground.machine_of(&stage.ground.of(SCOPE)[0]);
    assert_ne!(heir.offering, advised.offering);
}

#[tokio::test(flavor = "multi_thread")]
async fn scenario_f_advice_that_comes_again_is_followed_once_an_hour() {
    let stage = Stage::new("advice", 1).await;
    let advised = stage.machine(0);
    // Where nothing else can be had, the replacement is of the kind that was advised against.
    stage.ground.only(&advised.offering);
    stage.ground.notice(&advised.node, &[NoticeKind::Rebalance]).await;
    stage.moved(std::slice::from_ref(&advised)).await;
    stage.drained(1).await;
    let heir = stage.ground.machine_of(&stage.ground.of(SCOPE)[0]);
    assert_eq!(heir.offering, advised.offering);
    stage.ground.notice(&heir.node, &[NoticeKind::Rebalance]).await;
    let is_refused = || async {
        let shown = stage.daemon.state().await;
        let refused = shown["plan"]["refused"].as_array().cloned().unwrap_or_default();
        let notices = shown["snapshot"]["seen"]["notices"].as_array().cloned().unwrap_or_default();
        let is_seen = notices.iter().any(|notice| notice["node"] == heir.node.as_str());
        Ok(is_seen && refused.iter().any(|reason| reason.to_string().contains("left-lately")))
    };
    stage.ground.until("the second advice to be refused", is_refused).await;
    assert_eq!(stage.daemon.proxy.count(Act::Surge), 1, "{:?}", stage.daemon.proxy.acts());
}
