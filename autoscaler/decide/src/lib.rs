//! Every choice that Spotscale makes, as pure functions. No I/O, no clock, no async, no randomness.
//!
//! Time is an argument, and so is a seed where one is needed. A refusal or a binding limit is a typed `Reason` that the
//! callers turn into an event, a metric label and a log field. Everything serialises, so that a decision can be dumped
//! with all that it saw and be run again.
//!
//! | module | question it answers |
//! |---|---|
//! | [`admission`] | hold, forward (to which tier), or refuse this request? |
//! | [`budget`] | what may be spent? |
//! | [`capacity`] | how many replicas keep the latency promise under that load? |
//! | [`cluster`] | what is there: nodes, pods, notices? |
//! | [`disruption`] | how is a node emptied without losing a request? |
//! | [`fleet`] | how much spot, how much on demand? |
//! | [`demand`] | what do all fronts together hold, serve and see arriving? |
//! | [`freshness`] | how old may a fact be before it no longer counts? |
//! | [`ledger`] | what did it cost, and what would it have cost? |
//! | [`offers`] | which machine does the work for the least money? |
//! | [`planner`] | what is done with the nodes, in which order, and why? |
//! | [`prices`] | what did an offering cost at a moment? |
//! | [`replicas`] | how many replicas should there be now, and why? |
//! | [`steering`] | what is a provisioner told that buys the machines? |
//! | [`units`] | what are we counting in? |

pub mod admission;
pub mod budget;
pub mod capacity;
pub mod cluster;
pub mod demand;
pub mod disruption;
pub mod fleet;
pub mod freshness;
pub mod ledger;
pub mod offers;
mod pairs;
pub mod planner;
pub mod prices;
pub mod replicas;
pub mod steering;
#[cfg(test)]
mod testing;
pub mod units;
