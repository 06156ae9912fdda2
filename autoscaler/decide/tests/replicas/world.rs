//! One service whose demand a test sets by hand, second by second.

use std::num::NonZeroU32;

use spotscale_decide::{
    capacity::ServiceTime,
    demand::{Demand, MeasuredService},
    freshness::Aged,
    replicas::{Decision, GpuPolicy, Memory, Policy, PricePolicy, Signals, decide},
    units::{Millis, PerSecond, PriceRatio, Ratio, Replicas, Requests},
};

/// Nothing going on; service takes 100 ms, one request at a time.
pub(crate) const QUIET: Demand = Demand {
    held: Requests::ZERO,
    in_flight: Requests::ZERO,
    oldest_held: Millis::ZERO,
    arrivals_per_second_stable: PerSecond::ZERO,
    arrivals_per_second_burst: PerSecond::ZERO,
    last_arrival_at: None,
    service: None,
    endpoints: Replicas::ZERO,
    concurrency: NonZeroU32::new(1),
    fronts: 1,
};

pub(crate) struct World {
    pub(crate) now: Millis,
    pub(crate) policy: Policy,
    pub(crate) demand: Option<Demand>,
    pub(crate) signals: Signals,
    pub(crate) memory: Memory,
    pub(crate) last: Decision,
}

impl World {
    pub(crate) fn new() -> Self {
        Self {
            now: Millis::from_secs(10_000),
            policy: Policy {
                cold_start: Millis::from_secs(60),
                idle_after: Millis::from_secs(60),
                ..Policy::default()
            },
            demand: Some(QUIET),
            signals: Signals::default(),
            memory: Memory::default(),
            last: Decision { scale: None, reasons: Vec::new() },
        }
    }

    pub(crate) fn with_gpu(mut self) -> Self {
        self.policy.gpu = Some(GpuPolicy::default());
        self
    }

    pub(crate) fn with_price(mut self) -> Self {
        self.policy.price = Some(PricePolicy::default());
        self
    }

    /// So many arrivals a second from now on, all of them served in 100 ms by the replicas that were asked for.
    pub(crate) fn load(&mut self, per_second: f64) -> &mut Self {
        let rate = PerSecond::try_from(per_second).unwrap();
        let time = ServiceTime::new(0.1, 0.5).unwrap();
        self.demand = Some(Demand {
            arrivals_per_second_stable: rate,
            arrivals_per_second_burst: rate,
            service: Some(MeasuredService { time, samples: 100.0 }),
            ..self.demand.unwrap_or(QUIET)
        });
        self
    }

    pub(crate) fn hold(&mut self, held: u64) -> &mut Self {
        self.demand = Some(Demand { held: Requests(held), ..self.demand.unwrap_or(QUIET) });
        self
    }

    pub(crate) fn gpu(&mut self, percent: u8) -> &mut Self {
        self.signals.gpu = Some(Aged { value: Ratio::from_percent(percent), at: self.now });
        self
    }

    pub(crate) fn price(&mut self, percent: u16) -> &mut Self {
        let value = PriceRatio::from_percent(percent);
        self.signals.price = Some(Aged { value, at: self.now });
        self
    }

    /// Decides now; the replicas that are asked for are there at once.
    pub(crate) fn decide(&mut self) -> Option<u32> {
        self.decide_only();
        let desired = self.last.scale.map(|scale| scale.desired);
        if let (Some(desired), Some(demand)) = (desired, &mut self.demand) {
            demand.endpoints = desired;
        }
        desired.map(|Replicas(desired)| desired)
    }

    /// Decides now; what is asked for does not come.
    pub(crate) fn decide_only(&mut self) -> Option<u32> {
        if let Some(demand) = &mut self.demand {
            let arriving = demand.arrivals_per_second_burst > PerSecond::ZERO;
            demand.last_arrival_at = if arriving { Some(self.now) } else { demand.last_arrival_at };
            self.signals.demand = Some(Aged { value: *demand, at: self.now });
        }
        let memory = std::mem::take(&mut self.memory);
        (self.last, self.memory) = decide(self.now, &self.policy, &self.signals, memory);
        self.last.scale.map(|scale| scale.desired.0)
    }

    /// Decides every second; says the numbers, each once, in the order in which they came.
    pub(crate) fn run(&mut self, secs: u64) -> Vec<u32> {
        let mut numbers = Vec::new();
        for _ in 0..secs {
            self.now = self.now.saturating_add(Millis::from_secs(1));
            numbers.extend(self.decide());
        }
        numbers.dedup();
        numbers
    }

    pub(crate) fn told(&self, kind: &str) -> bool {
        self.last.reasons.iter().any(|reason| reason.kind() == kind)
    }
}
