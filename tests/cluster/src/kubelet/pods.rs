//! Which pods there are on which machines, and what each is told.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use futures::{StreamExt as _, future::join_all};
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::{
    Api, ResourceExt as _,
    api::DeleteParams,
    runtime::{WatchStreamExt as _, watcher},
};
use rustix::process::{Pid, Signal, kill_process};
use tokio::sync::watch;

use super::{
    Shared,
    board::{Board, Slot},
    machine::{Host, Link, Machine},
    pod::{Sandbox, Wanted},
};
use crate::exclusive::address;

/// Pods that are bound to a machine.
const BOUND: &str = "spec.nodeName!=";

/// A pod that has a process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Running {
    /// Of the Pod.
    pub namespace: String,
    /// Of the Pod.
    pub name: String,
    /// The Node that it is on.
    pub machine: String,
    /// Its own.
    pub ip: IpAddr,
    /// The processes of its containers, by name.
    pub pids: BTreeMap<String, u32>,
    /// Every container is.
    pub ready: bool,
}

/// These, if they are so many and all are ready.
pub fn all_ready(pods: Vec<Running>, count: usize) -> Option<Vec<Running>> {
    (pods.len() == count && pods.iter().all(|pod| pod.ready)).then_some(pods)
}

struct Entry {
    namespace: String,
    name: String,
    host: Arc<Host>,
    board: watch::Receiver<Board>,
    wanted: watch::Sender<Wanted>,
    /// What it would be told if its machine could be reached.
    latest: Wanted,
}

impl Entry {
    fn tell(&mut self, wanted: Wanted) {
        self.latest = wanted;
        self.deliver();
    }

    fn deliver(&self) {
        let latest =
            if *self.host.link.borrow() == Link::Gone { Wanted::Kill } else { self.latest };
        if *self.host.link.borrow() != Link::Cut {
            self.wanted.send_if_modified(|now| std::mem::replace(now, latest) != latest);
        }
    }
}

/// All of them.
pub(super) struct Pods {
    pub(super) shared: Arc<Shared>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    hosts: BTreeMap<String, Arc<Host>>,
    /// Every pod that is bound to a machine, by uid, as the watch last told of it. Nothing else is asked: a list can be older
    /// than what the watch has told, and took an eviction back.
    bound: BTreeMap<String, Arc<Pod>>,
    /// Those that run here, by uid.
    pods: BTreeMap<String, Entry>,
}

impl Pods {
    pub(super) fn new(shared: Shared) -> Self {
        Self { shared: Arc::new(shared), state: Mutex::default() }
    }

    /// Adds a machine. Pods that were bound to its name before it came are taken over.
    pub(super) async fn join(self: &Arc<Self>, machine: Machine) -> anyhow::Result<()> {
        let host = Arc::new(Host::new(machine, address()));
        host.register(&self.shared.client).await?;
        self.state().hosts.insert(host.machine.name.clone(), Arc::clone(&host));
        let client = self.shared.client.clone();
        tokio::spawn(async move { host.heartbeat(&client).await });
        self.catch_up();
        Ok(())
    }

    /// Follows the pods of every machine, for ever.
    pub(super) async fn follow(self: Arc<Self>) {
        let pods = Api::<Pod>::all(self.shared.client.clone());
        let changes = watcher(pods, watcher::Config::default().fields(BOUND));
        let mut changes = changes.default_backoff().boxed();
        let mut listed = BTreeSet::new();
        while let Some(change) = changes.next().await {
            match change {
                Ok(watcher::Event::Init) => listed.clear(),
                Ok(watcher::Event::InitApply(pod)) => {
                    listed.extend(pod.uid());
                    self.seen(pod);
                }
                Ok(watcher::Event::InitDone) => self.keep_only(&listed),
                Ok(watcher::Event::Apply(pod)) => self.seen(pod),
                Ok(watcher::Event::Delete(pod)) => self.gone(&pod.uid().unwrap_or_default()),
                Err(error) => tracing::warn!(%error, "pods are not seen at the moment"),
            }
        }
    }

    /// Acts on what was told before its machine could.
    pub(super) fn catch_up(self: &Arc<Self>) {
        let mut state = self.state();
        for (uid, pod) in state.bound.clone() {
            self.act(&mut state, uid, &pod);
        }
    }

    /// Changes what is known of a machine, and what its pods are told.
    pub(super) fn link(&self, machine: &str, link: Link) {
        let state = self.state();
        let Some(host) = state.hosts.get(machine) else { return };
        host.link.send_replace(link);
        state.pods.values().filter(|entry| Arc::ptr_eq(&entry.host, host)).for_each(Entry::deliver);
    }

    pub(super) fn running(&self) -> Vec<Running> {
        let state = self.state();
        let mut running: Vec<Running> = state.pods.values().filter_map(Entry::running).collect();
        running.sort_by(|a, b| (&a.namespace, &a.name).cmp(&(&b.namespace, &b.name)));
        running
    }

    pub(super) fn signal(&self, namespace: &str, name: &str, signal: Signal) -> usize {
        let running = self.running();
        let pods = running.iter().filter(|pod| pod.namespace == namespace && pod.name == name);
        let processes = pods.flat_map(|pod| pod.pids.values());
        let killed = |pid: &&u32| {
            Pid::from_raw(**pid as i32).is_some_and(|pid| kill_process(pid, signal).is_ok())
        };
        processes.filter(killed).count()
    }

    pub(super) fn kill_all(&self) {
        let state = self.state();
        state.hosts.values().for_each(|host| {
            host.link.send_replace(Link::Gone);
        });
        state.pods.values().for_each(Entry::deliver);
    }

    /// Deletes the Nodes.
    pub(super) async fn leave(&self) {
        let names: Vec<String> = self.state().hosts.keys().cloned().collect();
        let nodes = Api::<Node>::all(self.shared.client.clone());
        let params = DeleteParams::default();
        join_all(names.iter().map(|name| nodes.delete(name, &params))).await;
    }

    fn seen(self: &Arc<Self>, pod: Pod) {
        let (mut state, uid, pod) = (self.state(), pod.uid().unwrap_or_default(), Arc::new(pod));
        state.bound.insert(uid.clone(), Arc::clone(&pod));
        self.act(&mut state, uid, &pod);
    }

    /// Does with a pod what its object says.
    fn act(self: &Arc<Self>, state: &mut State, uid: String, pod: &Arc<Pod>) {
        let node = pod.spec.as_ref().and_then(|spec| spec.node_name.as_deref()).unwrap_or_default();
        let Some(host) = state.hosts.get(node).cloned() else { return };
        if *host.link.borrow() == Link::Gone {
            return;
        }
        let wanted = wanted(pod);
        if let Some(entry) = state.pods.get_mut(&uid) {
            if entry.latest != Wanted::Kill {
                entry.tell(wanted);
            }
        } else if *host.link.borrow() == Link::Up && !is_over(pod) {
            let (namespace, name) = (pod.namespace().unwrap_or_default(), pod.name_any());
            let (sender, receiver) = watch::channel(wanted);
            let ip = address();
            let pod = Pod::clone(pod);
            let sandbox =
                Sandbox::new(Arc::clone(&self.shared), Arc::clone(&host), pod, ip, receiver);
            let board = sandbox.board.subscribe();
            let entry = Entry { namespace, name, host, board, wanted: sender, latest: wanted };
            state.pods.insert(uid.clone(), entry);
            let pods = Arc::clone(self);
            tokio::spawn(async move {
                Box::pin(sandbox.run()).await;
                pods.state().pods.remove(&uid);
            });
        }
    }

    fn gone(&self, uid: &str) {
        let mut state = self.state();
        state.bound.remove(uid);
        if let Some(entry) = state.pods.get_mut(uid) {
            entry.tell(Wanted::Kill);
        }
    }

    fn keep_only(&self, uids: &BTreeSet<String>) {
        let mut state = self.state();
        state.bound.retain(|uid, _| uids.contains(uid));
        let missing = state.pods.iter_mut().filter(|(uid, _)| !uids.contains(*uid));
        missing.for_each(|(_, entry)| entry.tell(Wanted::Kill));
    }

    // Nothing panics while it holds the lock.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Entry {
    fn running(&self) -> Option<Running> {
        let board = self.board.borrow();
        let slots = board.init.iter().chain(&board.containers);
        let pid = |slot: &Slot| Some((slot.name.clone(), slot.pid()?));
        let pids: BTreeMap<String, u32> = slots.filter_map(pid).collect();
        let gone = *self.host.link.borrow() == Link::Gone;
        (!gone && !pids.is_empty()).then(|| Running {
            namespace: self.namespace.clone(),
            name: self.name.clone(),
            machine: self.host.machine.name.clone(),
            ip: board.ip,
            pids,
            ready: board.is_ready(),
        })
    }
}

/// What the object says is wanted of the pod.
fn wanted(pod: &Pod) -> Wanted {
    if pod.metadata.deletion_timestamp.is_none() {
        return Wanted::Run;
    }
    let grace = pod.metadata.deletion_grace_period_seconds.unwrap_or(0);
    Wanted::End(Duration::from_secs(grace.max(0) as u64))
}

/// Its containers have ended for good: there is nothing to run again.
fn is_over(pod: &Pod) -> bool {
    let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
    matches!(phase, Some("Succeeded" | "Failed")) && pod.metadata.deletion_timestamp.is_none()
}
