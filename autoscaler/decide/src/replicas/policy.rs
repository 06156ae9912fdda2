//! What the user asks for: the promise, the limits, and how much each signal may say. Every default carries its argument.

use std::num::NonZeroU32;

use serde::{Deserialize, Serialize};

use crate::{
    capacity::{Promise, ServiceTime},
    freshness::Freshness,
    units::{Millis, PriceRatio, Ratio, Replicas},
};

/// How replicas are chosen for one service.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Policy {
    /// Never fewer, also when idle. Above 0 the service never sleeps.
    pub min: Replicas,
    /// Never more.
    pub max: Replicas,
    /// Kept warm when idle, unless the price says otherwise (see [`PricePolicy::warm_when_dear`]).
    pub warm: Replicas,
    /// The latency promise.
    pub promise: Promise,
    /// Requests that one replica serves at a time, until a front says how many it gives.
    pub concurrency: NonZeroU32,
    /// Service time before any is measured; it fades as measurements come in.
    pub service_prior: ServiceTime,
    /// Zero only after nothing was held, in flight or arriving for this long. KEDA's `cooldownPeriod` comes on top.
    pub idle_after: Millis,
    /// A smaller number must have been enough for this whole time.
    pub stabilisation: Millis,
    /// How much more than the present arrivals the smaller number must be able to carry.
    pub shrink_margin: Ratio,
    /// How long an ordered replica may take before it is overdue; also the most that a backlog's age excuses (see
    /// [`Promise::drain`]).
    pub cold_start: Millis,
    /// How old the fronts' reports may be.
    pub demand: Freshness,
    /// `None` where no GPU signal is configured.
    pub gpu: Option<GpuPolicy>,
    /// `None` where no price signal is configured.
    pub price: Option<PricePolicy>,
}

/// What GPU utilisation may do: veto a shrink. It never asks for replicas, since one busy kernel counts as busy.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct GpuPolicy {
    /// How old the signal may be.
    pub freshness: Freshness,
    /// What happens without it.
    pub without: Without,
    /// The GPUs that remain after a shrink may be at most this busy.
    pub busy: Ratio,
    /// Below this a GPU counts as idle: its work is no ground to keep it.
    pub idle: Ratio,
}

/// What the price may do: hurry a shrink and lower the warm floor. Never the number that the promise needs.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct PricePolicy {
    /// How old the signal may be.
    pub freshness: Freshness,
    /// What happens without it.
    pub without: Without,
    /// At or above this a machine is dear.
    pub dear: PriceRatio,
    /// It must have been dear for this long: a spike alone moves nothing.
    pub dear_after: Millis,
    /// [`Policy::stabilisation`] while dear.
    pub stabilisation_when_dear: Millis,
    /// [`Policy::warm`] while dear.
    pub warm_when_dear: Replicas,
}

/// What to do in either direction while a configured signal is not fresh.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Without {
    /// When more replicas are needed. A service at zero wakes in any case.
    pub growth: Fallback,
    /// When fewer would do.
    pub shrink: Fallback,
}

/// What to do while a configured signal is not fresh.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Fallback {
    /// Keep the number.
    Hold,
    /// Decide without the signal.
    Ignore,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            min: Replicas::ZERO,
            max: Replicas(20),
            warm: Replicas::ZERO,
            promise: Promise::default(),
            // Right for every model server; too careful for one that batches.
            concurrency: NonZeroU32::MIN,
            service_prior: ServiceTime::default(),
            // A minute lets every third request of sparse office traffic wait for a machine, and saves 6 % more.
            idle_after: Millis::from_secs(600),
            // What the Kubernetes HPA waits by default before it shrinks.
            stabilisation: Millis::from_secs(300),
            // Two and a half deviations of the arrivals in a stable window at five per second.
            shrink_margin: Ratio::from_percent(15),
            // A node, an image and a model: the slow end of what clusters with image caching show.
            cold_start: Millis::from_secs(120),
            // Five missed heartbeats of a second each; at ten the front itself is forgotten.
            demand: Freshness { warn: Millis::from_secs(5), expired: Millis::from_secs(10) },
            gpu: None,
            price: None,
        }
    }
}

impl Default for GpuPolicy {
    fn default() -> Self {
        Self {
            // An exporter scraped every 15 to 30 seconds: two scrapes missed is a warning, one more is an outage.
            freshness: Freshness { warn: Millis::from_secs(45), expired: Millis::from_secs(60) },
            without: Without { growth: Fallback::Ignore, shrink: Fallback::Hold },
            busy: Ratio::from_percent(90),
            idle: Ratio::from_percent(10),
        }
    }
}

impl Default for PricePolicy {
    fn default() -> Self {
        Self {
            // Spot prices move a few times a day.
            freshness: Freshness { warn: Millis::from_secs(900), expired: Millis::from_secs(7200) },
            without: Without { growth: Fallback::Ignore, shrink: Fallback::Ignore },
            // With a tenth or less to save, spot no longer pays for its interruptions.
            dear: PriceRatio::from_percent(90),
            dear_after: Millis::from_secs(300),
            stabilisation_when_dear: Millis::from_secs(120),
            warm_when_dear: Replicas::ZERO,
        }
    }
}
