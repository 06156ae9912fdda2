//! An observation, made of what the watches have stored. Pure, and linear in the number of objects.

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    sync::Arc,
};

use foldhash::fast::RandomState;
use jiff::Timestamp;
use kube::{ResourceExt as _, core::Selector};
use spotscale_decide::{
    cluster::{self, Notice, Observation, Overlay, Pool, Provisioner, Workload},
    units::{NodeName, Replicas, WorkloadName},
};

use super::{
    kinds::{Deployment, Node, NodeClaim, NodeOverlay, NodePool, Object, Pod},
    mapping::{self, Placement, Unreadable},
    names::{self, NOTICES},
};

type All<K> = Vec<Arc<Object<K>>>;

/// What the watches have stored.
pub(super) struct View<'a> {
    pub(super) nodes: All<Node>,
    pub(super) claims: All<NodeClaim>,
    pub(super) pods: All<Pod>,
    pub(super) deployments: All<Deployment>,
    pub(super) pools: All<NodePool>,
    /// None where the cluster does not know them.
    pub(super) overlays: Option<All<NodeOverlay>>,
    /// Whose nodes are ours.
    pub(super) ours: &'a Selector,
}

/// What was seen, and what could not be read.
pub(super) struct Seen {
    pub(super) observation: Observation,
    pub(super) problems: BTreeSet<Problem>,
}

/// Something that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, thiserror::Error)]
pub(super) enum Problem {
    /// A node is left alone.
    #[error(transparent)]
    Node(#[from] Unreadable),
    /// A node has an annotation that is no list of notices, or not altogether.
    #[error("the annotation {NOTICES} of {node} cannot be read, or not all of it")]
    Notices {
        /// The node.
        node: NodeName,
    },
}

impl Seen {
    fn at(at: Timestamp) -> Self {
        let observation = Observation {
            at,
            workloads: vec![],
            nodes: vec![],
            pods: vec![],
            notices: vec![],
            provisioner: None,
        };
        Self { observation, problems: BTreeSet::new() }
    }
}

impl View<'_> {
    /// What is there.
    pub(super) fn observe(&self, at: Timestamp) -> Seen {
        let mut seen = Seen::at(at);
        let pools = self.pools();
        self.see_nodes(&pools, &mut seen);
        self.see_pods(&mut seen);
        let overlays = self.overlays(&pools, at);
        // Machines are bought by Karpenter, if by anybody: never by us.
        seen.observation.provisioner = Some(Provisioner { overlays, pools });
        seen
    }

    /// By name.
    pub(super) fn pools(&self) -> Vec<Pool> {
        let mut pools: Vec<_> =
            self.pools.iter().filter_map(|pool| mapping::pool(pool, self.ours)).collect();
        pools.sort_by(|a, b| a.name.cmp(&b.name));
        pools
    }

    fn overlays(&self, pools: &[Pool], at: Timestamp) -> Option<Vec<Overlay>> {
        let all = self.overlays.as_ref()?;
        let pools = pools.iter().map(|pool| pool.name.as_str()).collect();
        let ours: Vec<_> = all
            .iter()
            .filter_map(|object| Some((object, mapping::overlay(object, self.ours, &pools)?)))
            .collect();
        let objects = ours.iter().map(|(object, _)| object.as_ref());
        mapping::are_heeded(objects, at)
            .then(|| ours.into_iter().map(|(_, overlay)| overlay).collect())
    }

    fn see_nodes(&self, pools: &[Pool], seen: &mut Seen) {
        let claims = || self.claims.iter().map(Arc::as_ref);
        let by_node: HashMap<&str, &Object<NodeClaim>, RandomState> = claims()
            .filter_map(|claim| Some((claim.status.node_name.as_deref()?, claim)))
            .collect();
        // A Node is there before its NodeClaim names it. Until then they have the machine in common, which is one.
        let by_machine: HashMap<&str, &Object<NodeClaim>, RandomState> = claims()
            .filter_map(|claim| Some((claim.status.provider_id.as_deref()?, claim)))
            .collect();
        let mut joined = HashSet::<_, RandomState>::default();
        for node in &self.nodes {
            let machine = node.spec.provider_id.as_deref().unwrap_or_default();
            joined.insert(machine);
            let claim = by_node.get(node.metadata.name.as_deref().unwrap_or_default());
            let claim = claim.or_else(|| by_machine.get(machine)).copied();
            seen.node(Some(node), claim, mapping::node(node, claim));
        }
        let has_joined = |claim: &Object<NodeClaim>| {
            let machine = claim.status.provider_id.as_deref();
            claim.status.node_name.is_some()
                || machine.is_some_and(|machine| joined.contains(machine))
        };
        let joining = claims().filter(|claim| !has_joined(claim));
        let pools: BTreeSet<&str> = pools.iter().map(|pool| pool.name.as_str()).collect();
        let is_ours = |claim: &&Object<NodeClaim>| {
            claim.labels().get(names::POOL).is_some_and(|pool| pools.contains(pool.as_str()))
        };
        for claim in joining.filter(is_ours) {
            if let Some(machine) = mapping::machine(claim) {
                seen.node(None, Some(claim), machine);
            }
        }
    }

    fn see_pods(&self, seen: &mut Seen) {
        let observation = &mut seen.observation;
        let workloads = self.deployments.iter().filter_map(|one| mapping::workload(one));
        observation.workloads = workloads.collect();
        let placement = Placement {
            nodes: self.nodes.iter().filter_map(|node| node.metadata.name.as_deref()).collect(),
            workloads: observation.workloads.iter().map(|one| one.name.clone()).collect(),
        };
        let mapped =
            self.pods.iter().filter_map(|pod| mapping::pod(pod, &placement, observation.at));
        observation.pods = Vec::with_capacity(self.pods.len());
        observation.pods.extend(mapped);
        add_gone(&placement.workloads, observation);
    }
}

/// Released pods whose Deployment is gone belong to a workload that wants none.
fn add_gone(known: &HashSet<WorkloadName, RandomState>, observation: &mut Observation) {
    let of_pods = observation.pods.iter().filter(|pod| pod.surged);
    let of_pods = of_pods.filter_map(|pod| pod.workload.as_ref());
    let gone: BTreeSet<_> = of_pods.filter(|name| !known.contains(*name)).cloned().collect();
    let gone = gone.into_iter().map(|name| Workload { name, replicas_wanted: Replicas::ZERO });
    observation.workloads.extend(gone);
}

impl Seen {
    fn node(
        &mut self,
        node: Option<&Object<Node>>,
        claim: Option<&Object<NodeClaim>>,
        mapped: Result<cluster::Node, Unreadable>,
    ) {
        let mapped = match mapped {
            Ok(mapped) => mapped,
            Err(problem) => {
                self.problems.insert(problem.into());
                return;
            }
        };
        let standing = mapping::notices(node, claim);
        if standing.is_malformed {
            self.problems.insert(Problem::Notices { node: mapped.name.clone() });
        }
        let notice = |kind| Notice { node: mapped.name.clone(), kind };
        self.observation.notices.extend(standing.kinds.into_iter().map(notice));
        self.observation.nodes.push(mapped);
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use kube::core::Expression;
    use serde_json::{Value, json};

    use super::*;
    use crate::kubernetes::mapping::testing::{at, object};

    fn node(n: usize) -> Object<Node> {
        object(&json!({
            "metadata": { "name": format!("node-{n}"), "labels": {
                "spotscale.dev/pool": "gpu", "karpenter.sh/nodepool": "gpu",
                "node.kubernetes.io/instance-type": "g4dn.xlarge",
                "topology.kubernetes.io/zone": "a", "karpenter.sh/capacity-type": "spot",
            } },
            "spec": { "providerID": format!("aws:///a/i-{n}") },
            "status": { "conditions": [{ "type": "Ready", "status": "True" }] },
        }))
    }

    fn pod(n: usize, nodes: usize) -> Object<Pod> {
        object(&json!({
            "metadata": {
                "name": format!("resnet-5d4f-{n}"), "namespace": "vision", "uid": n.to_string(),
                "labels": { "pod-template-hash": "5d4f" },
                "ownerReferences": [{
                    "apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "resnet-5d4f",
                    "uid": "1", "controller": true,
                }],
            },
            "spec": { "nodeName": format!("node-{}", n % nodes) },
            "status": {
                "phase": "Running", "conditions": [{ "type": "Ready", "status": "True" }],
            },
        }))
    }

    fn deployment() -> Object<Deployment> {
        let metadata = json!({ "name": "resnet", "namespace": "vision" });
        object(&json!({ "metadata": metadata, "spec": { "replicas": 7 } }))
    }

    #[test]
    fn a_machine_is_listed_once_while_its_claim_does_not_name_its_node_yet() {
        let claim = |node_name: Value| -> Object<NodeClaim> {
            object(&json!({
                "metadata": { "name": "gpu-x7k2p", "labels": {
                    "karpenter.sh/nodepool": "gpu", "node.kubernetes.io/instance-type": "g4dn.xlarge",
                    "topology.kubernetes.io/zone": "a", "karpenter.sh/capacity-type": "spot",
                } },
                "status": {
                    "providerID": "aws:///a/i-1", "nodeName": node_name,
                    "conditions": [{
                        "type": "Launched", "status": "True",
                        "lastTransitionTime": "1970-01-01T00:00:07Z",
                    }],
                },
            }))
        };
        let pool = object(&json!({
            "metadata": { "name": "gpu" },
            "spec": { "template": {
                "metadata": { "labels": { "spotscale.dev/pool": "gpu" } },
                "spec": { "requirements": [] },
            } },
        }));
        let ours = Expression::Exists("spotscale.dev/pool".to_owned()).into();
        let listed = |nodes: Vec<Arc<Object<Node>>>, node_name: Value| {
            let view = View {
                nodes,
                claims: vec![Arc::new(claim(node_name))],
                pods: vec![],
                deployments: vec![],
                pools: vec![Arc::new(Object::clone(&pool))],
                overlays: None,
                ours: &ours,
            };
            let nodes = view.observe(at(100)).observation.nodes;
            nodes
                .into_iter()
                .map(|node| (node.name.to_string(), node.launched_at))
                .collect::<Vec<_>>()
        };
        let by_claim = vec![("gpu-x7k2p".to_owned(), at(7))];
        let by_node = vec![("node-1".to_owned(), at(7))];
        assert_eq!(listed(vec![], Value::Null), by_claim);
        assert_eq!(listed(vec![Arc::new(node(1))], Value::Null), by_node);
        assert_eq!(listed(vec![Arc::new(node(1))], "node-1".into()), by_node);
    }

    /// The best of several looks at a cluster of so many nodes with ten pods each.
    fn looking_takes(nodes: usize) -> Duration {
        let ours = Expression::Exists("spotscale.dev/pool".to_owned()).into();
        let view = View {
            nodes: (0..nodes).map(|n| Arc::new(node(n))).collect(),
            claims: vec![],
            pods: (0..nodes * 10).map(|n| Arc::new(pod(n, nodes))).collect(),
            deployments: vec![Arc::new(deployment())],
            pools: vec![],
            overlays: None,
            ours: &ours,
        };
        let look = || {
            let start = Instant::now();
            let seen = view.observe(at(0));
            let took = start.elapsed();
            assert_eq!(seen.observation.nodes.len(), nodes);
            assert_eq!(seen.observation.pods.len(), nodes * 10);
            assert_eq!(seen.problems, BTreeSet::new());
            took
        };
        (0..5).map(|_| look()).min().unwrap()
    }

    #[test]
    fn a_look_takes_time_in_proportion_to_the_cluster() {
        // Neither fits into a processor's cache.
        let (small, large) = (looking_takes(1000), looking_takes(8000));
        println!("1000 nodes: {small:?}; 8000 nodes: {large:?}");
        assert!(large < small * 30, "{small:?} for 1,000 nodes, {large:?} for 8,000");
    }
}
