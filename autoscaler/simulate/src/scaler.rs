//! What moves the replica count: `decide::demand` and `decide::replicas` as the scaler runs them, and KEDA and the HPA
//! as they follow.

use spotscale_decide::{
    demand::{Demands, ServiceCounters},
    replicas::{self, Memory, Scale, Signals},
    units::{FrontId, Millis, Replicas, UnitError},
};

use crate::{
    hpa::{self, Metric},
    keda::{self, Activity, Limits},
    setup::Scaling,
};

/// While nothing changes the front reports, and the scaler decides, this often.
const HEARTBEAT: Millis = Millis::from_secs(5);

/// The scaler of one service with its `ScaledObject`.
#[derive(Debug)]
pub(crate) struct Scaler {
    policy: replicas::Policy,
    rules: Scaling,
    front: FrontId,
    demands: Demands,
    memory: Memory,
    hpa: hpa::Memory,
    reported: Option<(Millis, ServiceCounters)>,
    sequence: u64,
    scale: Option<Scale>,
    last_active: Option<Millis>,
    poll_at: Millis,
    sync_at: Millis,
    replicas: u32,
    pub(crate) replicas_max: u32,
}

impl Scaler {
    pub(crate) fn new(policy: replicas::Policy, rules: Scaling) -> Result<Self, UnitError> {
        Ok(Self {
            policy,
            rules,
            front: "front".parse()?,
            demands: Demands::default(),
            memory: Memory::default(),
            hpa: hpa::Memory::default(),
            reported: None,
            sequence: 0,
            scale: None,
            last_active: None,
            poll_at: Millis::ZERO,
            sync_at: Millis::ZERO,
            replicas: 0,
            replicas_max: 0,
        })
    }

    /// Replicas that the Deployment is asked to keep, after what the front reports now.
    pub(crate) fn tick(&mut self, now: Millis, counters: ServiceCounters) -> Replicas {
        self.report(now, counters);
        let active = self.scale.is_some_and(|scale| scale.active);
        // Waking is pushed: it does not wait for a poll.
        let pushed = active && self.replicas == 0;
        if pushed || self.poll_at <= now {
            let activity = match self.scale {
                None => Activity::Unknown,
                Some(Scale { active: true, .. }) => Activity::Active,
                Some(Scale { active: false, .. }) => Activity::Inactive,
            };
            self.follow(now, activity);
        }
        if self.poll_at <= now {
            self.poll_at = self.rules.polling.saturating_add(now);
        }
        if self.sync_at <= now {
            self.sync_at = self.rules.sync.saturating_add(now);
            self.sync(now);
        }
        self.replicas_max = self.replicas_max.max(self.replicas);
        Replicas(self.replicas)
    }

    fn report(&mut self, now: Millis, counters: ServiceCounters) {
        let same = |(at, known): (Millis, ServiceCounters)| {
            known == counters && HEARTBEAT.saturating_add(at) > now
        };
        if self.reported.is_some_and(same) {
            return;
        }
        self.reported = Some((now, counters));
        self.sequence += 1;
        // One front with a rising sequence is never refused.
        let _ = self.demands.report(now, &self.front, self.sequence, counters);
        let signals = Signals { demand: self.demands.demand(now), gpu: None, price: None };
        let memory = std::mem::take(&mut self.memory);
        let (decision, memory) = replicas::decide(now, &self.policy, &signals, memory);
        self.memory = memory;
        self.scale = decision.scale;
    }

    /// KEDA's own step, from zero and to zero.
    fn follow(&mut self, now: Millis, activity: Activity) {
        if activity == Activity::Active {
            self.last_active = Some(now);
        }
        let limits = Limits { min_replicas: self.policy.min.0, cooldown: self.rules.cooldown };
        let idle_for = self.last_active.map(|at| now.saturating_sub(at));
        if let Some(replicas) = keda::scale_to(limits, activity, self.replicas, idle_for) {
            self.replicas = replicas;
        }
    }

    fn sync(&mut self, now: Millis) {
        let metric = self.scale.and_then(|scale| Metric::new(f64::from(scale.desired.0), 1.0));
        let metrics: Vec<_> = metric.into_iter().collect();
        self.replicas =
            hpa::sync(&self.rules.behavior, &mut self.hpa, now, self.replicas, &metrics);
    }
}

#[cfg(test)]
mod tests {
    use spotscale_decide::units::Requests;

    use super::*;

    fn counters(arrivals: u64, held: u64) -> ServiceCounters {
        let (arrivals_total, held) = (arrivals, Requests(held));
        ServiceCounters { arrivals_total, held, concurrency: 8, ..ServiceCounters::default() }
    }

    #[test]
    fn a_held_request_wakes_at_once_and_quiet_sleeps_after_its_time() {
        let policy = replicas::Policy::default();
        let mut scaler = Scaler::new(policy.clone(), Scaling::chart(0, 20)).unwrap();
        let mut tick = |second, arrivals, held| {
            scaler.tick(Millis::from_secs(second), counters(arrivals, held)).0
        };
        assert_eq!([tick(0, 0, 0), tick(5, 0, 0)], [0, 0]);
        assert_eq!(tick(6, 1, 1), 1, "not only at the next poll");
        let asleep = (7..1000).find(|second| tick(*second, 1, 0) == 0).unwrap();
        let cooldown = Scaling::chart(0, 20).cooldown;
        let earliest = 7 + (policy.idle_after.0 + cooldown.0) / 1000;
        assert!((earliest..earliest + 30).contains(&asleep), "{asleep}");
    }

    #[test]
    fn a_backlog_grows_at_the_pace_of_the_hpa() {
        let mut scaler = Scaler::new(replicas::Policy::default(), Scaling::chart(0, 20)).unwrap();
        scaler.tick(Millis(0), counters(0, 0));
        let mut tick = |second| scaler.tick(Millis::from_secs(second), counters(900, 900)).0;
        let replicas: Vec<u32> = (1..=30).map(&mut tick).collect();
        assert!(replicas[..14].iter().all(|n| *n == 1), "until the HPA looks: {replicas:?}");
        let all = replicas[14];
        assert!(all > 5 && replicas[14..].iter().all(|n| *n == all), "then all: {replicas:?}");
    }
}
