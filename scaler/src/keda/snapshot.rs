//! What a ScaledObject's answers are read from: one decision, with all that it saw. Every call between two decisions
//! reads the same one, so `IsActive` and `GetMetrics` cannot contradict each other.

use serde::Serialize;
use spotscale_decide::{
    freshness::Standing,
    replicas::{Decision, Reason, Scale, Signal, Signals},
    units::{Millis, Replicas, Requests},
};
use tonic::Status;

use super::push::Work;

/// One decision and its grounds.
#[derive(Debug, Serialize)]
pub(crate) struct Snapshot {
    /// Rises by one with every decision on this object.
    pub(crate) id: u64,
    /// When it was made.
    pub(crate) at: Millis,
    /// What was seen.
    pub(crate) signals: Signals,
    /// What was decided.
    pub(crate) decision: Decision,
}

impl Snapshot {
    /// The numbers to answer with, or `UNAVAILABLE`, on which the HPA and KEDA keep what there is.
    pub(crate) fn answer(&self) -> Result<Scale, Status> {
        let reasons = &self.decision.reasons;
        match (self.decision.scale, reasons.iter().find(|reason| is_outage(reason))) {
            (Some(scale), None) => Ok(scale),
            (_, Some(outage)) => Err(Status::unavailable(outage.to_string())),
            (None, None) => Err(Status::unavailable("there is no decision yet")),
        }
    }

    /// How old each signal that was seen is at `now`.
    pub(crate) fn ages(&self, now: Millis) -> impl Iterator<Item = (&'static str, Millis)> {
        let Signals { demand, gpu, price } = &self.signals;
        let ages = [
            (Signal::Demand, demand.as_ref().map(|signal| signal.age(now))),
            (Signal::Gpu, gpu.as_ref().map(|signal| signal.age(now))),
            (Signal::Price, price.as_ref().map(|signal| signal.age(now))),
        ];
        ages.into_iter().filter_map(|(signal, age)| Some((signal.name(), age?)))
    }

    /// What it means for a push stream. A signal that is out does not keep the fronts' own queue from waking a service.
    pub(crate) fn work(&self) -> Work {
        let Some(demand) = &self.signals.demand else { return Work::Unknown };
        let stranded =
            demand.value.held > Requests::ZERO && demand.value.endpoints == Replicas::ZERO;
        match self.decision.scale {
            None => Work::Unknown,
            Some(Scale { active: false, .. }) => Work::None,
            Some(_) if stranded => Work::Stranded,
            Some(_) => Work::Served,
        }
    }
}

/// Whether a number is only held because a configured signal is gone: that is not a number to hand out as known.
fn is_outage(reason: &Reason) -> bool {
    match reason {
        Reason::DemandUnknown { .. } => true,
        Reason::ShrinkWithout { standing, .. } | Reason::GrowthWithout { standing, .. } => {
            matches!(standing, Standing::Expired { .. } | Standing::Missing)
        }
        _ => false,
    }
}
