//! Puts together the `View`: asks the front and the scaler over their admin ports, as a dashboard would, and the local
//! cluster and the autoscaler directly. Looks only; nothing is decided from it.

mod front;
mod openmetrics;
mod scaler;

use std::{collections::VecDeque, net::SocketAddr, sync::Arc, time::Duration};

use jiff::Timestamp;
use spotscale_autoscaler::{Books, Offering, Outcome, SharedBooks, State, States};
use tokio::{
    sync::watch,
    time::{Instant, MissedTickBehavior, interval},
};
use tokio_util::sync::CancellationToken;

use self::front::{Look, Looks};
use super::{
    cluster::LocalCluster,
    keda::ScaleTarget,
    view::{Addresses, Decision, Money, Node, Progress, Traffic, View, Weights},
};
use crate::loopback;

const EVERY: Duration = Duration::from_millis(500);
const DECISIONS_MAX: usize = 20;

/// Where to look.
pub(crate) struct Observer {
    pub(crate) cluster: Arc<LocalCluster>,
    pub(crate) autoscaler: States,
    pub(crate) books: SharedBooks,
    pub(crate) progress: watch::Receiver<Option<Progress>>,
    pub(crate) front_admin: SocketAddr,
    pub(crate) scaler_admin: SocketAddr,
    pub(crate) fixed: Fixed,
}

/// What does not change while local mode runs.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Fixed {
    pub(crate) weights: Weights,
    pub(crate) addresses: Addresses,
    pub(crate) max_replicas: u32,
}

impl Fixed {
    /// What there is to see before anything has happened.
    pub(crate) fn first_view(self) -> View {
        let Self { weights, addresses, max_replicas } = self;
        View {
            clock: Timestamp::now(),
            uptime_ms: 0,
            scenario: None,
            traffic: Traffic::default(),
            held: 0,
            in_flight: 0,
            desired_replicas: 0,
            max_replicas,
            replicas: Vec::new(),
            nodes: Vec::new(),
            latency_ms: None,
            money: Money::default(),
            decisions: Vec::new(),
            weights,
            addresses,
        }
    }
}

impl Observer {
    /// Publishes a view twice a second until `shutdown`.
    pub(crate) async fn run(self, views: watch::Sender<View>, shutdown: CancellationToken) {
        let (start, mut memory) = (Instant::now(), Memory::default());
        let mut ticks = interval(EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while shutdown.run_until_cancelled(ticks.tick()).await.is_some() {
            views.send_replace(self.look(start.elapsed(), &mut memory).await);
        }
    }

    async fn look(&self, uptime: Duration, memory: &mut Memory) -> View {
        // A role that does not answer leaves its part of the picture as it was.
        if let Ok((_, page)) = loopback::get(self.front_admin, "/metrics").await {
            memory.looks.push(uptime, Look::of(&String::from_utf8_lossy(&page)));
        }
        if let Ok((_, page)) = loopback::get(self.scaler_admin, "/debug/scaler").await {
            memory.scaled(scaler::decision(&page));
        }
        let state = self.autoscaler.borrow().clone();
        let now = memory.looks.last();
        View {
            clock: Timestamp::now(),
            uptime_ms: u64::try_from(uptime.as_millis()).unwrap_or(u64::MAX),
            scenario: self.progress.borrow().clone(),
            traffic: memory.looks.traffic(),
            held: now.map_or(0, |look| look.held),
            in_flight: now.map_or(0, |look| look.in_flight),
            desired_replicas: self.cluster.replicas(),
            replicas: self.cluster.pods(),
            nodes: self.nodes(state.as_deref()),
            latency_ms: memory.looks.latency_ms(),
            money: self.books.read().as_ref().map(money).unwrap_or_default(),
            decisions: memory.decisions(state.as_deref()),
            ..self.fixed.first_view()
        }
    }

    fn nodes(&self, state: Option<&State>) -> Vec<Node> {
        let price = |offering: &Offering| {
            state.and_then(|state| state.snapshot.prices.get(offering)).map_or(0.0, |p| p.as_usd())
        };
        let node =
            |(node, notice_deadline): (spotscale_autoscaler::Node, Option<Timestamp>)| Node {
                name: node.name.to_string(),
                instance_type: node.offering.instance_type.to_string(),
                zone: node.offering.zone.to_string(),
                capacity_type: node.offering.capacity_type.to_string(),
                usd_per_hour: price(&node.offering),
                notice_deadline,
            };
        self.cluster.nodes().into_iter().map(node).collect()
    }
}

/// What has been seen before.
#[derive(Default)]
struct Memory {
    looks: Looks,
    /// The scaler's changes of mind, newest first.
    scaled: VecDeque<Decision>,
}

impl Memory {
    fn scaled(&mut self, decision: Option<Decision>) {
        let Some(decision) = decision else { return };
        let same = |last: &Decision| last.desired == decision.desired;
        if !self.scaled.front().is_some_and(same) {
            self.scaled.push_front(decision);
            self.scaled.truncate(DECISIONS_MAX);
        }
    }

    /// Those of the scaler and those of the autoscaler, newest first.
    fn decisions(&self, state: Option<&State>) -> Vec<Decision> {
        let about_nodes = state.into_iter().flat_map(|state| &state.decisions).map(|decision| {
            let why = decision.reasons.iter().map(ToString::to_string);
            Decision {
                at: decision.at,
                desired: None,
                reasons: std::iter::once(what_came_of(decision)).chain(why).collect(),
            }
        });
        let mut all: Vec<Decision> = self.scaled.iter().cloned().chain(about_nodes).collect();
        all.sort_by_key(|decision| std::cmp::Reverse(decision.at));
        all.truncate(DECISIONS_MAX);
        all
    }
}

fn money(books: &Books) -> Money {
    let totals = books.totals();
    Money {
        spend_usd: totals.spend.saturating_sub(totals.refund).as_usd(),
        baseline_usd: totals.baseline.as_usd(),
        refund_usd: totals.refund.as_usd(),
    }
}

fn what_came_of(decision: &spotscale_autoscaler::Decision) -> String {
    let action = decision.action.to_string();
    match &decision.outcome {
        Outcome::Done | Outcome::AlreadySo => action,
        Outcome::Dropped => format!("dropped, no longer right: {action}"),
        Outcome::DryRun | Outcome::NotLeading => format!("not done: {action}"),
        Outcome::Forced { against } => format!("{action}, although {against}"),
        Outcome::Failed { error } => format!("failed: {action} ({error})"),
    }
}
