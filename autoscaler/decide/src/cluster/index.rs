//! One observation, indexed: what a plan asks of it again and again costs no walk over all of it.

#[expect(clippy::disallowed_types, reason = "looked up in, and never walked over")]
use std::collections::HashMap;

use foldhash::fast::RandomState;

use super::{Node, NoticeKind, Observation, Pod, PodPhase};
use crate::units::{NodeName, WorkloadName};

/// Asked for every pod of a large cluster at every tick.
#[expect(clippy::disallowed_types, reason = "looked up in, and never walked over")]
type Map<K, V> = HashMap<K, V, RandomState>;

/// The nodes and pods of an observation by name.
pub struct Index<'a> {
    /// What is indexed.
    pub seen: &'a Observation,
    nodes: Map<&'a NodeName, &'a Node>,
    pods: Map<&'a NodeName, Vec<&'a Pod>>,
    notices: Map<&'a NodeName, Vec<NoticeKind>>,
    ready: Map<&'a WorkloadName, u32>,
}

impl<'a> Index<'a> {
    /// Walks over the observation once.
    pub fn of(seen: &'a Observation) -> Self {
        let room = seen.nodes.len();
        let mut nodes = Map::with_capacity_and_hasher(room, RandomState::default());
        for node in &seen.nodes {
            let listed = nodes.entry(&node.name).or_insert(node);
            // A name may be used again while the node that had it is still listed with its end.
            if node.is_alive() {
                *listed = node;
            }
        }
        let mut pods = Map::<_, Vec<_>>::with_capacity_and_hasher(room, RandomState::default());
        let mut ready = Map::default();
        for pod in &seen.pods {
            if let Some(node) = &pod.node {
                pods.entry(node).or_default().push(pod);
            }
            if let Some(workload) = pod.workload.as_ref().filter(|_| pod.phase == PodPhase::Ready) {
                *ready.entry(workload).or_default() += 1;
            }
        }
        let mut notices = Map::<_, Vec<_>>::default();
        for notice in &seen.notices {
            notices.entry(&notice.node).or_default().push(notice.kind);
        }
        Self { seen, nodes, pods, notices, ready }
    }

    /// The node of that name, which may have ended.
    pub fn node(&self, name: &NodeName) -> Option<&'a Node> {
        self.nodes.get(name).copied()
    }

    /// The pods placed on a node, those that are ending included.
    pub fn pods_on(&self, node: &NodeName) -> &[&'a Pod] {
        self.pods.get(node).map_or(&[], Vec::as_slice)
    }

    /// What stands about a node.
    pub fn notices(&self, node: &NodeName) -> &[NoticeKind] {
        self.notices.get(node).map_or(&[], Vec::as_slice)
    }

    /// Pods of a workload that serve.
    pub fn ready(&self, workload: &WorkloadName) -> u32 {
        self.ready.get(workload).copied().unwrap_or_default()
    }
}
