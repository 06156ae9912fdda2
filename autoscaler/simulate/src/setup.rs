//! What is simulated: the policies under test, and the parameters of the world around them. Every default carries its
//! source.

use jiff::Timestamp;
use serde::Serialize;
use spotscale_decide::{
    admission::Limits,
    capacity::ServiceTime,
    cluster::{CapacityType, Pool},
    ledger::Baseline,
    offers::Machine,
    planner, replicas,
    units::{Millis, Requests},
};

use crate::hpa::{Behavior, Rules, Step};

/// One run.
#[derive(Debug, Clone)]
pub struct Setup {
    /// The same seed and the same inputs give the same report.
    pub seed: u64,
    /// The moment that the simulation begins; calendar months, and so monthly budgets, are counted from it.
    pub begins_at: Timestamp,
    /// How long it lasts.
    pub lasts: Millis,
    /// How machines are chosen and left.
    pub planner: planner::Policy,
    /// What the spend is held against.
    pub baseline: Baseline,
    /// How often the prices are looked at.
    pub price_refresh: Millis,
    /// The service.
    pub service: Service,
    /// KEDA and the HPA.
    pub scaling: Scaling,
    /// What starting and ending takes.
    pub delays: Delays,
    /// How spot capacity is taken away.
    pub spot: Spot,
    /// The pools of the provisioner that buys machines.
    pub pools: Vec<Pool>,
}

/// The service, and the front before it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Service {
    /// How replicas are chosen; also the requests that a replica is given at a time.
    pub policy: replicas::Policy,
    /// How long a request is served where `concurrency` of them are at the replica; none for what the machine's
    /// calibrated throughput makes of it.
    pub mean: Option<Millis>,
    /// How much that varies: 0 always the same, 1 as an exponential.
    pub scv: f64,
    /// What may be held.
    pub limits: Limits,
    /// Bytes of a request's body.
    pub body_bytes: u64,
    /// From arrival to answer, at most.
    pub timeout: Millis,
    /// A request whose replica died is sent again: its path is declared idempotent.
    pub retries: bool,
    /// The cold start that is assumed until one was measured.
    pub cold_start_guess: Millis,
}

/// The `ScaledObject`.
#[derive(Debug, Clone, PartialEq)]
pub struct Scaling {
    /// `pollingInterval`.
    pub polling: Millis,
    /// `cooldownPeriod`.
    pub cooldown: Millis,
    /// The controller manager's `--horizontal-pod-autoscaler-sync-period`.
    pub sync: Millis,
    /// The HPA's bounds and behaviour.
    pub behavior: Behavior,
}

/// What starting and ending takes. Each delay is drawn from 80 % to 120 % of what stands here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Delays {
    /// From buying a machine to a node that takes pods.
    pub boot: Millis,
    /// From there to a ready replica, when the node has not run one before: image, model, warming.
    pub first_start: Millis,
    /// The same on a node that has the image.
    pub start: Millis,
    /// A pod that is told to end is killed after so long.
    pub grace: Millis,
    /// A node that has run nothing for so long is given back by the provisioner (`consolidateAfter`).
    pub empty_for: Millis,
}

/// How spot capacity is taken away.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Spot {
    /// Between the notice and the end of a node.
    pub notice: Millis,
    /// Between a rebalance recommendation and the notice; zero for none.
    pub rebalance_lead: Millis,
    /// How often a spot node is taken for reasons that no availability series tells, per hour.
    pub interruptions_per_hour: f64,
    /// An offering that could not be had is not asked for again for so long.
    pub unavailable_for: Millis,
}

impl Service {
    /// The service time on a machine: what its throughput allows with all slots of all its pods busy. The calibrated
    /// rate is the one up to which the promise holds, so this errs on the slow side.
    pub(crate) fn time(&self, machine: &Machine) -> ServiceTime {
        let slots = f64::from(self.policy.concurrency.get()) * f64::from(machine.pods_max.max(1));
        let calibrated = slots / machine.throughput.get();
        let mean = self.mean.map_or(calibrated, Millis::as_secs_f64);
        ServiceTime::measured(mean, self.scv).unwrap_or_default()
    }
}

impl Default for Service {
    fn default() -> Self {
        Self {
            policy: replicas::Policy { concurrency: EIGHT, ..replicas::Policy::default() },
            mean: None,
            // One model, pictures of many sizes: less variable than an exponential, and not constant.
            scv: 0.25,
            // The front's own defaults.
            limits: Limits { held_max: Requests(1000), held_bytes_max: 256 << 20 },
            body_bytes: 100_000,
            timeout: Millis::from_secs(120),
            retries: true,
            cold_start_guess: Millis::from_secs(30),
        }
    }
}

/// What the chart gives a replica at a time.
const EIGHT: std::num::NonZeroU32 = std::num::NonZeroU32::MIN.saturating_add(7);

impl Scaling {
    /// As the chart's `ScaledObject` has it, for these bounds.
    pub fn chart(min: u32, max: u32) -> Self {
        let period = Millis::from_secs(15);
        let rules = |step| Rules { stabilization: Millis::ZERO, policies: vec![(step, period)] };
        Self {
            polling: Millis::from_secs(10),
            cooldown: Millis::from_secs(120),
            sync: period,
            behavior: Behavior {
                min: min.max(1),
                max: max.max(1),
                tolerance: 0.0,
                up: rules(Step::Pods(max.max(1))),
                down: rules(Step::Percent(100)),
            },
        }
    }
}

impl Default for Delays {
    fn default() -> Self {
        Self {
            // A spot machine takes one to three minutes until pods run on it.
            boot: Millis::from_secs(120),
            // Together the 180 s that GPU cold starts are commonly reckoned with.
            first_start: Millis::from_secs(60),
            // The 8 to 10 s of a model server that finds its image.
            start: Millis::from_secs(9),
            grace: Millis::from_secs(30),
            // As the example NodePools have it.
            empty_for: Millis::from_secs(120),
        }
    }
}

impl Default for Spot {
    fn default() -> Self {
        Self {
            // EC2: "Spot Instance interruption notices".
            notice: Millis::from_secs(120),
            // Its lead over the notice is not published.
            rebalance_lead: Millis::ZERO,
            // 15 % a month, the middle of what EC2's Spot Instance Advisor lists for small GPU types.
            interruptions_per_hour: 0.0002,
            // Karpenter's memory of an insufficient capacity error.
            unavailable_for: Millis::from_secs(180),
        }
    }
}

/// Two pools as the example `NodePools` have them: spot before on demand. Without a fallback there is spot only.
pub fn pools(fallback: bool) -> Result<Vec<Pool>, spotscale_decide::units::UnitError> {
    let pool = |name: &str, kind, weight| {
        Ok(Pool {
            name: name.parse()?,
            capacity_types: [kind].into(),
            instance_types: None,
            zones: None,
            weight: Some(weight),
            closed: false,
        })
    };
    let spot = pool("spot", CapacityType::Spot, 50)?;
    let on_demand = pool("on-demand", CapacityType::OnDemand, 10)?;
    Ok([Some(spot), fallback.then_some(on_demand)].into_iter().flatten().collect())
}
