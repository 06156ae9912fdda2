//! The local cluster in fake time, without processes.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use spotscale_autoscaler::{
    Action, Applied, CapacityType, CordonCause, EndedBy, NodePhase, Offering, Pod, PodPhase,
};
use spotscale_decide::units::{NodeName, PodName};

use super::world::{Order, Settings, World};

/// A world with its clock in seconds.
struct Stage {
    world: World,
}

impl Stage {
    fn new() -> Self {
        let settings = Settings {
            workload: "resnet".parse().unwrap(),
            provisioning: Duration::from_secs(2),
            grace: Duration::from_secs(10),
            nodes_max: 4,
        };
        Self { world: World::new(settings) }
    }

    /// With `count` pods ready on spot nodes, at second 10.
    fn serving(count: u32) -> Self {
        let mut stage = Self::new();
        stage.world.wanted = count;
        for node in 1..=count {
            stage.launch(0, &format!("node-{node}"));
        }
        stage.world.reconcile(at(0));
        for order in stage.world.reconcile(at(10)) {
            let Order::Start(pod) = order else { panic!("{order:?}") };
            let port = 8000 + u16::from(pod.as_str().as_bytes()[7] - b'0');
            stage.world.ready(&pod, ([127, 0, 0, 1], port).into());
        }
        stage
    }

    fn launch(&mut self, second: i64, node: &str) -> Applied {
        let offering = Offering {
            instance_type: "g4dn.xlarge".parse().unwrap(),
            zone: "use1-az1".parse().unwrap(),
            capacity_type: CapacityType::Spot,
        };
        self.act(second, &Action::Launch { node: named(node), offering })
    }

    fn act(&mut self, second: i64, action: &Action) -> Applied {
        self.world.apply(action, at(second)).unwrap()
    }

    /// Of the pods that are chosen first.
    fn ports(&self) -> Vec<u16> {
        self.ports_of(false)
    }

    /// Of those on nodes that are to be emptied.
    fn leaving_ports(&self) -> Vec<u16> {
        self.ports_of(true)
    }

    fn ports_of(&self, is_leaving: bool) -> Vec<u16> {
        let serving = self.world.endpoints().into_iter();
        serving.filter(|pod| pod.is_leaving == is_leaving).map(|pod| pod.address.port()).collect()
    }

    fn pods(&self, second: i64) -> Vec<Pod> {
        self.world.observe(at(second)).pods
    }

    fn phases(&self, second: i64) -> Vec<PodPhase> {
        self.pods(second).iter().map(|pod| pod.phase).collect()
    }
}

fn at(second: i64) -> Timestamp {
    Timestamp::UNIX_EPOCH + SignedDuration::from_secs(second)
}

fn named(node: &str) -> NodeName {
    node.parse().unwrap()
}

fn pod(name: &str) -> PodName {
    name.parse().unwrap()
}

fn stop(name: &str, seconds: u64) -> Order {
    Order::Stop(pod(name), Duration::from_secs(seconds))
}

#[test]
fn a_pod_waits_for_a_node_and_starts_once_that_is_ready() {
    let mut stage = Stage::new();
    stage.world.wanted = 1;
    assert_eq!(stage.world.reconcile(at(0)), []);
    assert_eq!(stage.phases(0), [PodPhase::Pending]);
    stage.launch(0, "node-1");
    assert_eq!(stage.world.reconcile(at(1)), [], "the node is not there yet");
    assert_eq!(stage.world.reconcile(at(2)), [Order::Start(pod("resnet-1"))]);
    assert!(stage.ports().is_empty(), "nor is the pod");
    stage.world.ready(&pod("resnet-1"), ([127, 0, 0, 1], 8001).into());
    assert_eq!(stage.ports(), [8001]);
    assert_eq!(stage.world.reconcile(at(3)), [], "nothing is ordered twice");
}

#[test]
fn one_pod_a_node_and_the_oldest_first() {
    let mut stage = Stage::new();
    stage.world.wanted = 3;
    stage.launch(0, "node-1");
    stage.world.reconcile(at(0));
    assert_eq!(stage.world.reconcile(at(2)), [Order::Start(pod("resnet-1"))]);
    stage.launch(2, "node-2");
    assert_eq!(stage.world.reconcile(at(4)), [Order::Start(pod("resnet-2"))]);
    assert_eq!(stage.pods(4)[1].node, Some(named("node-2")));
}

#[test]
fn shrinking_ends_what_is_missed_least() {
    let mut stage = Stage::serving(3);
    stage.act(10, &Action::Cordon { node: named("node-1"), cause: CordonCause::Notice });
    stage.world.wanted = 4;
    assert_eq!(stage.world.reconcile(at(10)), [], "the fourth has no node");
    stage.world.wanted = 1;
    let orders = stage.world.reconcile(at(11));
    assert_eq!(orders, [stop("resnet-1", 10), stop("resnet-3", 10)]);
    assert_eq!(stage.ports(), [8002]);
    stage.world.gone(&pod("resnet-1"), at(12));
    let there: Vec<PodName> = stage.pods(12).into_iter().map(|pod| pod.name).collect();
    assert_eq!(there, [pod("resnet-2"), pod("resnet-3")], "the waiting one went at once");
}

#[test]
fn a_surged_pod_is_replaced_while_it_serves() {
    let mut stage = Stage::serving(1);
    stage.launch(10, "node-2");
    assert_eq!(
        stage.act(10, &Action::Cordon { node: named("node-1"), cause: CordonCause::Notice }),
        Applied::Done
    );
    assert_eq!(stage.act(10, &Action::Surge { pod: pod("resnet-1") }), Applied::Done);
    assert_eq!(stage.act(10, &Action::Surge { pod: pod("resnet-1") }), Applied::AlreadySo);
    stage.world.reconcile(at(10));
    assert_eq!(stage.world.reconcile(at(12)), [Order::Start(pod("resnet-2"))]);
    assert_eq!((stage.ports(), stage.leaving_ports()), (vec![], vec![8001]), "it still serves");
    stage.world.ready(&pod("resnet-2"), ([127, 0, 0, 1], 8002).into());
    assert_eq!((stage.ports(), stage.leaving_ports()), (vec![8002], vec![8001]));
    let evict = Action::Evict { pod: pod("resnet-1"), by: Some(at(15)), force: false };
    assert_eq!(stage.act(12, &evict), Applied::Done);
    assert_eq!(stage.act(12, &evict), Applied::AlreadySo);
    assert_eq!(stage.world.reconcile(at(12)), [stop("resnet-1", 3)]);
}

#[test]
fn an_interrupted_node_is_gone_at_its_deadline_with_what_runs_there() {
    let mut stage = Stage::serving(2);
    stage.launch(10, "node-3");
    assert_eq!(stage.world.interrupt(at(40)), Some(named("node-1")), "the oldest that serves");
    assert_eq!(stage.world.observe(at(10)).notices.len(), 1);
    assert_eq!((stage.ports(), stage.leaving_ports()), (vec![8002], vec![8001]));
    assert_eq!(stage.world.reconcile(at(39)), []);
    assert_eq!(
        stage.world.reconcile(at(40)),
        [Order::Kill(pod("resnet-1")), Order::Start(pod("resnet-3")),]
    );
    let seen = stage.world.observe(at(40));
    let ended = NodePhase::Ended { at: at(40), by: EndedBy::Provider };
    assert_eq!(seen.nodes[0].phase, ended);
    assert_eq!(seen.notices, []);
    stage.world.reconcile(at(46));
    assert_eq!(stage.world.observe(at(46)).nodes.len(), 2, "forgotten after a while");
}

#[test]
fn a_crashed_pod_keeps_its_place() {
    let mut stage = Stage::serving(1);
    stage.world.starting(&pod("resnet-1"));
    assert!(stage.ports().is_empty());
    assert_eq!(stage.world.reconcile(at(11)), []);
    assert_eq!(stage.phases(11), [PodPhase::Starting]);
}

#[test]
fn this_machine_stands_for_a_bounded_number_of_nodes() {
    let mut stage = Stage::serving(4);
    let offering = stage.world.nodes[0].seen.offering.clone();
    let fifth = Action::Launch { node: named("node-5"), offering };
    assert!(stage.world.apply(&fifth, at(10)).is_err());
    assert_eq!(stage.launch(10, "node-4"), Applied::AlreadySo);
    assert_eq!(stage.act(10, &Action::Terminate { node: named("node-9") }), Applied::AlreadySo);
}
