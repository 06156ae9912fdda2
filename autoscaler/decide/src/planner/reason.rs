//! Why a step is in a plan, or is not.

mod text;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{
    cluster::{CapacityType, Offering},
    units::{MicroUsd, Millis, NodeName, PodName, PoolName, UsdPerHour},
};

/// Why a step is in a plan, or why one is missing.
#[derive(
    Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, thiserror::Error,
)]
#[serde(rename_all = "kebab-case", tag = "because")]
pub enum Reason {
    /// The provider takes the node at this moment.
    #[error("the provider takes {node} at {deadline}")]
    Interruption {
        /// The node.
        node: NodeName,
        /// When.
        deadline: Timestamp,
    },
    /// The provider advises to leave the node.
    #[error("the provider advises to leave {node}")]
    Rebalance {
        /// The node.
        node: NodeName,
    },
    /// The provider restarts or retires the machine.
    #[error("the provider restarts or retires {node} at {deadline}")]
    Maintenance {
        /// The node.
        node: NodeName,
        /// When.
        deadline: Timestamp,
    },
    /// What the provider had said of the node no longer stands.
    #[error("the provider keeps {node} after all")]
    NoticeWithdrawn {
        /// The node.
        node: NodeName,
    },
    /// There is too much of its kind: it was chosen to be given back, and so it is emptied.
    #[error("{node} is too much, and so it is emptied")]
    GivenUp {
        /// The node.
        node: NodeName,
    },
    /// The notice is about a node that we do not have: nothing is done.
    #[error("the notice is about {node}, which is not ours")]
    UnknownNode {
        /// The node.
        node: NodeName,
    },
    /// The moment at which the provider wanted the node is past: what is left is told to end at once.
    #[error("the deadline of {node}, {deadline}, is past")]
    PastDeadline {
        /// The node.
        node: NodeName,
        /// The moment.
        deadline: Timestamp,
    },
    /// The pod goes on serving until another does its work.
    #[error("{pod} serves until another does its work")]
    ReplacementFirst {
        /// The pod.
        pod: PodName,
    },
    /// Enough other pods serve.
    #[error("{ready} other pods serve and {wanted} are wanted")]
    Replaced {
        /// Ready pods that stay.
        ready: u32,
        /// Pods that are wanted.
        wanted: u32,
    },
    /// The pod serves nobody.
    #[error("{pod} serves nobody")]
    NotServing {
        /// The pod.
        pod: PodName,
    },
    /// No replacement is ready, and the pod must have ended by the deadline: fewer pods serve than are wanted.
    #[error(
        "no replacement is ready and the deadline is {deadline}: {left} pods of {wanted} go on"
    )]
    DeadlineForces {
        /// The deadline.
        deadline: Timestamp,
        /// Pods that still serve after this.
        left: u32,
        /// Pods that are wanted.
        wanted: u32,
    },
    /// Pods wait for a replacement.
    #[error("{pods} pods on {node} serve until their replacements are ready")]
    AwaitingReplacement {
        /// The node.
        node: NodeName,
        /// Pods there that still serve.
        pods: u32,
    },
    /// The pod is critical, and others on its node have not ended.
    #[error("{pod} is critical and ends after the other pods on {node}")]
    CriticalLast {
        /// The pod.
        pod: PodName,
        /// Where it is.
        node: NodeName,
    },
    /// Another node is being emptied first.
    #[error("{node} waits: another node is being emptied")]
    DrainBudget {
        /// The node that waits.
        node: NodeName,
    },
    /// Pods are wanted and there is no room for them.
    #[error("there is no room for {pods} pods")]
    NoRoom {
        /// Pods without room.
        pods: u32,
    },
    /// Too little spot capacity has been ready for too long: on-demand capacity takes over.
    #[error("spot capacity for {pods} pods has been missing since {since}")]
    SpotGap {
        /// Pods' worth of spot capacity that is missing.
        pods: u32,
        /// Since when.
        since: Timestamp,
    },
    /// No spot offering can be bought now.
    #[error("no spot offering can be bought now")]
    NoSpotOffer,
    /// Nothing at all can be bought now.
    #[error("nothing can be bought now")]
    NoOffer,
    /// There is more capacity of this kind than is wanted, and its pods have room elsewhere.
    #[error("there is {capacity_type} capacity for {pods} pods too many")]
    Surplus {
        /// The kind.
        capacity_type: CapacityType,
        /// Pods' worth of it that is too much.
        pods: u32,
    },
    /// There are as many nodes as are allowed.
    #[error("there may be no more than {nodes_max} nodes")]
    NodeLimit {
        /// The limit.
        nodes_max: u32,
    },
    /// The cheapest machine for the work.
    #[error(
        "{offering} is the cheapest: ${:.4} per million requests", .per_million_requests.as_usd()
    )]
    BestOffer {
        /// The offering.
        offering: Offering,
        /// What a million requests are expected to cost on it.
        per_million_requests: MicroUsd,
    },
    /// The node has run nothing for long enough.
    #[error("{node} has been empty since {since}")]
    Empty {
        /// The node.
        node: NodeName,
        /// Since when.
        since: Timestamp,
    },
    /// The node was emptied and is no longer wanted.
    #[error("{node} was emptied and is not wanted")]
    Drained {
        /// The node.
        node: NodeName,
    },
    /// The provider takes the node in its first hour: it is left to, because then that hour is free.
    #[error("{node} is left for the provider to take at {deadline}: its first hour is then free")]
    RefundAhead {
        /// The node.
        node: NodeName,
        /// When the provider takes it.
        deadline: Timestamp,
    },
    /// The machine did not become ready in time.
    #[error("{node} was not ready within {waited_ms}")]
    NeverReady {
        /// The node.
        node: NodeName,
        /// How long it has been awaited.
        waited_ms: Millis,
    },
    /// The machine served and does not answer any more.
    #[error("{node} has not been heard of since {since}")]
    NotHeardOf {
        /// The node.
        node: NodeName,
        /// Since when.
        since: Timestamp,
    },
    /// The node was left on mere advice not long ago.
    #[error("{node} was left on the provider's advice at {at} already")]
    SurgedLately {
        /// The node.
        node: NodeName,
        /// When.
        at: Timestamp,
    },
    /// The node was bought after its kind was left on mere advice: leaving it as well would only go round in a circle.
    #[error("{node} was bought although {offering} was left at {at}: it is kept")]
    LeftLately {
        /// The node.
        node: NodeName,
        /// Its kind.
        offering: Offering,
        /// When its kind was left.
        at: Timestamp,
    },
    /// No replacement is asked for before the provisioner knows to look elsewhere.
    #[error("{node} waits until the provisioner knows to look elsewhere")]
    SteeringFirst {
        /// The node that waits.
        node: NodeName,
    },
    /// What an hour of a pod's work is expected to cost there, interruptions and the machine's speed counted in.
    #[error("an hour's work on {offering} is expected to cost ${:.4}", .price.as_usd())]
    WorkPrice {
        /// The offering.
        offering: Offering,
        /// As the price of a machine.
        price: UsdPerHour,
    },
    /// The offering was lost, or could not be had, lately.
    #[error("{offering} was lost lately; left alone until {until}")]
    LeftAlone {
        /// The offering.
        offering: Offering,
        /// Until when, if nothing else happens.
        until: Timestamp,
    },
    /// An on-demand machine does the same work for less.
    #[error("{offering} is dearer than the same work on demand")]
    TooDear {
        /// The offering.
        offering: Offering,
    },
    /// It could not be had lately, and is on demand: it stays for sale behind all others.
    #[error("{offering} could not be had lately and comes last")]
    LastResort {
        /// The offering.
        offering: Offering,
    },
    /// It has no price any more, or may not be bought: nothing is told of it.
    #[error("{offering} is not for sale to us")]
    NotForSale {
        /// The offering.
        offering: Offering,
    },
    /// Spot is to be bought before on demand.
    #[error("spot is to be bought first")]
    SpotFirst,
    /// The pool was changed a moment ago.
    #[error("pool {pool} was changed a moment ago and is left until {until}")]
    SteeredLately {
        /// The pool.
        pool: PoolName,
        /// When it may be changed again.
        until: Timestamp,
    },
    /// The prices are too old for anything to change for their sake.
    #[error("the prices are {}: nothing changes for their sake", text::age(*age_ms, *expired))]
    OldPrices {
        /// How old they are; none when there were never any.
        age_ms: Option<Millis>,
        /// They are past the age at which they are used at all.
        expired: bool,
    },
    /// The on-demand node carries what spot could.
    #[error("{node} has carried what spot could since {since}")]
    ReturnToSpot {
        /// The node.
        node: NodeName,
        /// Since when.
        since: Timestamp,
    },
    /// All on the node is replaced, and the replacements must show that they last.
    #[error("what replaces the pods on {node} has been ready since {since} only")]
    AwaitingSteady {
        /// The node.
        node: NodeName,
        /// Since when they have been ready.
        since: Timestamp,
    },
    /// The last replacements landed on demand again: spot is not asked for.
    #[error("spot could not be had when asked for; not tried until {until}")]
    SpotNotHad {
        /// Until when.
        until: Timestamp,
    },
    /// With this the nodes would cost more by the hour than they may.
    #[error("the nodes would cost ${:.4} an hour, and ${:.4} may be spent", .rate.as_usd(), .most.as_usd())]
    HourlyBudget {
        /// What they would cost.
        rate: UsdPerHour,
        /// What they may cost.
        most: UsdPerHour,
    },
    /// The month's budget is spent: what is bought may cost no more than what is given back for it.
    #[error("${:.2} of ${:.2} are spent this month: nothing more is bought", .spent.as_usd(), .most.as_usd())]
    MonthlyBudget {
        /// What was spent.
        spent: MicroUsd,
        /// What may be spent.
        most: MicroUsd,
    },
    /// The ledger is not known yet, so that the month's budget may be spent.
    #[error("what was spent of this month's ${:.2} is not known yet: only replacements are bought", .most.as_usd())]
    SpendUnknown {
        /// What may be spent.
        most: MicroUsd,
    },
    /// The budget by the hour is nearly used up.
    #[error("the nodes cost ${:.4} of the ${:.4} an hour that may be spent", .rate.as_usd(), .most.as_usd())]
    HourlyBudgetNear {
        /// What the nodes cost that are not being emptied.
        rate: UsdPerHour,
        /// What they may cost.
        most: UsdPerHour,
    },
    /// The month's budget is nearly used up.
    #[error("${:.2} of the ${:.2} that may be spent this month are spent", .spent.as_usd(), .most.as_usd())]
    MonthlyBudgetNear {
        /// What was spent.
        spent: MicroUsd,
        /// What may be spent.
        most: MicroUsd,
    },
}
