//! Why a number of replicas is what it is: every limit that binds, every refusal, everything worth telling.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::signals::Signal;
use crate::{
    capacity::Binding,
    freshness::Standing,
    units::{Millis, PriceRatio, Ratio, Replicas, Requests},
};

/// One ground of a decision. [`Reason::kind`] is its metric label, `Display` its sentence.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(tag = "reason", rename_all = "snake_case")]
pub enum Reason {
    /// The queueing model asks for this many.
    Needed {
        /// How many.
        replicas: Replicas,
        /// Which of its constraints asks.
        binding: Binding,
    },
    /// Running requests occupy this many; a request that runs is not taken its replica from.
    Running {
        /// How many.
        replicas: Replicas,
    },
    /// A service that has just been busy keeps one until it is idle.
    NotYetIdle {
        /// How long nothing has happened.
        quiet: Millis,
        /// How long nothing must happen.
        idle_after: Millis,
    },
    /// Nothing held, in flight or arriving for long enough: zero.
    Idle {
        /// How long nothing has happened.
        quiet: Millis,
    },
    /// `min` or the warm floor asks for more than the load does.
    Floor {
        /// The floor.
        replicas: Replicas,
    },
    /// `max` allows less than the load needs: the promise is not kept.
    Ceiling {
        /// What the load needs.
        needed: Replicas,
        /// The ceiling.
        max: Replicas,
    },
    /// Service time is (partly) the configured guess, for want of measurements.
    ServiceTimeGuessed {
        /// The mean that was reckoned with.
        mean: Millis,
    },
    /// Fewer would do now, but have not been enough for the whole window.
    Stabilising {
        /// What would do now.
        enough: Replicas,
        /// The window.
        window: Millis,
    },
    /// Fewer would do, but nobody has watched for a whole window yet.
    HistoryShort {
        /// How long there has been unbroken data.
        watched: Millis,
        /// The window.
        window: Millis,
    },
    /// A shrink is vetoed: it would make the remaining GPUs too busy.
    GpuBusy {
        /// Their utilisation now.
        utilisation: Ratio,
        /// The fewest replicas whose GPUs would not be too busy.
        least: Replicas,
    },
    /// Requests wait while the GPUs idle: the bottleneck is elsewhere, and replicas may not help.
    QueueWithIdleGpu {
        /// Requests held.
        held: Requests,
        /// GPU utilisation.
        utilisation: Ratio,
    },
    /// A signal that is not fresh forbids a growth.
    GrowthWithout {
        /// The signal.
        signal: Signal,
        /// What is wrong with it.
        standing: Standing,
    },
    /// A signal that is not fresh forbids a shrink.
    ShrinkWithout {
        /// The signal.
        signal: Signal,
        /// What is wrong with it.
        standing: Standing,
    },
    /// Nothing usable is known of the demand: no number can be given.
    DemandUnknown {
        /// What is wrong with it.
        standing: Standing,
    },
    /// A configured signal is not fresh, and that forbids nothing here.
    NotFresh {
        /// The signal.
        signal: Signal,
        /// What is wrong with it.
        standing: Standing,
    },
    /// Ordered replicas are still starting; they count as capacity.
    ColdStart {
        /// How many.
        pending: Replicas,
    },
    /// Ordered replicas have not come in time.
    Overdue {
        /// How many.
        pending: Replicas,
        /// Since the last of them was ordered.
        waited: Millis,
    },
    /// The price is high, but has not been for long enough to count: a spike alone moves nothing.
    PriceSpike {
        /// Price over on-demand price.
        price: PriceRatio,
        /// How long it has been high.
        lasted: Millis,
        /// How long it has to be.
        dear_after: Millis,
    },
    /// The price has been high for long enough to hurry a shrink and lower the warm floor.
    PriceDear {
        /// Price over on-demand price.
        price: PriceRatio,
    },
    /// The HPA will do nothing about a number so near to what it has, unless the user has set its tolerance.
    HpaDeadBand {
        /// How many there should be.
        desired: Replicas,
        /// How many the HPA keeps.
        kept: Replicas,
    },
}

impl Reason {
    /// A label for metrics.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Needed { binding, .. } => binding.kind(),
            Self::Running { .. } => "running",
            Self::NotYetIdle { .. } => "not_yet_idle",
            Self::Idle { .. } => "idle",
            Self::Floor { .. } => "floor",
            Self::Ceiling { .. } => "ceiling",
            Self::ServiceTimeGuessed { .. } => "service_time_guessed",
            Self::Stabilising { .. } => "stabilising",
            Self::HistoryShort { .. } => "history_short",
            Self::GpuBusy { .. } => "gpu_busy",
            Self::QueueWithIdleGpu { .. } => "queue_with_idle_gpu",
            Self::GrowthWithout { .. } => "growth_without",
            Self::ShrinkWithout { .. } => "shrink_without",
            Self::DemandUnknown { .. } => "demand_unknown",
            Self::NotFresh { .. } => "not_fresh",
            Self::ColdStart { .. } => "cold_start",
            Self::Overdue { .. } => "overdue",
            Self::PriceSpike { .. } => "price_spike",
            Self::PriceDear { .. } => "price_dear",
            Self::HpaDeadBand { .. } => "hpa_dead_band",
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Needed { replicas, binding } => write!(f, "{binding} {replicas}"),
            Self::Running { replicas } => write!(f, "running requests occupy {replicas}"),
            Self::NotYetIdle { quiet, idle_after } => {
                write!(f, "quiet for {quiet} of the {idle_after} that lead to zero")
            }
            Self::Idle { quiet } => write!(f, "nothing held, running or arriving for {quiet}"),
            Self::Floor { replicas } => write!(f, "the floor is {replicas}"),
            Self::Ceiling { needed, max } => write!(f, "{needed} needed, but max is {max}"),
            Self::ServiceTimeGuessed { mean } => {
                write!(f, "too few requests measured: reckoned with a service time of {mean}")
            }
            Self::Stabilising { enough, window } => {
                write!(f, "{enough} would do, but not for all of the last {window}")
            }
            Self::HistoryShort { watched, window } => {
                write!(f, "no shrink with {watched} of data for a window of {window}")
            }
            Self::GpuBusy { utilisation, least } => {
                write!(f, "GPUs are {} busy: at least {least} stay", Percent(*utilisation))
            }
            Self::QueueWithIdleGpu { held, utilisation } => {
                let busy = Percent(*utilisation);
                write!(f, "{held} held while GPUs are {busy} busy: the bottleneck is elsewhere")
            }
            Self::GrowthWithout { signal, standing } => {
                write!(f, "no growth: the {} signal {standing}", signal.name())
            }
            Self::ShrinkWithout { signal, standing } => {
                write!(f, "no shrink: the {} signal {standing}", signal.name())
            }
            Self::NotFresh { signal, standing } => {
                write!(f, "the {} signal {standing}", signal.name())
            }
            Self::DemandUnknown { standing } => write!(f, "the demand signal {standing}"),
            Self::ColdStart { pending } => write!(f, "{pending} still starting"),
            Self::Overdue { pending, waited } => {
                write!(f, "{pending} have not come {waited} after they were ordered")
            }
            Self::PriceSpike { price, lasted, dear_after } => {
                let percent = price.get() * 100.0;
                write!(f, "the price is {percent:.0} % of on-demand, for {lasted} of {dear_after}")
            }
            Self::PriceDear { price } => {
                let percent = price.get() * 100.0;
                write!(f, "the price is {percent:.0} % of on-demand: quicker to shrink")
            }
            Self::HpaDeadBand { desired, kept } => {
                let rule = "held back by the HPA dead band unless tolerance is 0";
                write!(f, "{desired} is within 10 % of {kept}: {rule}")
            }
        }
    }
}

struct Percent(Ratio);

impl fmt::Display for Percent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.0} %", self.0.get() * 100.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_reads_as_a_sentence_and_dumps_with_its_name() {
        let within = Ratio::from_percent(40);
        let slow = Binding::ServiceExceedsSlo { within };
        let needed = Reason::Needed { replicas: Replicas(3), binding: slow };
        let sentence = "service alone keeps the SLO for 40.0 % only; utilisation needs 3";
        assert_eq!((needed.to_string().as_str(), needed.kind()), (sentence, "service_exceeds_slo"));
        let standing = Standing::Expired { age: Millis(61_000) };
        let held = Reason::ShrinkWithout { signal: Signal::Gpu, standing };
        assert_eq!(held.to_string(), "no shrink: the gpu signal has expired (61000 ms old)");
        let dump = serde_json::to_value(held).unwrap();
        assert_eq!((&dump["reason"], &dump["signal"]), (&"shrink_without".into(), &"gpu".into()));
    }
}
