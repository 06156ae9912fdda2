//! From measured demand to what the queueing model is asked: which rate, which service time, which backlog.

use super::{Policy, Reason};
use crate::{
    capacity::{Load, Need, ServiceTime, needed},
    demand::{BURST_WINDOW, Demand},
    units::{Millis, PerSecond, Ratio, Replicas},
};

/// Fewer served requests than this are no measurement yet.
const SAMPLES_MIN: f64 = 10.0;

/// How far arrivals in the burst window must be above what Poisson noise explains.
const BURST_DEVIATIONS: f64 = 3.0;

/// What a demand asks for.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Needs {
    /// To keep the promise now.
    pub(super) now: Need,
    /// To keep it with the policy's margin; never less than `now`.
    pub(super) with_margin: Replicas,
    /// To leave every running request its slot.
    pub(super) running: Replicas,
    /// Told when the service time is not (only) measured.
    pub(super) guessed: Option<Reason>,
}

/// What `demand` asks for under `policy`.
pub(super) fn needs(policy: &Policy, demand: &Demand) -> Needs {
    let (service, guessed) = service_time(policy, demand);
    let concurrency = demand.concurrency.unwrap_or(policy.concurrency);
    let load = Load {
        arrivals: arrivals(demand),
        service,
        concurrency,
        backlog: demand.held,
        backlog_age: demand.oldest_held.min(policy.cold_start),
    };
    let raised = Load { arrivals: raise(load.arrivals, policy.shrink_margin), ..load };
    let now = needed(&load, &policy.promise);
    let running = demand.in_flight.0.div_ceil(u64::from(concurrency.get()));
    Needs {
        now,
        with_margin: needed(&raised, &policy.promise).replicas.max(now.replicas),
        running: Replicas(u32::try_from(running).unwrap_or(u32::MAX)),
        guessed,
    }
}

/// The stable rate, or the burst rate less three of its own standard deviations where that is more. A thousand arrivals a
/// second are believed within seconds; two arrivals where there was one are not a burst.
fn arrivals(demand: &Demand) -> PerSecond {
    let count = demand.arrivals_per_second_burst.get() * BURST_WINDOW.as_secs_f64();
    let certain = PerSecond::over(count - BURST_DEVIATIONS * count.sqrt(), BURST_WINDOW);
    if certain > demand.arrivals_per_second_stable {
        certain
    } else {
        demand.arrivals_per_second_stable
    }
}

fn raise(rate: PerSecond, margin: Ratio) -> PerSecond {
    PerSecond::over(rate.get() * (1.0 + margin.get()), Millis::from_secs(1))
}

/// As measured. Until enough is measured: the prior, or the measurement where it is slower.
fn service_time(policy: &Policy, demand: &Demand) -> (ServiceTime, Option<Reason>) {
    let prior = policy.service_prior;
    let time = match demand.service {
        Some(measured) if measured.samples >= SAMPLES_MIN => return (measured.time, None),
        Some(measured) if measured.time.mean_seconds() > prior.mean_seconds() => measured.time,
        _ => prior,
    };
    let mean = Millis((time.mean_seconds() * 1000.0).round() as u64);
    (time, Some(Reason::ServiceTimeGuessed { mean }))
}
