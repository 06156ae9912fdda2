//! Nodes and pods: a controller that keeps replicas, a scheduler, a provider that launches machines and takes them back,
//! and a provisioner that buys for pods that wait. What it shows of itself is an `Observation`, as the daemon gets it.

mod buyer;
mod nodes;
mod pods;

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use spotscale_decide::{
    cluster::{
        CapacityType, Node, NodePhase, Observation, Offering, Pod, PodPhase, Provisioner, Workload,
    },
    offers::Machine,
    planner::{Action, Snapshot},
    prices::PriceBook,
    units::{MicroUsd, Millis, NodeName, PodName, Replicas, UnitError, WorkloadName},
};

use crate::{
    availability::Availability,
    dice::{Dice, Purpose},
    front::{Front, Place, SeatId},
    moment::Moment,
    setup::{Delays, Service, Setup, Spot},
};

/// What an observation does not say of a node.
#[derive(Debug)]
struct NodeFacts {
    boots_at: Millis,
    /// When the provider takes it, as far as that is settled.
    taken_at: Option<Millis>,
    empty_since: Option<Millis>,
    /// A replica has run on it: the image is there.
    has_image: bool,
}

/// What an observation does not say of a pod.
#[derive(Debug)]
struct PodFacts {
    seat: SeatId,
    /// When it becomes ready, or is killed.
    due: Option<Millis>,
}

/// Nodes that there were.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Census {
    /// How long nodes of each offering were there, from launch to end.
    pub(crate) spans: BTreeMap<Offering, Millis>,
    pub(crate) launched: u64,
    /// Nodes that got a notice of interruption.
    pub(crate) noticed: u64,
    /// Nodes that the provider took.
    pub(crate) taken: u64,
    /// Attempts to buy an offering that could not be had.
    pub(crate) sold_out: u64,
}

/// The cluster.
#[derive(Debug)]
pub(crate) struct Cluster {
    /// What the planner is shown.
    pub(crate) shown: Snapshot,
    pub(crate) census: Census,
    /// Something is not as it was at the last plan.
    pub(crate) changed: bool,
    begins_at: Timestamp,
    now: Millis,
    availability: Availability,
    book: PriceBook,
    machines: Vec<Machine>,
    service: Service,
    delays: Delays,
    spot: Spot,
    workload: WorkloadName,
    nodes: BTreeMap<NodeName, NodeFacts>,
    pods: BTreeMap<PodName, PodFacts>,
    unavailable: BTreeMap<Offering, Millis>,
    delay_dice: Dice,
    fate_dice: Dice,
    made: u32,
    bought: u32,
}

impl Cluster {
    pub(crate) fn new(
        setup: &Setup,
        book: PriceBook,
        availability: Availability,
    ) -> Result<Self, UnitError> {
        let workload: WorkloadName = "service".parse()?;
        let pools = setup.pools.clone();
        let provisioner = Some(Provisioner { overlays: Some(vec![]), pools });
        let wanted = Workload { name: workload.clone(), replicas_wanted: Replicas::ZERO };
        let seen = Observation {
            at: setup.begins_at,
            workloads: vec![wanted],
            nodes: vec![],
            pods: vec![],
            notices: vec![],
            provisioner,
        };
        let shown = Snapshot {
            seen,
            prices: BTreeMap::new(),
            price_age_ms: None,
            spent_this_month: Some(MicroUsd::ZERO),
            traffic: None,
        };
        Ok(Self {
            shown,
            census: Census::default(),
            changed: true,
            begins_at: setup.begins_at,
            now: Millis::ZERO,
            availability,
            book,
            machines: setup.planner.offers.machines.clone(),
            service: setup.service.clone(),
            delays: setup.delays,
            spot: setup.spot,
            workload,
            nodes: BTreeMap::new(),
            pods: BTreeMap::new(),
            unavailable: BTreeMap::new(),
            delay_dice: Dice::new(setup.seed, Purpose::Delays),
            fate_dice: Dice::new(setup.seed, Purpose::Interruptions),
            made: 0,
            bought: 0,
        })
    }

    pub(crate) fn book(&self) -> &PriceBook {
        &self.book
    }

    /// What has happened by now, with so many replicas wanted.
    pub(crate) fn tick(&mut self, now: Millis, wanted: Replicas, front: &mut Front) {
        self.now = now;
        self.shown.seen.at = self.at(now);
        if self.shown.seen.workloads[0].replicas_wanted != wanted {
            self.shown.seen.workloads[0].replicas_wanted = wanted;
            self.changed = true;
        }
        self.run_provider(front);
        self.run_pods(front);
        self.run_controller(front);
        self.run_scheduler();
        self.run_provisioner();
    }

    /// Does what a plan says. Could it be done?
    pub(crate) fn act(&mut self, action: &Action, front: &mut Front) -> bool {
        self.changed = true;
        match action {
            Action::Cordon { node, cause } => {
                self.turn(node, |node| node.cordoned = Some(*cause))
                    && self.mark(node, Place::Leaving, front)
            }
            Action::Uncordon { node } => {
                self.turn(node, |node| node.cordoned = None)
                    && self.mark(node, Place::Staying, front)
            }
            Action::Protect { node } => self.turn(node, |node| node.protected = true),
            Action::Terminate { node } => self.give_back(node),
            Action::Surge { pod } => {
                let mut pods = self.shown.seen.pods.iter_mut();
                pods.find(|known| &known.name == pod).map(|pod| pod.surged = true).is_some()
            }
            Action::Evict { pod, .. } => self.end_pod(pod, front),
            Action::Launch { node, offering } => self.launch(node.clone(), offering.clone(), None),
            Action::Overlay { .. } | Action::Weigh { .. } | Action::Close { .. } => {
                self.shown.seen.provisioner.as_mut().is_some_and(|knobs| knobs.turn(action))
            }
        }
    }

    /// Changes a node. Is it there?
    fn turn(&mut self, name: &NodeName, change: impl FnOnce(&mut Node)) -> bool {
        let mut nodes = self.shown.seen.nodes.iter_mut();
        nodes.find(|node| &node.name == name && node.is_alive()).map(change).is_some()
    }

    /// The pods of a node are to be preferred less, or as others again.
    fn mark(&self, node: &NodeName, place: Place, front: &mut Front) -> bool {
        for pod in self.shown.seen.pods_on(node).filter(|pod| pod.phase == PodPhase::Ready) {
            if let Some(facts) = self.pods.get(&pod.name) {
                front.mark(facts.seat, place);
            }
        }
        true
    }

    /// Will nothing happen here by itself before that moment?
    pub(crate) fn rests_until(&self, moment: Millis) -> bool {
        let seen = &self.shown.seen;
        let moves = |pod: &Pod| pod.phase != PodPhase::Ready;
        let boots = seen.nodes.iter().any(|node| node.phase != NodePhase::Ready);
        let span = self.spot.notice.saturating_add(self.spot.rebalance_lead);
        let ahead = moment.saturating_add(span);
        let fated = self.nodes.values().any(|facts| facts.taken_at.is_some_and(|at| at <= ahead));
        let kinds: BTreeSet<&Offering> = seen.nodes.iter().map(|node| &node.offering).collect();
        let mut drops = kinds.into_iter().flat_map(|kind| {
            self.availability.drops(kind, self.now, ahead.saturating_sub(self.now))
        });
        !boots
            && !fated
            && seen.notices.is_empty()
            && !seen.pods.iter().any(moves)
            && drops.next().is_none()
    }

    pub(crate) fn at(&self, moment: Millis) -> Timestamp {
        moment.after(self.begins_at)
    }

    fn moment(&self) -> Moment {
        self.now.into()
    }

    fn is_spot(offering: &Offering) -> bool {
        offering.capacity_type == CapacityType::Spot
    }
}
