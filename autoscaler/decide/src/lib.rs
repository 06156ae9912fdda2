//! Every choice that Spotscale makes, as pure functions. No I/O, no clock, no async, no randomness.
//!
//! Time is an argument, and so is a seed where one is needed. A refusal or a binding limit is a typed `Reason` that the
//! callers turn into an event, a metric label and a log field. Everything serialises, so that a decision can be dumped
//! with all that it saw and be run again.
//!
//! | module | question it answers |
//! |---|---|
//! | [`units`] | what are we counting in? |

pub mod units;
