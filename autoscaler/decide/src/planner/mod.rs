//! The one ordered list of what to do with the nodes: `plan(&Policy, &Snapshot, Memory) -> (Plan, Memory)`.
//!
//! The order is the policy: first what a provisioner must know before anything makes it buy, then what a notice forces,
//! then what is missing, then what is too much.

mod action;
mod afford;
mod draft;
mod give_back;
mod memory;
mod provision;
mod reason;
mod room;
mod steer;
mod swap;
#[cfg(test)]
mod tests;
mod waits;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use self::draft::Draft;
pub use self::{
    action::{Action, Assumption, Plan, Step},
    memory::Memory,
    reason::Reason,
    swap::{Swap, SwapMemory, Unlucky},
    waits::Waits,
};
use crate::{
    budget::Budget,
    cluster::{Index, Observation, Offering},
    disruption::DisruptionPolicy,
    fleet::FleetPolicy,
    freshness::Freshness,
    offers::{self, OfferPolicy, Traffic},
    pairs,
    steering::SteeringPolicy,
    units::{MicroUsd, Millis, UsdPerHour},
};

/// What is wanted of the nodes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Policy {
    /// What may be bought, and how it is weighed.
    pub offers: OfferPolicy,
    /// Spot or on demand.
    pub fleet: FleetPolicy,
    /// How nodes are emptied.
    pub disruption: DisruptionPolicy,
    /// How a provisioner is steered.
    pub steering: SteeringPolicy,
    /// How old prices may be: once they are stale nothing changes for the sake of a price.
    pub prices: Freshness,
    /// What may be spent.
    pub budget: Budget,
    /// Nodes that may be there at once, besides those that are being emptied. A provisioner's pools are closed when there
    /// are as many; it may pass that by what it buys in one go.
    pub nodes_max: u32,
    /// A node that is not needed is given back after running nothing for so long. Where a provisioner buys, that is its own
    /// to decide.
    pub empty_after_ms: Millis,
    /// A machine that is not ready after so long is given back, and its offering gets a bad mark.
    pub launch_timeout_ms: Millis,
    /// A node that the provider takes within its free first hour is left to it, and waited for so long past the deadline,
    /// since a provider may be late. Zero: it is given back like any other.
    pub refund_wait_ms: Millis,
    /// An action whose effect is not seen is asked for again after so long.
    pub ask_again_after_ms: Millis,
}

/// What a plan is made from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Snapshot {
    /// The cluster.
    pub seen: Observation,
    /// The price of each offering now.
    #[serde(with = "pairs")]
    pub prices: BTreeMap<Offering, UsdPerHour>,
    /// How long ago the market last told prices; none before it has.
    #[serde(default)]
    pub price_age_ms: Option<Millis>,
    /// What was spent on nodes in this calendar month, in UTC, refunds taken off; none while that is not known.
    #[serde(default)]
    pub spent_this_month: Option<MicroUsd>,
    /// What pods answered of late, where that is counted.
    #[serde(default)]
    pub traffic: Option<Traffic>,
}

/// What to do now. The same input gives the same plan.
pub fn plan(policy: &Policy, snapshot: &Snapshot, mut memory: Memory) -> (Plan, Memory) {
    let index = Index::of(&snapshot.seen);
    let known = (&snapshot.seen, snapshot.traffic.as_ref());
    let OfferPolicy { machines, traffic, .. } = &policy.offers;
    let rates = offers::rates(traffic, machines, known, &mut memory.measured);
    let policy = &Policy { offers: policy.offers.with_rates(&rates), ..policy.clone() };
    let mut draft = Draft::new(policy, snapshot, &index, memory);
    draft.plan.rates = rates;
    draft.heed_notices();
    draft.heed_price_age();
    draft.heed_budget();
    draft.split();
    if let Some(provisioner) = &snapshot.seen.provisioner {
        draft.steer(provisioner);
        draft.follow_swap();
        draft.hold_evictions();
        draft.protect();
        draft.empty_nodes();
        draft.return_to_spot();
    } else {
        draft.empty_nodes();
        draft.provision();
        draft.consolidate();
    }
    draft.give_back();
    draft.finish()
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            offers: OfferPolicy::default(),
            fleet: FleetPolicy::default(),
            disruption: DisruptionPolicy::default(),
            steering: SteeringPolicy::default(),
            // They are asked for every few minutes and change a few times a day.
            prices: Freshness { warn: Millis::from_secs(3600), expired: Millis::from_secs(86_400) },
            budget: Budget::default(),
            nodes_max: 100,
            empty_after_ms: Millis::from_secs(60),
            launch_timeout_ms: Millis::from_secs(600),
            refund_wait_ms: Millis::from_secs(300),
            ask_again_after_ms: Millis::from_secs(10),
        }
    }
}
