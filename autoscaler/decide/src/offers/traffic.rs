//! What machines are seen to answer, beside what they were calibrated to.
//!
//! A calibration is one machine in one hour with one picture. Traffic tells what machines do with the real ones: requests
//! that a pod answered, over the time in which its model ran. That is what it would answer if its model ran all the time,
//! so it is told only by pods whose model ran for much of the time. It is an estimate, so it is bound to a factor of the
//! calibration; of several pods the median counts, and it moves slowly. All of that so that one odd pod, or one odd hour,
//! does not turn the fleet over.

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{Machine, Throughput};
use crate::{
    cluster::{Observation, PodPhase},
    freshness::{Aged, Freshness, Standing},
    units::{InstanceType, Millis, NodeName, PodName, Ratio, Requests},
};

/// When traffic counts, and how much.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TrafficPolicy {
    /// The time over which it is counted.
    pub window_ms: Millis,
    /// A pod that answered fewer requests in the window tells nothing.
    pub requests_min: Requests,
    /// A pod whose model ran for less of the window tells nothing: what it would answer if it ran all the time would be
    /// guessed.
    pub busy_min: Ratio,
    /// No more than so many times the calibration, and no less than that part of it; at least 1.
    pub bound: f64,
    /// In this time half of the way to what is measured now is gone.
    pub half_life_ms: Millis,
    /// How old a count may be to be taken in, and how old what was measured may be to be used.
    pub freshness: Freshness,
}

/// What pods did of late.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Traffic {
    /// How long ago it was counted.
    pub age_ms: Millis,
    /// By pod.
    pub pods: BTreeMap<PodName, Work>,
}

/// What one pod did in the window.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Work {
    /// Requests answered.
    pub requests: Requests,
    /// How long its models ran, added up.
    pub busy_ms: Millis,
}

/// What the machines of a type were seen to answer.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Measurement {
    /// Of one machine with as many pods as it takes, smoothed.
    pub per_second: Throughput,
    /// When it was counted last.
    pub at: Timestamp,
}

/// The throughput that counts for a machine type, and why.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Rate {
    /// The type.
    pub instance_type: InstanceType,
    /// Requests per second of one machine.
    pub per_second: Throughput,
    /// What it was calibrated to.
    pub calibrated: Throughput,
    /// Which of the two kinds of knowledge it is.
    pub source: Source,
    /// Pods that tell something now.
    pub pods: u32,
    /// The measurement lies outside of the bound, and the bound counts.
    pub bound: bool,
}

/// Where a throughput is known from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Source {
    /// It was calibrated: nothing is known of its traffic, or nothing that is young enough.
    Calibration,
    /// Its traffic was measured.
    Traffic,
}

/// The throughput that counts for each of these machines, and what is remembered for the next time.
pub fn rates(
    policy: &TrafficPolicy,
    machines: &[Machine],
    (seen, traffic): (&Observation, Option<&Traffic>),
    memory: &mut BTreeMap<InstanceType, Measurement>,
) -> Vec<Rate> {
    let now = seen.at;
    memory.retain(|_, known| policy.judge(known, now).is_usable());
    let fresh = traffic.filter(|traffic| traffic.age_ms <= policy.freshness.warn);
    let mut told = fresh.map(|traffic| policy.told(seen, traffic)).unwrap_or_default();
    let rate = |machine: &Machine| {
        let Machine { instance_type, throughput: calibrated, pods_max } = machine.clone();
        let mut per_pod = told.remove(&instance_type).unwrap_or_default();
        let pods = u32::try_from(per_pod.len()).unwrap_or(u32::MAX);
        if let (Some(median), Some(traffic)) = (median(&mut per_pod), fresh) {
            let at = traffic.age_ms.before(now);
            let measured = median * f64::from(pods_max.max(1));
            let known = memory.entry(instance_type.clone());
            // From the calibration on, so that a first count moves nothing by itself.
            let known = known.or_insert(Measurement { per_second: calibrated, at });
            known.learn(measured, at, policy.half_life_ms);
        }
        let known = memory.get(&instance_type);
        let (per_second, bound) =
            known.map_or((calibrated, false), |known| policy.within(known.per_second, calibrated));
        let source = if known.is_some() { Source::Traffic } else { Source::Calibration };
        Rate { instance_type, per_second, calibrated, source, pods, bound }
    };
    machines.iter().map(rate).collect()
}

/// The lower one of the two in the middle.
fn median(values: &mut [f64]) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    values.get(values.len().saturating_sub(1) / 2).copied()
}

// === impl TrafficPolicy ===

impl Default for TrafficPolicy {
    fn default() -> Self {
        Self {
            // Two scrapes a minute are twenty samples; a burst is over sooner.
            window_ms: Millis::from_secs(600),
            requests_min: Requests(200),
            busy_min: Ratio::from_percent(50),
            bound: 2.0,
            half_life_ms: Millis::from_secs(600),
            // What was seen yesterday is still seen, and the night is quiet.
            freshness: Freshness {
                warn: Millis::from_secs(300),
                expired: Millis::from_secs(86_400),
            },
        }
    }
}

impl TrafficPolicy {
    fn judge(&self, known: &Measurement, now: Timestamp) -> Standing {
        let age = Millis::between(known.at, now);
        self.freshness.judge(Some(&Aged { value: (), at: Millis::ZERO }), age)
    }

    /// Requests per second of each pod that tells something, by the type of its machine.
    fn told(&self, seen: &Observation, traffic: &Traffic) -> BTreeMap<InstanceType, Vec<f64>> {
        let nodes: BTreeMap<&NodeName, &InstanceType> =
            seen.nodes.iter().map(|node| (&node.name, &node.offering.instance_type)).collect();
        let mut counted = BTreeSet::new();
        let mut told = BTreeMap::<_, Vec<f64>>::new();
        for pod in seen.pods.iter().filter(|pod| pod.phase == PodPhase::Ready) {
            let instance_type = pod.node.as_ref().and_then(|node| nodes.get(node));
            let work = traffic.pods.get(&pod.name).and_then(|work| self.per_second(*work));
            if let (Some(instance_type), Some(work)) = (instance_type, work)
                && counted.insert(&pod.name)
            {
                told.entry(InstanceType::clone(instance_type)).or_default().push(work);
            }
        }
        told
    }

    /// What a pod answers if its models run all the time.
    fn per_second(&self, work: Work) -> Option<f64> {
        let enough = self.window_ms.as_secs_f64() * self.busy_min.get();
        if work.requests < self.requests_min || work.busy_ms.as_secs_f64() < enough {
            return None;
        }
        // Models that ran at the same time ran for longer than the window, which is how long it took.
        let took = work.busy_ms.min(self.window_ms).as_secs_f64();
        (took > 0.0).then(|| work.requests.0 as f64 / took)
    }

    /// As much of a measurement as counts. Is it less, or more, than was measured?
    fn within(&self, measured: Throughput, calibrated: Throughput) -> (Throughput, bool) {
        let factor = self.bound.max(1.0);
        let (low, high) = (calibrated.0 / factor, calibrated.0 * factor);
        let within = Throughput(measured.0.clamp(low, high));
        (within, within != measured)
    }
}

// === impl Measurement ===

impl Measurement {
    /// A count of a moment that is not known yet moves what is known part of the way.
    fn learn(&mut self, measured: f64, at: Timestamp, half_life: Millis) {
        let passed = Millis::between(self.at, at);
        if passed == Millis::ZERO || !(measured.is_finite() && measured > 0.0) {
            return;
        }
        let kept = (-(passed.0 as f64) / half_life.0.max(1) as f64).exp2();
        self.per_second.0 = self.per_second.0 * kept + measured * (1.0 - kept);
        self.at = at;
    }
}

// === impl Source ===

impl Source {
    /// The name for a metric label.
    pub const fn kind(self) -> &'static str {
        match self {
            Self::Calibration => "calibration",
            Self::Traffic => "traffic",
        }
    }
}
