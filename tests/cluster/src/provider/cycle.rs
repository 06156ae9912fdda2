//! What the stand-in does, again and again: it looks at everything, and takes each machine one step further.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use k8s_openapi::api::core::v1::Pod;
use tokio_util::sync::CancellationToken;

use super::{
    choice::{Choices, Pool, choose},
    claim,
    fleet::{EndedBy, Entry, Fleet, Instance, State},
    notices::{ENDPOINT, Services},
    objects::{Objects, Seen, is_unschedulable, is_work, node_of},
};
use crate::{
    catalog::{Catalog, Offering},
    kubelet::{Kubelet, Machine},
};

/// Between two looks.
const PERIOD: Duration = Duration::from_millis(200);

/// Everything that a provider has.
pub(super) struct World {
    pub(super) objects: Objects,
    pub(super) kubelet: Arc<Kubelet>,
    pub(super) boot: Duration,
    pub(super) consolidate_after: Option<Duration>,
    pub(super) catalog: Catalog,
    /// None: machines have no metadata service.
    pub(super) services: Option<Services>,
    pub(super) state: Mutex<Inner>,
}

#[derive(Debug, Default)]
pub(super) struct Inner {
    pub(super) fleet: Fleet,
    pub(super) sold_out: BTreeSet<Offering>,
}

impl World {
    /// Goes on until it is stopped; then it leaves nothing behind that nobody would take care of.
    pub(super) async fn run(self: Arc<Self>, stop: CancellationToken) {
        while !stop.is_cancelled() {
            if let Err(error) = self.step().await {
                tracing::warn!(error = format!("{error:#}"), "the provider tries again");
            }
            tokio::select! {
                () = tokio::time::sleep(PERIOD) => {}
                () = stop.cancelled() => {}
            }
        }
        for instance in self.instances().into_iter().filter(Instance::is_there) {
            let _ = self.objects.remove(&instance.node, &instance.claim).await;
        }
    }

    /// The cloud takes a machine away, whatever runs on it.
    pub(super) async fn reclaim(&self, node: &str) {
        if let Some(entry) = self.state().fleet.of_node(node) {
            entry.end(EndedBy::Cloud);
        }
        self.take(node).await;
    }

    async fn take(&self, node: &str) {
        self.kubelet.take(node);
        if let Some(services) = &self.services {
            services.end(node).await;
        }
    }

    pub(super) fn instances(&self) -> Vec<Instance> {
        self.state().fleet.entries.values().map(|entry| entry.instance.clone()).collect()
    }

    // Nothing panics while it holds the lock.
    pub(super) fn state(&self) -> MutexGuard<'_, Inner> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn step(&self) -> anyhow::Result<()> {
        let seen = self.objects.read().await?;
        for instance in self.instances() {
            self.advance(&instance, &seen).await?;
        }
        let closed = self.closed(&seen);
        self.state().fleet.recount(&seen.pods, &closed, &self.catalog);
        for pod in seen.pods.iter().filter(|pod| is_unschedulable(pod)) {
            self.launch(pod, &seen).await?;
        }
        self.tell().await
    }

    /// The Nodes that take no new pods: they are cordoned, or their machines are drained.
    fn closed(&self, seen: &Seen) -> BTreeSet<String> {
        let instances = self.instances().into_iter();
        let drained = instances.filter(|instance| seen.is_unwanted(&instance.claim));
        drained.map(|instance| instance.node).chain(seen.cordoned.iter().cloned()).collect()
    }

    async fn advance(&self, instance: &Instance, seen: &Seen) -> anyhow::Result<()> {
        let (claim, is_unwanted) = (seen.claim(&instance.claim), seen.is_unwanted(&instance.claim));
        match instance.state {
            // Whoever ended it: nothing of it is left to wait for.
            State::Ended { .. } if claim.is_some() => {
                self.objects.remove(&instance.node, &instance.claim).await
            }
            State::Ended { .. } => Ok(()),
            State::Booting if is_unwanted => self.end(instance).await,
            State::Booting => self.boot(instance).await,
            State::Running if !seen.nodes.contains(&instance.node) => self.end(instance).await,
            State::Running if is_unwanted => self.drain(instance, seen).await,
            State::Running => self.consolidate(instance, seen).await,
        }
    }

    /// The machine joins when its time has come.
    async fn boot(&self, instance: &Instance) -> anyhow::Result<()> {
        let mut machine = {
            let state = self.state();
            let Some(entry) = state.fleet.entries.get(&instance.claim) else { return Ok(()) };
            if entry.since.elapsed() < self.boot {
                return Ok(());
            }
            machine(entry, &self.catalog)
        };
        if let Some(services) = &self.services {
            machine.env.insert(ENDPOINT.to_owned(), services.start(instance).await?);
        }
        self.kubelet.add(machine).await?;
        let joined = self.change(&instance.claim, |entry| {
            let is_there = entry.instance.is_there();
            if is_there {
                entry.begin(State::Running);
            }
            is_there
        });
        if joined != Some(true) {
            // Taken while it booted.
            self.take(&instance.node).await;
        }
        Ok(())
    }

    /// New pods are kept off, the others evicted; the machine ends when none is left.
    async fn drain(&self, instance: &Instance, seen: &Seen) -> anyhow::Result<()> {
        self.objects.disrupt(&instance.node).await?;
        let left: Vec<&Pod> = work_on(instance, seen).collect();
        for pod in left.iter().filter(|pod| pod.metadata.deletion_timestamp.is_none()) {
            self.objects.evict(pod).await?;
        }
        if left.is_empty() { self.end(instance).await } else { Ok(()) }
    }

    async fn end(&self, instance: &Instance) -> anyhow::Result<()> {
        self.change(&instance.claim, |entry| entry.end(EndedBy::Owner));
        self.take(&instance.node).await;
        self.objects.remove(&instance.node, &instance.claim).await
    }

    async fn consolidate(&self, instance: &Instance, seen: &Seen) -> anyhow::Result<()> {
        let is_empty = work_on(instance, seen).next().is_none();
        let is_idle = is_empty && !self.state().fleet.is_awaited(&instance.claim, &seen.pods);
        let idle = self.change(&instance.claim, |entry| entry.idle(is_idle)).unwrap_or_default();
        match self.consolidate_after {
            Some(limit) if is_idle && idle >= limit => {
                self.objects.delete_claim(&instance.claim).await
            }
            _ => Ok(()),
        }
    }

    /// A machine for a pod, if none is coming for it.
    async fn launch(&self, pod: &Pod, seen: &Seen) -> anyhow::Result<()> {
        let launched = {
            let mut state = self.state();
            let Inner { fleet, sold_out } = &mut *state;
            if fleet.nominate(pod) {
                return Ok(());
            }
            let choices = Choices {
                pools: &seen.pools,
                overlays: &seen.overlays,
                catalog: &self.catalog,
                sold_out,
                used: fleet.used(&self.catalog),
            };
            let chosen = choose(&choices, pod);
            chosen.map(|launch| (launch.pool.clone(), fleet.launch(launch, &self.catalog)))
        };
        let Some((pool, claim)) = launched else { return Ok(()) };
        let made = self.make_claim(&claim, &pool).await;
        if made.is_err() {
            self.state().fleet.entries.remove(&claim);
        } else {
            self.state().fleet.nominate(pod);
        }
        made
    }

    async fn make_claim(&self, claim: &str, pool: &Pool) -> anyhow::Result<()> {
        match self.change(claim, |entry| claim::object(entry, pool)) {
            Some(object) => self.objects.create_claim(&object?).await,
            None => Ok(()),
        }
    }

    /// Brings the NodeClaims up to date.
    async fn tell(&self) -> anyhow::Result<()> {
        let untold: Vec<_> = {
            let state = self.state();
            let untold =
                state.fleet.entries.values().filter(|one| !one.told && one.instance.is_there());
            untold
                .map(|entry| (entry.instance.clone(), claim::status(entry, &self.catalog)))
                .collect()
        };
        for (instance, status) in untold {
            self.objects.tell(&instance.claim, status).await?;
            self.change(&instance.claim, |entry| {
                entry.told = entry.instance.state == instance.state;
            });
        }
        Ok(())
    }

    fn change<T>(&self, claim: &str, change: impl FnOnce(&mut Entry) -> T) -> Option<T> {
        self.state().fleet.entries.get_mut(claim).map(change)
    }
}

fn work_on<'a>(instance: &'a Instance, seen: &'a Seen) -> impl Iterator<Item = &'a Pod> {
    let here = |pod: &&Pod| node_of(pod) == Some(instance.node.as_str()) && is_work(pod);
    seen.pods.iter().filter(here)
}

fn machine(entry: &Entry, catalog: &Catalog) -> Machine {
    let mut machine = Machine::new(&entry.instance.node)
        .provider_id(&entry.instance.provider_id())
        .label("karpenter.sh/registered", "true")
        .label("karpenter.sh/initialized", "true");
    machine.labels.extend(entry.labels.clone());
    machine.taints.clone_from(&entry.taints);
    machine.resources.extend(catalog.resources(&entry.instance.offering));
    machine
}
