//! The nodes of a large cluster, as large as the real ones are: what Karpenter writes of a machine on EC2, and what a
//! kubelet writes of its node. Pure.

use serde_json::{Value, json};
use spotscale_autoscaler::kubernetes::MANAGER;

use super::{Size, pods::PODS_PER_NODE};

/// The types that may be bought, and how many of the pods fit on each.
pub(super) const TYPES: [&str; 4] = ["g4dn.xlarge", "g5.xlarge", "g6.xlarge", "g4dn.2xlarge"];
const ZONES: [&str; 3] = ["us-east-1a", "us-east-1b", "us-east-1c"];
pub(super) const IMAGE: &str = "123456789012.dkr.ecr.us-east-1.amazonaws.com/team/classifier";
pub(super) const LAUNCHED: &str = "2026-01-01T00:00:00Z";

/// How the machine of a node is rented: one in five on demand.
fn capacity(node: usize) -> &'static str {
    if node % 5 == 4 { "on-demand" } else { "spot" }
}

/// The replicas that are rented on demand: that many must be, so that nothing is left to do.
pub(super) fn on_demand_floor(size: Size) -> usize {
    (0..size.nodes).filter(|node| capacity(*node) == "on-demand").count() * (PODS_PER_NODE - 1)
}

/// Every type everywhere, for the file market.
pub(super) fn prices() -> String {
    let mut lines = vec!["timestamp,instance_type,zone,capacity_type,usd_per_hour\n".to_owned()];
    for (n, instance_type) in TYPES.iter().enumerate() {
        for zone in ZONES {
            lines.extend([("spot", 0.2), ("on-demand", 0.6)].map(|(capacity, usd)| {
                let usd = usd + 0.01 * n as f64;
                format!("2024-01-01T00:00:00Z,{instance_type},{zone},{capacity},{usd}\n")
            }));
        }
    }
    lines.concat()
}

pub(super) fn node_name(node: usize) -> String {
    format!("ip-10-{}-{}-{}.ec2.internal", node / 65_536, node / 256 % 256, node % 256)
}

fn provider_id(node: usize) -> String {
    format!("aws:///{}/i-{node:017x}", ZONES[node % ZONES.len()])
}

pub(super) fn condition(kind: &str, reason: &str) -> Value {
    json!({
        "type": kind, "status": "True", "reason": reason, "message": "",
        "lastTransitionTime": LAUNCHED,
    })
}

pub(super) fn pool(capacity: &str) -> Value {
    json!({
        "apiVersion": "karpenter.sh/v1", "kind": "NodePool",
        "metadata": { "name": format!("gpu-{capacity}") },
        "spec": {
            "weight": if capacity == "spot" { 50 } else { 10 },
            "template": {
                "metadata": { "labels": { "spotscale.dev/pool": "gpu" } },
                "spec": {
                    "nodeClassRef": node_class(),
                    "requirements": [
                        { "key": "karpenter.sh/capacity-type", "operator": "In", "values": [capacity] },
                    ],
                },
            },
        },
    })
}

fn node_class() -> Value {
    json!({ "group": "karpenter.k8s.aws", "kind": "EC2NodeClass", "name": "gpu" })
}

fn resources() -> Value {
    json!({
        "cpu": "4", "memory": "15896Mi", "ephemeral-storage": "60Gi", "pods": "29",
        "nvidia.com/gpu": "1", "vpc.amazonaws.com/pod-eni": "39",
    })
}

fn labels(node: usize) -> Value {
    let (instance_type, zone) = (TYPES[node % TYPES.len()], ZONES[node % ZONES.len()]);
    json!({
        "spotscale.dev/pool": "gpu",
        "karpenter.sh/nodepool": format!("gpu-{}", capacity(node)),
        "karpenter.sh/capacity-type": capacity(node),
        "karpenter.sh/initialized": "true", "karpenter.sh/registered": "true",
        "karpenter.k8s.aws/ec2nodeclass": "gpu",
        "karpenter.k8s.aws/instance-category": "g", "karpenter.k8s.aws/instance-cpu": "4",
        "karpenter.k8s.aws/instance-cpu-manufacturer": "intel",
        "karpenter.k8s.aws/instance-family": instance_type.split('.').next(),
        "karpenter.k8s.aws/instance-generation": "4", "karpenter.k8s.aws/instance-gpu-count": "1",
        "karpenter.k8s.aws/instance-gpu-manufacturer": "nvidia",
        "karpenter.k8s.aws/instance-gpu-memory": "16384", "karpenter.k8s.aws/instance-gpu-name": "t4",
        "karpenter.k8s.aws/instance-hypervisor": "nitro", "karpenter.k8s.aws/instance-memory": "16384",
        "karpenter.k8s.aws/instance-network-bandwidth": "5000",
        "karpenter.k8s.aws/instance-size": "xlarge",
        "kubernetes.io/arch": "amd64", "kubernetes.io/os": "linux",
        "kubernetes.io/hostname": node_name(node),
        "node.kubernetes.io/instance-type": instance_type,
        "topology.kubernetes.io/region": "us-east-1", "topology.kubernetes.io/zone": zone,
    })
}

/// A NodeClaim, launched and joined.
pub(super) fn claim(node: usize) -> Value {
    let conditions = ["Launched", "Registered", "Initialized", "Ready", "Consolidatable"];
    json!({
        "apiVersion": "karpenter.sh/v1", "kind": "NodeClaim",
        "metadata": {
            "name": format!("gpu-{}-{node:05x}", capacity(node)), "labels": labels(node),
            "annotations": {
                "karpenter.k8s.aws/ec2nodeclass-hash": "12345678901234567890",
                "karpenter.sh/nodepool-hash": "09876543210987654321",
                "karpenter.sh/nodepool-hash-version": "v3",
            },
            "finalizers": ["karpenter.sh/termination"],
        },
        "spec": {
            "expireAfter": "168h", "nodeClassRef": node_class(),
            "requirements": [{
                "key": "node.kubernetes.io/instance-type", "operator": "In", "values": TYPES,
            }],
            "resources": { "requests": { "cpu": "3800m", "memory": "12Gi", "pods": "10" } },
        },
        "status": {
            "providerID": provider_id(node), "nodeName": node_name(node),
            "imageID": "ami-0123456789abcdef0", "capacity": resources(), "allocatable": resources(),
            "conditions": conditions.map(|kind| condition(kind, kind)),
        },
    })
}

pub(super) fn node(node: usize) -> Value {
    let images = (0..24).map(|n| {
        let name = format!("{IMAGE}-{n}");
        json!({
            "names": [format!("{name}@sha256:{:064x}", n + 1), format!("{name}:v1.{n}")],
            "sizeBytes": 123_456_789,
        })
    });
    let pressures = ["MemoryPressure", "DiskPressure", "PIDPressure"].map(|kind| {
        let mut condition = condition(kind, "KubeletHasSufficient");
        condition["status"] = "False".into();
        condition
    });
    let conditions: Vec<_> =
        pressures.into_iter().chain([condition("Ready", "KubeletReady")]).collect();
    json!({
        "apiVersion": "v1", "kind": "Node",
        "metadata": {
            "name": node_name(node), "labels": labels(node),
            "annotations": {
                "csi.volume.kubernetes.io/nodeid": format!("{{\"ebs.csi.aws.com\":\"i-{node:017x}\"}}"),
                "karpenter.sh/nodepool-hash": "09876543210987654321",
                "node.alpha.kubernetes.io/ttl": "0",
                "volumes.kubernetes.io/controller-managed-attach-detach": "true",
            },
            "finalizers": ["karpenter.sh/termination"],
        },
        "spec": {
            "providerID": provider_id(node),
            "taints": [{ "key": "nvidia.com/gpu", "value": "true", "effect": "NoSchedule" }],
        },
        "status": {
            "capacity": resources(), "allocatable": resources(), "conditions": conditions,
            "addresses": [
                { "type": "InternalIP", "address": format!("10.0.{}.{}", node / 256, node % 256) },
                { "type": "Hostname", "address": node_name(node) },
            ],
            "images": images.collect::<Vec<_>>(),
        },
    })
}

/// Is the node cordoned by the daemon?
pub(super) fn is_cordoned(node: &Value) -> bool {
    let taints = node["spec"]["taints"].as_array().cloned().unwrap_or_default();
    node["spec"]["unschedulable"] == true
        && taints.iter().any(|taint| taint["key"] == "spotscale.dev/interruption")
}

/// Did the daemon write this object?
pub(super) fn is_written_by_daemon(object: &Value) -> bool {
    let managers = object["metadata"]["managedFields"].as_array().cloned().unwrap_or_default();
    managers.iter().any(|entry| entry["manager"] == MANAGER)
}
