//! Whose pods served on a node, and since when.

use std::{collections::BTreeMap, iter::repeat_n};

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use crate::{
    cluster::{Index, Node, PodPhase},
    units::WorkloadName,
};

pub(super) type Serving = BTreeMap<WorkloadName, u32>;

/// The changes, oldest first; before the first nobody served.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub(super) struct Occupancy(Vec<Change>);

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Change {
    at: Timestamp,
    serving: Serving,
}

impl Occupancy {
    /// Enters whose pods are seen to serve, in order, at a moment that is not before the last that was entered.
    pub(super) fn note(&mut self, at: Timestamp, pods: &[&WorkloadName]) {
        let last = self.0.last();
        let noted = last.into_iter().flat_map(|last| &last.serving);
        let noted = noted.flat_map(|(workload, count)| repeat_n(workload, *count as usize));
        if noted.eq(pods.iter().copied()) || last.is_some_and(|last| last.at > at) {
            return;
        }
        if last.is_some_and(|last| last.at == at) {
            self.0.pop();
        }
        let mut serving = Serving::new();
        for workload in pods {
            *serving.entry(WorkloadName::clone(workload)).or_default() += 1;
        }
        self.0.push(Change { at, serving });
    }

    /// Takes off what was noted after a moment: by a clock that has been set back since.
    pub(super) fn split_after(&mut self, at: Timestamp) -> Self {
        Self(self.0.split_off(self.0.partition_point(|change| change.at <= at)))
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// What was noted since a moment was noted by a clock that went wrong by as much, and comes after `ahead`.
    pub(super) fn put_right(&mut self, since: Timestamp, by: SignedDuration, ahead: Self) {
        let noted = self.0.split_off(self.0.partition_point(|change| change.at < since));
        self.0.extend(ahead.0);
        self.0.extend(noted.into_iter().map(|Change { at, serving }| Change {
            at: at.saturating_add(by).unwrap_or(at),
            serving,
        }));
    }

    /// Forgets what lies before a moment, but for what was so at that moment.
    pub(super) fn forget_before(&mut self, at: Timestamp) {
        let later = self.0.partition_point(|change| change.at <= at);
        self.0.drain(..later.saturating_sub(1));
    }

    /// The stretches between two moments, in order.
    pub(super) fn stretches(
        &self,
        from: Timestamp,
        to: Timestamp,
    ) -> Vec<(Timestamp, Timestamp, Serving)> {
        let mut stretches = vec![];
        let (mut begins, mut serving) = (from, Serving::new());
        for change in self.0.iter().filter(|change| change.at < to) {
            if change.at > begins {
                stretches.push((begins, change.at, serving));
                begins = change.at;
            }
            serving = change.serving.clone();
        }
        stretches.push((begins, to, serving));
        stretches
    }
}

/// The workloads whose pods serve on a node, each as often as it has pods there, in order.
pub(super) fn serving<'a>(index: &Index<'a>, node: &Node) -> Vec<&'a WorkloadName> {
    let ready = index.pods_on(&node.name).iter().filter(|pod| pod.phase == PodPhase::Ready);
    let mut serving: Vec<_> = ready.filter_map(|pod| pod.workload.as_ref()).collect();
    serving.sort_unstable();
    serving
}
