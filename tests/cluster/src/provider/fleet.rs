//! The machines that were launched: what each is at, and which pods are meant for it.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::Ipv4Addr,
    time::{Duration, Instant},
};

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Pod, Taint};
use kube::ResourceExt as _;

use super::{
    choice::{Launch, machine},
    fit::{Amounts, Labels, allows, requests, take},
    objects::{is_over, node_of},
};
use crate::catalog::{Catalog, Offering};

/// How long a pod may take from a machine's coming to being bound there: the scheduler looks at it again after 10 s
/// at most.
const BINDING: Duration = Duration::from_secs(15);
/// The same for the pod that the machine was bought for. Where a busy scheduler took longer, a second machine was bought
/// for it; Karpenter itself buys none for a pod that a machine has room for.
const BINDING_OWN: Duration = Duration::from_mins(1);

/// A machine that is rented or was.
#[derive(Debug, Clone)]
pub struct Instance {
    /// `i-` and 17 hexadecimal digits.
    pub id: String,
    /// Its NodeClaim.
    pub claim: String,
    /// Its Node.
    pub node: String,
    /// Its NodePool.
    pub pool: String,
    /// What it is.
    pub offering: Offering,
    /// When it was launched, and from when on it is paid for.
    pub launched: Timestamp,
    /// What it is at.
    pub state: State,
}

/// What a machine is at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// It has no Node yet.
    Booting,
    /// Its Node is there.
    Running,
    /// It is no more.
    Ended {
        /// Who has ended it.
        by: EndedBy,
        /// When.
        at: Timestamp,
    },
}

/// Who has ended a machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EndedBy {
    /// Its NodeClaim or its Node was deleted.
    Owner,
    /// The cloud wanted it back.
    Cloud,
}

impl Instance {
    /// As the Node and the NodeClaim have it.
    pub fn provider_id(&self) -> String {
        format!("aws:///{}/{}", self.offering.zone, self.id)
    }

    /// It is rented.
    pub fn is_there(&self) -> bool {
        !matches!(self.state, State::Ended { .. })
    }
}

/// A machine with what only the provider knows of it.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) instance: Instance,
    pub(super) labels: Labels,
    pub(super) taints: Vec<Taint>,
    /// When its state began.
    pub(super) since: Instant,
    /// Its NodeClaim tells the state.
    pub(super) told: bool,
    /// No work is on it since then.
    idle: Option<Instant>,
    /// What is left of it, as [`Fleet::recount`] last saw it and nominations since then have taken from it.
    room: Amounts,
    /// It takes no new pods.
    closed: bool,
}

/// All of them, by NodeClaim.
#[derive(Debug, Default)]
pub(super) struct Fleet {
    pub(super) entries: BTreeMap<String, Entry>,
    /// NodeClaims by the uids of the pods that they were made for.
    nominated: BTreeMap<String, String>,
}

impl Fleet {
    /// What each NodePool has.
    pub(super) fn used(&self, catalog: &Catalog) -> BTreeMap<String, Amounts> {
        let mut used: BTreeMap<String, Amounts> = BTreeMap::new();
        for entry in self.entries.values().filter(|entry| entry.instance.is_there()) {
            let pool = used.entry(entry.instance.pool.clone()).or_default();
            for (name, much) in machine(catalog, &entry.instance.offering) {
                *pool.entry(name).or_default() += much;
            }
        }
        used
    }

    /// Counts the room of every machine anew: what is bound to it is taken, and what is still meant for it; none is where a
    /// Node is closed.
    pub(super) fn recount(&mut self, pods: &[Pod], closed: &BTreeSet<String>, catalog: &Catalog) {
        for entry in self.entries.values_mut() {
            entry.room = machine(catalog, &entry.instance.offering);
            entry.closed = closed.contains(&entry.instance.node);
        }
        for pod in pods.iter().filter(|pod| !is_over(pod)) {
            let claim = self.nominated.get(&pod.uid().unwrap_or_default()).cloned();
            let entry = match (node_of(pod), claim) {
                (Some(node), _) => self.of_node(node),
                (None, Some(claim)) => self.entries.get_mut(&claim),
                (None, None) => None,
            };
            if let Some(entry) = entry {
                for (name, much) in requests(pod) {
                    *entry.room.entry(name).or_default() -= much;
                }
            }
        }
    }

    /// Whether a machine is coming, or has just come, that this pod will be bound to.
    pub(super) fn nominate(&mut self, pod: &Pod) -> bool {
        let uid = pod.uid().unwrap_or_default();
        let nominee = self.nominated.get(&uid).and_then(|claim| self.entries.get(claim));
        if nominee.is_some_and(|entry| entry.is_coming(BINDING_OWN)) {
            return true;
        }
        let asked = requests(pod);
        let claim = self.entries.iter_mut().find_map(|(claim, entry)| {
            let has_taken = entry.is_coming(BINDING)
                && allows(pod, &entry.labels, &entry.taints)
                && take(&mut entry.room, &asked);
            has_taken.then(|| claim.clone())
        });
        let is_found = claim.is_some();
        self.nominated.extend(claim.map(|claim| (uid, claim)));
        is_found
    }

    /// Whether one of these pods is still to be bound to this machine.
    pub(super) fn is_awaited(&self, claim: &String, pods: &[Pod]) -> bool {
        let is_coming = self.entries.get(claim).is_some_and(|entry| entry.is_coming(BINDING_OWN));
        let unbound = pods.iter().filter(|pod| node_of(pod).is_none());
        let mut nominees = unbound.map(|pod| self.nominated.get(&pod.uid().unwrap_or_default()));
        is_coming && nominees.any(|nominee| nominee == Some(claim))
    }

    /// A machine is launched for a pod.
    pub(super) fn launch(&mut self, launch: Launch<'_>, catalog: &Catalog) -> String {
        let claim = format!("{}-{:05x}", launch.pool.name, fastrand::u32(..1 << 20));
        let [_, _, high, low] = fastrand::u32(..).to_be_bytes();
        let ip = Ipv4Addr::new(10, 0, high, low).to_string().replace('.', "-");
        let template = &launch.pool.spec.template.spec;
        let instance = Instance {
            id: format!("i-{:017x}", fastrand::u64(..)),
            claim: claim.clone(),
            // Not the NodeClaim's: who takes one for the other is to be found out.
            node: format!("ip-{ip}-{:04x}.ec2.internal", fastrand::u16(..)),
            pool: launch.pool.name.clone(),
            offering: launch.offering,
            launched: Timestamp::now(),
            state: State::Booting,
        };
        let room = machine(catalog, &instance.offering);
        let entry = Entry {
            instance,
            labels: launch.labels,
            taints: template.taints.clone(),
            since: Instant::now(),
            told: false,
            idle: None,
            room,
            closed: false,
        };
        self.entries.insert(claim.clone(), entry);
        claim
    }

    /// The machine with this Node.
    pub(super) fn of_node(&mut self, node: &str) -> Option<&mut Entry> {
        self.entries.values_mut().find(|entry| entry.instance.node == node)
    }
}

impl Entry {
    /// Begins a state, which its NodeClaim is still to tell.
    pub(super) fn begin(&mut self, state: State) {
        self.instance.state = state;
        self.since = Instant::now();
        self.told = false;
    }

    /// Ends, if it has not ended before.
    pub(super) fn end(&mut self, by: EndedBy) {
        if self.instance.is_there() {
            self.begin(State::Ended { by, at: Timestamp::now() });
        }
    }

    /// How long it has been without work.
    pub(super) fn idle(&mut self, is_idle: bool) -> Duration {
        self.idle = is_idle.then(|| self.idle.unwrap_or_else(Instant::now));
        self.idle.map_or(Duration::ZERO, |since| since.elapsed())
    }

    /// It is on its way, or came so lately, and pods may be bound to it.
    fn is_coming(&self, lately: Duration) -> bool {
        match self.instance.state {
            State::Booting => true,
            State::Running => !self.closed && self.since.elapsed() < lately,
            State::Ended { .. } => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{
        super::choice::{Choices, Pool, choose},
        *,
    };
    use crate::catalog::CapacityType;

    fn pod(uid: &str, node: Option<&str>) -> Pod {
        let gpu = json!({ "limits": { "nvidia.com/gpu": "1" } });
        let spec = json!({ "nodeName": node, "containers": [{ "name": "a", "resources": gpu }] });
        serde_json::from_value(json!({ "metadata": { "uid": uid }, "spec": spec })).unwrap()
    }

    /// One type, with two GPUs, in one zone.
    fn catalog() -> Catalog {
        let offering = Offering::new("g4dn.xlarge", "us-east-1a", CapacityType::Spot);
        let resources = [("nvidia.com/gpu", "2")];
        Catalog::default().instance_type("g4dn.xlarge", &resources).offer(offering, 0.16)
    }

    /// A fleet with a running machine of it, and its Node.
    fn fleet(catalog: &Catalog) -> (Fleet, String) {
        let class = json!({ "group": "g", "kind": "K", "name": "n" });
        let spec = json!({ "template": { "spec": { "nodeClassRef": class } } });
        let spec = serde_json::from_value(spec).unwrap();
        let pools = [Pool { name: "spot".to_owned(), uid: String::new(), spec }];
        let (sold_out, used) = (BTreeSet::new(), BTreeMap::new());
        let choices = Choices { pools: &pools, overlays: &[], catalog, sold_out: &sold_out, used };
        let mut fleet = Fleet::default();
        let launch = choose(&choices, &pod("first", None)).unwrap();
        let claim = fleet.launch(launch, catalog);
        let entry = fleet.entries.get_mut(&claim).unwrap();
        entry.begin(State::Running);
        let node = entry.instance.node.clone();
        (fleet, node)
    }

    #[test]
    fn a_machine_that_has_just_come_is_enough_for_whom_it_has_room() {
        let catalog = catalog();
        let (mut fleet, node) = fleet(&catalog);
        let open = BTreeSet::new();
        let bound = pod("first", Some(&node));
        fleet.recount(std::slice::from_ref(&bound), &open, &catalog);
        assert!(fleet.nominate(&pod("second", None)));
        assert!(!fleet.nominate(&pod("third", None)), "the room is meant for another");
        // Seen anew, it still is; and it stays taken when the other is bound.
        fleet.recount(&[bound.clone(), pod("second", None)], &open, &catalog);
        assert!(!fleet.nominate(&pod("third", None)));
        fleet.recount(&[bound, pod("second", Some(&node))], &open, &catalog);
        assert!(!fleet.nominate(&pod("third", None)));
    }

    #[test]
    fn no_second_machine_is_bought_for_a_pod_that_a_busy_scheduler_lets_wait() {
        let catalog = catalog();
        let (mut fleet, node) = fleet(&catalog);
        let open = BTreeSet::new();
        let waits = pod("first", None);
        fleet.recount(std::slice::from_ref(&waits), &open, &catalog);
        assert!(fleet.nominate(&waits));
        let mut came = |ago| {
            fleet.recount(std::slice::from_ref(&waits), &open, &catalog);
            let since = Instant::now().checked_sub(Duration::from_secs(ago)).unwrap();
            fleet.of_node(&node).unwrap().since = since;
            [fleet.nominate(&waits), fleet.nominate(&pod("other", None))]
        };
        assert_eq!(came(20), [true, false], "its own machine is still its own");
        assert_eq!(came(61), [false, false]);
    }

    #[test]
    fn a_machine_is_awaited_by_whom_it_is_meant_for_until_that_is_bound_or_late() {
        let catalog = catalog();
        let (mut fleet, node) = fleet(&catalog);
        let (waits, bound) = (pod("first", None), pod("first", Some(&node)));
        let claim = fleet.entries.keys().next().unwrap().clone();
        assert!(!fleet.is_awaited(&claim, std::slice::from_ref(&waits)), "it is meant for nobody");
        fleet.recount(std::slice::from_ref(&waits), &BTreeSet::new(), &catalog);
        assert!(fleet.nominate(&waits));
        assert!(fleet.is_awaited(&claim, std::slice::from_ref(&waits)));
        assert!(!fleet.is_awaited(&claim, &[bound]));
        let since = Instant::now().checked_sub(Duration::from_secs(61)).unwrap();
        fleet.of_node(&node).unwrap().since = since;
        assert!(!fleet.is_awaited(&claim, &[waits]));
    }

    #[test]
    fn nothing_is_meant_for_a_machine_that_takes_no_new_pods() {
        let catalog = catalog();
        let (mut fleet, node) = fleet(&catalog);
        let waits = pod("first", None);
        fleet.recount(std::slice::from_ref(&waits), &BTreeSet::new(), &catalog);
        assert!(fleet.nominate(&waits));
        fleet.recount(std::slice::from_ref(&waits), &BTreeSet::from([node]), &catalog);
        assert!(!fleet.nominate(&waits) && !fleet.nominate(&pod("other", None)));
    }
}
