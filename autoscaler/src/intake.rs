//! What becomes of the messages of a notice queue: which node each is about, what that node is told, and when the message
//! is done with. No I/O, and the only clock is the cluster's.
//!
//! A message stays on the queue while its work is not done, so that a daemon that dies leaves it to the next one; what
//! can never be done is taken off. Whoever hears a thing twice does it once: the node keeps what it was told, by kind.

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use jiff::Timestamp;
use spotscale_decide::{
    cluster::{CordonCause, Index, Node, NodePhase, NoticeKind, Observation},
    units::{InstanceId, Millis, NodeName},
};

use crate::{
    cluster::News,
    notices::{Event, EventKind, Receipt, Received},
};

/// A machine of which nothing is known so long after the event is not ours: its notice has run out in any case.
const FOREIGN_AFTER: Millis = Millis::from_secs(300);
/// A message whose node is not empty so long after its deadline is let go. The node keeps the notice.
const OVERDUE_AFTER: Millis = Millis::from_secs(900);
/// A message that is being worked on is hidden for so long, and for longer when half of that is over.
pub(crate) const HIDDEN_FOR: Millis = Millis::from_secs(60);
/// An event that was done with is known again for so long.
const REMEMBERED_FOR: Millis = Millis::from_secs(3600);
/// Events that are worked on at once. More are left on the queue.
const EVENTS_MAX: usize = 10_000;

/// The messages that are being worked on, and those that were.
#[derive(Debug, Default)]
pub(crate) struct Intake {
    held: BTreeMap<String, Held>,
    /// Events that were done with, and when.
    settled: BTreeMap<String, Timestamp>,
    /// Planned changes that were called off, and when that was said.
    called_off: BTreeMap<InstanceId, Timestamp>,
}

/// What is to be done now.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Orders {
    pub(crate) tell: Vec<Told>,
    pub(crate) done: Vec<Receipt>,
    pub(crate) keep: Vec<Receipt>,
    /// What became of events, by their kind; to be counted.
    pub(crate) outcomes: Vec<(&'static str, Outcome)>,
}

/// A node and what it is to be told, on the word of which event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Told {
    pub(crate) node: NodeName,
    pub(crate) news: News,
    pub(crate) event: String,
    pub(crate) instance: InstanceId,
}

/// What became of what a message said about one machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Outcome {
    /// It asked nothing of us, for this reason.
    Unasked(&'static str),
    /// Its node was emptied.
    Emptied,
    /// Its node is gone.
    Gone,
    /// Its node was told that the planned change is over.
    CalledOff,
    /// The node is on its way out already, or was told so before.
    NothingNew,
    /// The machine is not ours.
    Foreign,
    /// Its node was told, and was not empty in time.
    Overdue,
    /// The same event is being worked on, or was done with.
    Duplicate,
    /// Too much is being worked on: it is left on the queue.
    Left,
}

#[derive(Debug)]
struct Held {
    event: Event,
    receipts: Vec<Receipt>,
    /// Some delivery is not hidden by us yet while this is none.
    hidden_until: Option<Timestamp>,
    machines: BTreeMap<InstanceId, Stage>,
}

/// How far what was said about one machine is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Heard,
    Told,
    Settled(Outcome),
}

/// The cluster, as far as notices are about it.
struct View<'a> {
    at: Timestamp,
    index: Index<'a>,
    machines: BTreeMap<&'a InstanceId, &'a Node>,
}

// === impl Intake ===

impl Intake {
    /// Takes what the queue delivered.
    pub(crate) fn take(&mut self, received: Vec<Received>) -> Orders {
        let mut orders = Orders::default();
        for Received { receipt, event } in received {
            match event {
                Err(unasked) => {
                    orders.done.push(receipt);
                    orders.outcomes.push(("none", Outcome::Unasked(unasked.kind())));
                }
                Ok(event) => self.hold(event, receipt, &mut orders),
            }
        }
        orders
    }

    /// Begins to work on an event, if it is a new one.
    fn hold(&mut self, event: Event, receipt: Receipt, orders: &mut Orders) {
        let kind = event.kind.kind();
        if let Some(held) = self.held.get_mut(&event.id) {
            // All deliveries are done with when the work is.
            held.receipts.push(receipt);
            held.hidden_until = None;
            orders.outcomes.push((kind, Outcome::Duplicate));
        } else if self.settled.contains_key(&event.id) {
            orders.done.push(receipt);
            orders.outcomes.push((kind, Outcome::Duplicate));
        } else if self.held.len() >= EVENTS_MAX {
            orders.outcomes.push((kind, Outcome::Left));
        } else {
            let heard = event.instances.iter().map(|id| (id.clone(), Stage::Heard));
            let machines = heard.collect();
            let held = Held {
                receipts: vec![receipt],
                hidden_until: None,
                machines,
                event: event.clone(),
            };
            self.held.insert(event.id, held);
        }
    }

    /// What the cluster as it is now asks for.
    pub(crate) fn orders(&mut self, seen: &Observation) -> Orders {
        self.remember_withdrawals(seen.at);
        if self.held.is_empty() {
            return Orders::default();
        }
        let view = View::of(seen);
        let (mut orders, called_off) = (Orders::default(), &self.called_off);
        for held in self.held.values_mut() {
            held.advance(&view, called_off, &mut orders);
        }
        let settled = &mut self.settled;
        self.held.retain(|id, held| {
            let outcomes: Option<Vec<_>> = held.machines.values().map(Stage::outcome).collect();
            let Some(outcomes) = outcomes else { return true };
            let kind = held.event.kind.kind();
            orders.outcomes.extend(outcomes.into_iter().map(|outcome| (kind, outcome)));
            orders.done.append(&mut held.receipts);
            settled.insert(id.clone(), seen.at);
            false
        });
        orders
    }

    /// A node took what it was told.
    pub(crate) fn told(&mut self, told: &Told) {
        let machines = self.held.get_mut(&told.event).map(|held| &mut held.machines);
        if let Some(stage) = machines.and_then(|machines| machines.get_mut(&told.instance)) {
            *stage = match told.news {
                News::Stands(_) => Stage::Told,
                News::MaintenanceOver => Stage::Settled(Outcome::CalledOff),
            };
        }
    }

    /// A change that is called off before it is heard of must not begin then.
    fn remember_withdrawals(&mut self, now: Timestamp) {
        let fresh = |at: &Timestamp| now < REMEMBERED_FOR.after(*at);
        self.settled.retain(|_, at| fresh(at));
        self.called_off.retain(|_, at| fresh(at));
        let over =
            self.held.values().filter(|held| held.event.kind == EventKind::ScheduledChangeOver);
        for held in over {
            for instance in held.machines.keys() {
                let last = self.called_off.entry(instance.clone()).or_insert(held.event.at);
                *last = held.event.at.max(*last);
            }
        }
    }
}

// === impl Held ===

impl Held {
    fn advance(
        &mut self,
        view: &View<'_>,
        called_off: &BTreeMap<InstanceId, Timestamp>,
        orders: &mut Orders,
    ) {
        let Self { event, machines, .. } = self;
        for (instance, stage) in machines.iter_mut() {
            let over = called_off.get(instance).is_some_and(|over| event.at <= *over);
            if over && matches!(event.kind, EventKind::ScheduledChange { .. }) {
                *stage = Stage::Settled(Outcome::CalledOff);
            }
            let told = match stage.next(event, view.machines.get(instance).copied(), view) {
                Next::Stay => continue,
                Next::Settle(outcome) => {
                    *stage = Stage::Settled(outcome);
                    continue;
                }
                Next::Tell(node, news) => (node, news),
            };
            let (event, instance) = (event.id.clone(), instance.clone());
            orders.tell.push(Told { node: told.0, news: told.1, event, instance });
        }
        let half = Millis(HIDDEN_FOR.0 / 2).after(view.at);
        if self.hidden_until.is_none_or(|until| until <= half) {
            self.hidden_until = Some(HIDDEN_FOR.after(view.at));
            orders.keep.extend(self.receipts.iter().cloned());
        }
    }
}

/// What follows for one machine.
enum Next {
    Stay,
    Tell(NodeName, News),
    Settle(Outcome),
}

// === impl Stage ===

impl Stage {
    fn outcome(&self) -> Option<Outcome> {
        match self {
            Self::Settled(outcome) => Some(*outcome),
            Self::Heard | Self::Told => None,
        }
    }

    fn next(self, event: &Event, node: Option<&Node>, view: &View<'_>) -> Next {
        let alive = node.filter(|node| !matches!(node.phase, NodePhase::Ended { .. }));
        match (self, node, alive) {
            (Self::Heard, None, _) if view.at < FOREIGN_AFTER.after(event.at) => Next::Stay,
            (Self::Heard, None, _) => Next::Settle(Outcome::Foreign),
            (Self::Heard, Some(_), None) | (Self::Told, _, None) => Next::Settle(Outcome::Gone),
            (Self::Heard, _, Some(node)) => view.hear(event, node),
            (Self::Told, _, Some(node)) if view.is_empty(node) => Next::Settle(Outcome::Emptied),
            (Self::Told, ..) if event.is_overdue(view.at) => Next::Settle(Outcome::Overdue),
            (Self::Told | Self::Settled(_), ..) => Next::Stay,
        }
    }
}

// === impl View ===

impl<'a> View<'a> {
    fn of(seen: &'a Observation) -> Self {
        let machines = seen.nodes.iter().filter_map(|node| Some((node.instance.as_ref()?, node)));
        Self { at: seen.at, index: Index::of(seen), machines: machines.collect() }
    }

    /// What a node that is there is told.
    fn hear(&self, event: &Event, node: &Node) -> Next {
        let stands = |kind| Next::Tell(node.name.clone(), News::Stands(kind));
        match event.kind {
            EventKind::ScheduledChangeOver => Next::Tell(node.name.clone(), News::MaintenanceOver),
            EventKind::Ending(_) if self.is_leaving(node) => Next::Settle(Outcome::NothingNew),
            // Whoever sent it there, it serves no more. That says nothing about spot capacity, and is no interruption.
            EventKind::Ending(_) => stands(NoticeKind::Maintenance { deadline: event.at }),
            kind => kind.notice().map_or(Next::Settle(Outcome::NothingNew), stands),
        }
    }

    /// Somebody gives it back, or the provider has said already that it takes it.
    fn is_leaving(&self, node: &Node) -> bool {
        let has_deadline = |kind: &NoticeKind| !matches!(kind, NoticeKind::Rebalance);
        node.is_leaving()
            || node.cordoned == Some(CordonCause::Surplus)
            || self.index.notices(&node.name).iter().any(has_deadline)
    }

    /// Nothing is placed there any more, and nothing is left.
    fn is_empty(&self, node: &Node) -> bool {
        node.cordoned.is_some() && self.index.pods_on(&node.name).is_empty()
    }
}

// === impl Outcome ===

impl Outcome {
    /// The name for a metric label.
    pub(crate) const fn kind(self) -> &'static str {
        match self {
            Self::Unasked(why) => why,
            Self::Emptied => "emptied",
            Self::Gone => "gone",
            Self::CalledOff => "called-off",
            Self::NothingNew => "nothing-new",
            Self::Foreign => "foreign",
            Self::Overdue => "overdue",
            Self::Duplicate => "duplicate",
            Self::Left => "left",
        }
    }
}

impl Event {
    fn is_overdue(&self, now: Timestamp) -> bool {
        let deadline = match self.kind.notice() {
            Some(NoticeKind::Interruption { deadline } | NoticeKind::Maintenance { deadline }) => {
                deadline
            }
            Some(NoticeKind::Rebalance) | None => self.at,
        };
        OVERDUE_AFTER.after(deadline) <= now
    }
}
