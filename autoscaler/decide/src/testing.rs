//! Short words for the tests of this crate.

pub(crate) mod provisioner;
pub(crate) mod world;

use jiff::Timestamp;

use crate::{
    cluster::{CapacityType, Node, NodePhase, Observation, Offering, Pod, PodPhase, Workload},
    units::{Millis, Replicas},
};

/// A moment, in seconds after the tests' own origin.
pub(crate) fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + second).unwrap()
}

/// The spot offering of `g4dn.xlarge` in a zone.
pub(crate) fn spot(zone: &str) -> Offering {
    offering(zone, CapacityType::Spot)
}

/// The on-demand offering of `g4dn.xlarge` in a zone.
pub(crate) fn on_demand(zone: &str) -> Offering {
    offering(zone, CapacityType::OnDemand)
}

fn offering(zone: &str, capacity_type: CapacityType) -> Offering {
    let instance_type = "g4dn.xlarge".parse().unwrap();
    Offering { instance_type, zone: zone.parse().unwrap(), capacity_type }
}

/// A ready node for one pod.
pub(crate) fn node(name: &str, offering: Offering, launched_at: Timestamp) -> Node {
    Node {
        name: name.parse().unwrap(),
        instance: None,
        offering,
        phase: NodePhase::Ready,
        cordoned: None,
        protected: false,
        pool: None,
        launched_at,
        pods_max: 1,
    }
}

/// A ready pod on a node.
pub(crate) fn pod(name: &str, node: &str) -> Pod {
    Pod {
        name: name.parse().unwrap(),
        workload: Some(workload(0).name),
        node: Some(node.parse().unwrap()),
        phase: PodPhase::Ready,
        surged: false,
        grace_ms: Millis::from_secs(10),
        critical: false,
    }
}

/// The workload of the tests, with so many replicas.
pub(crate) fn workload(replicas: u32) -> Workload {
    Workload { name: "resnet".parse().unwrap(), replicas_wanted: Replicas(replicas) }
}

/// A cluster with these nodes, a workload of no replicas, and nothing else.
pub(crate) fn seen(at: Timestamp, nodes: Vec<Node>) -> Observation {
    let workloads = vec![workload(0)];
    let (pods, notices, provisioner) = (vec![], vec![], None);
    Observation { at, workloads, nodes, pods, notices, provisioner }
}
