//! Hold, forward or refuse one request? Every answer is O(1) and allocates nothing: it is asked for each request.
//!
//! The front knows the facts (how many slots are free, how much is held) and does what the answer says; this page only
//! chooses. Two rules carry it: a free `gpu` slot is always taken, and a `cpu` slot is a bridge, taken when there is no
//! GPU or when waiting for one would take longer than the CPU does.

use serde::{Deserialize, Serialize};

use crate::units::{Millis, Requests};

/// The class of machine behind an endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Tier {
    /// Preferred.
    Gpu,
    /// The bridge: slower, but there while no GPU is.
    Cpu,
}

/// How much may be held at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// Requests held, at most.
    pub held_max: Requests,
    /// Bytes set aside for the bodies of held requests, at most.
    pub held_bytes_max: u64,
}

/// What one tier offers now.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TierLoad {
    /// Requests that its ready endpoints take at a time, all together.
    pub slots: u32,
    /// Those of them that are free.
    pub free: u32,
    /// The mean time that it takes to serve a request; none before one was measured.
    pub service: Option<Millis>,
}

/// How long this service took to go from no ready endpoint to one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ColdStart {
    /// The shortest ever measured; none before one was.
    pub fastest: Option<Millis>,
    /// The usual one, or the configured guess before one was measured.
    pub typical: Millis,
    /// How long the present one has been under way.
    pub elapsed: Millis,
}

/// All that a choice depends on, besides the request itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Load {
    /// Requests held now.
    pub held: Requests,
    /// Bytes set aside for them.
    pub held_bytes: u64,
    /// What the `gpu` endpoints offer.
    pub gpu: TierLoad,
    /// What the `cpu` endpoints offer.
    pub cpu: TierLoad,
    /// The cold start, measured.
    pub cold_start: ColdStart,
    /// This front shuts down: it finishes what it has and holds nothing new.
    pub draining: bool,
}

/// What a request asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ask {
    /// Bytes to set aside for its body while it is held.
    pub bytes: u64,
    /// The time left until its deadline.
    pub remaining: Millis,
}

/// Why a request is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, thiserror::Error)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// As many requests are held as may be.
    #[error("the hold queue is full")]
    QueueFull,
    /// As many bytes are held as may be.
    #[error("the hold queue has no room for this body")]
    BytesFull,
    /// Even the fastest way to a replica ends after the deadline.
    #[error("no replica can take it before its deadline")]
    DeadlineTooShort,
    /// The front shuts down.
    #[error("this front is shutting down")]
    Draining,
}

/// The answer for one request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Admission {
    /// Send it to an endpoint of this tier now.
    Forward(Tier),
    /// Hold it until a slot is free.
    Hold,
    /// Turn it away, and say when to come back.
    Refuse {
        /// Why.
        reason: Reason,
        /// When a new attempt is likely to be served.
        retry_after: Millis,
    },
}

impl Tier {
    /// As metric labels and files spell it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Gpu => "gpu",
            Self::Cpu => "cpu",
        }
    }
}

impl Reason {
    /// As metric labels and error bodies spell it.
    pub const fn kind(self) -> &'static str {
        match self {
            Self::QueueFull => "queue_full",
            Self::BytesFull => "bytes_full",
            Self::DeadlineTooShort => "deadline_too_short",
            Self::Draining => "draining",
        }
    }
}

impl TierLoad {
    /// The wait for a slot behind `ahead` requests; none where nothing is ready or nothing was measured.
    fn wait(self, ahead: Requests) -> Option<Millis> {
        let slots = u64::from(self.slots);
        let service = self.service?.0;
        (slots > 0).then(|| Millis(service.saturating_mul(ahead.0) / slots))
    }
}

impl ColdStart {
    fn typical_left(self) -> Millis {
        self.typical.saturating_sub(self.elapsed)
    }

    fn fastest_left(self) -> Millis {
        self.fastest.unwrap_or_default().saturating_sub(self.elapsed)
    }
}

impl Load {
    /// No endpoint is ready: whoever waits, waits for a cold start.
    pub const fn is_cold(&self) -> bool {
        self.gpu.slots == 0 && self.cpu.slots == 0
    }

    /// When a request that is turned away now would likely be served; at least a second, so that nobody spins.
    pub fn retry_after(&self) -> Millis {
        let wait = if self.is_cold() { self.cold_start.typical_left() } else { self.queue_wait() };
        wait.max(Millis::from_secs(1))
    }

    /// The likely wait of a request that joins the queue now, in the tier that is quicker for it.
    fn queue_wait(&self) -> Millis {
        let ahead = self.held.saturating_add(Requests(1));
        let waits = [self.gpu.wait(ahead), self.cpu.wait(ahead)];
        waits.into_iter().flatten().min().unwrap_or_default()
    }

    /// The shortest wait that is known to be possible.
    fn wait_min(&self) -> Millis {
        if self.is_cold() { self.cold_start.fastest_left() } else { self.queue_wait() }
    }

    /// A GPU is there and would be done sooner than the CPU, the queue for it included.
    fn gpu_is_worth_the_wait(&self) -> bool {
        let gpu_done = self
            .gpu
            .wait(self.held.saturating_add(Requests(1)))
            .zip(self.gpu.service)
            .map(|(wait, service)| wait.saturating_add(service));
        matches!((gpu_done, self.cpu.service), (Some(gpu), Some(cpu)) if gpu <= cpu)
    }
}

/// The tier whose free slot the next request in line should take; none when it should wait.
pub fn tier(load: &Load) -> Option<Tier> {
    if load.gpu.free > 0 {
        Some(Tier::Gpu)
    } else if load.cpu.free > 0 && !load.gpu_is_worth_the_wait() {
        Some(Tier::Cpu)
    } else {
        None
    }
}

/// What to do with a request that arrives. It never overtakes those that are held.
pub fn admit(limits: &Limits, load: &Load, ask: Ask) -> Admission {
    if load.held == Requests::ZERO
        && let Some(tier) = tier(load)
    {
        return Admission::Forward(tier);
    }
    match refusal(limits, load, ask) {
        Some(reason) => Admission::Refuse { reason, retry_after: load.retry_after() },
        None => Admission::Hold,
    }
}

fn refusal(limits: &Limits, load: &Load, ask: Ask) -> Option<Reason> {
    if load.draining {
        Some(Reason::Draining)
    } else if load.held >= limits.held_max {
        Some(Reason::QueueFull)
    } else if load.held_bytes.saturating_add(ask.bytes) > limits.held_bytes_max {
        Some(Reason::BytesFull)
    } else if load.wait_min() > ask.remaining {
        Some(Reason::DeadlineTooShort)
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const LIMITS: Limits = Limits { held_max: Requests(10), held_bytes_max: 1000 };
    const ASK: Ask = Ask { bytes: 100, remaining: Millis::from_secs(120) };

    fn cold() -> Load {
        Load {
            held: Requests(0),
            held_bytes: 0,
            gpu: TierLoad::default(),
            cpu: TierLoad::default(),
            cold_start: ColdStart {
                fastest: Some(Millis(8_000)),
                typical: Millis(20_000),
                elapsed: Millis(5_000),
            },
            draining: false,
        }
    }

    fn busy(service_ms: u64) -> TierLoad {
        TierLoad { slots: 2, free: 0, service: Some(Millis(service_ms)) }
    }

    fn free(service_ms: u64) -> TierLoad {
        TierLoad { free: 1, ..busy(service_ms) }
    }

    fn refused(reason: Reason, retry_after_ms: u64) -> Admission {
        Admission::Refuse { reason, retry_after: Millis(retry_after_ms) }
    }

    #[test]
    fn a_free_gpu_slot_is_taken_before_a_cpu_slot() {
        let load = Load { gpu: free(10), cpu: free(100), ..cold() };
        assert_eq!(admit(&LIMITS, &load, ASK), Admission::Forward(Tier::Gpu));
    }

    #[test]
    fn the_cpu_serves_while_no_gpu_is_ready() {
        let load = Load { cpu: free(100), ..cold() };
        assert_eq!(admit(&LIMITS, &load, ASK), Admission::Forward(Tier::Cpu));
    }

    #[test]
    fn a_busy_gpu_is_waited_for_only_while_that_is_quicker() {
        let quick = Load { gpu: busy(10), cpu: free(100), ..cold() };
        assert_eq!(admit(&LIMITS, &quick, ASK), Admission::Hold);
        let queued = Load { held: Requests(18), ..quick };
        assert_eq!(tier(&queued), Some(Tier::Cpu));
        let unmeasured = Load { cpu: TierLoad { service: None, ..free(0) }, ..quick };
        assert_eq!(tier(&unmeasured), Some(Tier::Cpu));
    }

    #[test]
    fn a_newcomer_waits_behind_those_that_are_held() {
        let load = Load { held: Requests(1), gpu: free(10), ..cold() };
        assert_eq!(admit(&LIMITS, &load, ASK), Admission::Hold);
    }

    #[test]
    fn both_bounds_of_the_queue_refuse_with_the_rest_of_the_cold_start() {
        let full = Load { held: Requests(10), ..cold() };
        assert_eq!(admit(&LIMITS, &full, ASK), refused(Reason::QueueFull, 15_000));
        let heavy = Load { held_bytes: 901, ..cold() };
        assert_eq!(admit(&LIMITS, &heavy, ASK), refused(Reason::BytesFull, 15_000));
        let fits = Load { held_bytes: 900, ..cold() };
        assert_eq!(admit(&LIMITS, &fits, ASK), Admission::Hold);
    }

    #[test]
    fn a_deadline_is_too_short_only_when_the_fastest_cold_start_is_too_slow() {
        let ask = |ms| Ask { remaining: Millis(ms), ..ASK };
        assert_eq!(admit(&LIMITS, &cold(), ask(3_000)), Admission::Hold);
        let late = refused(Reason::DeadlineTooShort, 15_000);
        assert_eq!(admit(&LIMITS, &cold(), ask(2_999)), late);
        let unmeasured = ColdStart { fastest: None, ..cold().cold_start };
        let load = Load { cold_start: unmeasured, ..cold() };
        assert_eq!(admit(&LIMITS, &load, ask(1)), Admission::Hold);
    }

    #[test]
    fn a_warm_queue_that_is_too_long_for_the_deadline_refuses() {
        let load = Load { held: Requests(9), gpu: busy(1_000), ..cold() };
        let ask = Ask { remaining: Millis(4_999), ..ASK };
        assert_eq!(admit(&LIMITS, &load, ask), refused(Reason::DeadlineTooShort, 5_000));
    }

    #[test]
    fn a_draining_front_serves_what_it_can_at_once_and_holds_nothing_new() {
        let load = Load { draining: true, ..cold() };
        assert_eq!(admit(&LIMITS, &load, ASK), refused(Reason::Draining, 15_000));
        let load = Load { draining: true, gpu: free(10), ..cold() };
        assert_eq!(admit(&LIMITS, &load, ASK), Admission::Forward(Tier::Gpu));
    }

    fn any_tier() -> impl Strategy<Value = TierLoad> {
        (0..4_u32, any::<u32>(), any::<Option<u64>>()).prop_map(|(slots, free, service)| TierLoad {
            slots,
            free: free % (slots + 1),
            service: service.map(Millis),
        })
    }

    prop_compose! {
        fn any_load()(
            (held, held_bytes, draining) in (0..20_u64, any::<u64>(), any::<bool>()),
            (gpu, cpu) in (any_tier(), any_tier()),
            (fastest, typical, elapsed) in (any::<Option<u64>>(), any::<u64>(), any::<u64>()),
        ) -> Load {
            let (typical, elapsed) = (Millis(typical), Millis(elapsed));
            let cold_start = ColdStart { fastest: fastest.map(Millis), typical, elapsed };
            Load { held: Requests(held), held_bytes, gpu, cpu, cold_start, draining }
        }
    }

    proptest! {
        #[test]
        fn nothing_is_forwarded_without_a_slot_nor_held_beyond_the_bounds(
            load in any_load(), bytes in any::<u64>(), remaining in any::<u64>(),
        ) {
            match admit(&LIMITS, &load, Ask { bytes, remaining: Millis(remaining) }) {
                Admission::Forward(Tier::Gpu) => prop_assert!(load.gpu.free > 0),
                Admission::Forward(Tier::Cpu) => prop_assert!(load.cpu.free > 0),
                Admission::Hold => prop_assert!(
                    load.held < LIMITS.held_max
                        && load.held_bytes + bytes <= LIMITS.held_bytes_max
                        && !load.draining
                ),
                Admission::Refuse { retry_after, .. } => {
                    prop_assert!(retry_after >= Millis::from_secs(1));
                }
            }
        }

        #[test]
        fn more_time_never_turns_a_yes_into_a_no(
            load in any_load(), less in any::<u64>(), more in any::<u64>(),
        ) {
            let ask = |ms| Ask { bytes: 0, remaining: Millis(ms) };
            let short = admit(&LIMITS, &load, ask(less.min(more)));
            let long = admit(&LIMITS, &load, ask(less.max(more)));
            if !matches!(short, Admission::Refuse { .. }) {
                prop_assert_eq!(short, long);
            }
        }
    }
}
