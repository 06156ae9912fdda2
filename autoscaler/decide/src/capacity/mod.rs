//! How many replicas keep the latency promise: the smallest N for which `P(wait + service <= SLO) >= quantile`.
//!
//! The replicas are one M/G/k queue with `k = N * concurrency` slots: Poisson arrivals, any service time, first come first
//! served (which a front that holds requests and releases them to free slots is). See [`wait`] for what is approximate.

mod erlang;
pub mod service_time;
pub mod wait;

use std::{fmt, num::NonZeroU32};

use serde::{Deserialize, Serialize};

pub use service_time::ServiceTime;

use crate::units::{Millis, PerSecond, Ratio, Replicas, Requests};

/// More replicas than any service is given; where the model asks for more, it says this many.
pub const REPLICAS_MAX: Replicas = Replicas(100_000);

/// What the replicas must carry.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Load {
    /// Arrivals.
    pub arrivals: PerSecond,
    /// Service time of one request, with as many beside it as `concurrency` says.
    pub service: ServiceTime,
    /// Requests that one replica serves at a time.
    pub concurrency: NonZeroU32,
    /// Requests that wait already.
    pub backlog: Requests,
    /// How long the oldest of them has waited, as far as that excuses them (see [`Promise::drain`]).
    pub backlog_age: Millis,
}

/// What is promised.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Promise {
    /// Wait and service together take at most this long...
    pub slo: Millis,
    /// ...for this share of the requests.
    pub quantile: Ratio,
    /// No more than this share of the slots is busy on average, however patient the SLO is.
    pub utilisation_max: Ratio,
    /// A backlog is gone after this, plus its age. The age counts because what piled up while ordered replicas were
    /// starting would otherwise order ever more of them; with it the backlog can at most double the count.
    pub drain: Millis,
}

/// What sets the number of replicas.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Binding {
    /// Nothing arrives and nothing waits.
    Nothing,
    /// The latency promise.
    Slo,
    /// The utilisation limit.
    Utilisation,
    /// The backlog.
    Backlog,
    /// Service alone takes longer than the SLO allows: no number of replicas keeps it, so the utilisation limit decides.
    ServiceExceedsSlo {
        /// Share of the requests whose service alone is within the SLO.
        within: Ratio,
    },
}

/// How many replicas a load needs, and what says so.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Need {
    /// The smallest number that will do.
    pub replicas: Replicas,
    /// The constraint that asks for it.
    pub binding: Binding,
}

impl Default for Promise {
    fn default() -> Self {
        Self {
            // The usual bar for an interactive answer, kept for all but one in twenty.
            slo: Millis(500),
            quantile: Ratio::from_percent(95),
            // The model trusts a measured rate; a fifth spare is what a wrong measurement costs.
            utilisation_max: Ratio::from_percent(80),
            // Twenty times the SLO: a wave is worked off before people leave, without a replica per request.
            drain: Millis::from_secs(10),
        }
    }
}

impl Load {
    /// Slots busy on average: arrivals x service time (Little's law). Cut at a thousand million.
    pub fn offered(&self) -> f64 {
        (self.arrivals.get() * self.service.mean_seconds()).min(1e9)
    }

    fn replicas_for(&self, slots: f64) -> Replicas {
        let replicas = (slots / f64::from(self.concurrency.get())).ceil();
        // A float that is too large, or NaN, saturates in the cast.
        Replicas(replicas as u32).min(REPLICAS_MAX)
    }
}

impl Binding {
    /// A label for metrics.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Nothing => "nothing",
            Self::Slo => "slo",
            Self::Utilisation => "utilisation",
            Self::Backlog => "backlog",
            Self::ServiceExceedsSlo { .. } => "service_exceeds_slo",
        }
    }
}

impl fmt::Display for Binding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nothing => f.write_str("no load needs"),
            Self::Slo => f.write_str("the latency promise needs"),
            Self::Utilisation => f.write_str("the utilisation limit needs"),
            Self::Backlog => f.write_str("the backlog needs"),
            Self::ServiceExceedsSlo { within } => {
                let percent = within.get() * 100.0;
                write!(f, "service alone keeps the SLO for {percent:.1} % only; utilisation needs")
            }
        }
    }
}

/// The replicas that `load` needs to keep `promise`. Never falls when the load rises.
pub fn needed(load: &Load, promise: &Promise) -> Need {
    let by_latency = for_latency(load, promise);
    let by_backlog = Need { replicas: for_backlog(load, promise), binding: Binding::Backlog };
    if by_backlog.replicas > by_latency.replicas { by_backlog } else { by_latency }
}

fn for_latency(load: &Load, promise: &Promise) -> Need {
    if load.offered() <= 0.0 {
        return Need { replicas: Replicas::ZERO, binding: Binding::Nothing };
    }
    // The limit must be above zero for the quotient to mean anything; one percent is idle enough.
    let by_utilisation =
        load.replicas_for(load.offered() / promise.utilisation_max.get().max(0.01));
    let within = wait::share_within(promise.slo, &load.service, None);
    if within < promise.quantile {
        let binding = Binding::ServiceExceedsSlo { within };
        return Need { replicas: by_utilisation, binding };
    }
    let keeps = |replicas: Replicas| {
        let slots = f64::from(replicas.0) * f64::from(load.concurrency.get());
        let queue = wait::Queue::new(load.offered(), slots, &load.service);
        wait::share_within(promise.slo, &load.service, Some(&queue)) >= promise.quantile
    };
    match smallest(by_utilisation.max(Replicas(1)), keeps) {
        replicas if replicas > by_utilisation => Need { replicas, binding: Binding::Slo },
        replicas => Need { replicas, binding: Binding::Utilisation },
    }
}

/// Slots for what arrives, plus slots that work the backlog off in time.
fn for_backlog(load: &Load, promise: &Promise) -> Replicas {
    if load.backlog == Requests::ZERO {
        return Replicas::ZERO;
    }
    let time = promise.drain.saturating_add(load.backlog_age).max(Millis(1)).as_secs_f64();
    let work = load.backlog.0 as f64 * load.service.mean_seconds();
    load.replicas_for(load.offered() + work / time).max(Replicas(1))
}

/// The smallest number from `least` on that `keeps`, which must stay true once it is: doubling steps, then bisection.
fn smallest(least: Replicas, keeps: impl Fn(Replicas) -> bool) -> Replicas {
    let (mut fails, mut holds, mut step) = (least.0.saturating_sub(1), least.0, 1);
    while holds < REPLICAS_MAX.0 && !keeps(Replicas(holds)) {
        fails = holds;
        holds = holds.saturating_add(step).min(REPLICAS_MAX.0);
        step *= 2;
    }
    while holds - fails > 1 {
        let middle = fails + (holds - fails) / 2;
        if keeps(Replicas(middle)) {
            holds = middle;
        } else {
            fails = middle;
        }
    }
    Replicas(holds)
}
