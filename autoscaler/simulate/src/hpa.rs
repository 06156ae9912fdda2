//! What a `HorizontalPodAutoscaler` (autoscaling/v2) makes of external metrics of type `AverageValue`, as a pure function:
//! tolerance, stabilisation windows, rate rules, bounds. Not a client of anything; it is fed.

use std::collections::VecDeque;

use spotscale_decide::units::Millis;

/// One metric as KEDA's adapter hands it on: both numbers in thousandths, the fraction of a thousandth cut off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Metric {
    value_milli: u64,
    target_milli: u64,
}

impl Metric {
    /// From a scaler's own numbers. What is not a positive number counts as 0, as KEDA does since v2.20.2;
    /// `None` when the target is, because the API server refuses such an HPA.
    pub fn new(value: f64, target: f64) -> Option<Self> {
        // A float-to-integer cast saturates, and makes NaN and negatives 0.
        let (value_milli, target_milli) = ((value * 1000.0) as u64, (target * 1000.0) as u64);
        (target_milli > 0).then_some(Self { value_milli, target_milli })
    }

    /// Replicas that this metric asks for; `current` while the ratio is inside the dead band.
    fn replicas(self, current: u32, tolerance: f64) -> u32 {
        let ratio =
            self.value_milli as f64 / (self.target_milli as f64 * f64::from(current.max(1)));
        if (1.0 - tolerance..=1.0 + tolerance).contains(&ratio) {
            return current;
        }
        u32::try_from(self.value_milli.div_ceil(self.target_milli)).unwrap_or(u32::MAX)
    }
}

/// How much one rate rule lets the count move within its period.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// This many pods.
    Pods(u32),
    /// This share of what there was when the period began.
    Percent(u32),
}

/// The rules of one direction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rules {
    /// The most cautious recommendation of this window wins.
    pub stabilization: Millis,
    /// Steps and their periods; the one that allows most counts (`selectPolicy: Max`).
    pub policies: Vec<(Step, Millis)>,
}

/// `spec.behavior` and the bounds of an HPA.
#[derive(Debug, Clone, PartialEq)]
pub struct Behavior {
    /// Fewest replicas, at least 1: an HPA does not scale to zero.
    pub min: u32,
    /// Most replicas.
    pub max: u32,
    /// Half the width of the dead band, as a share; inclusive on both sides.
    pub tolerance: f64,
    /// Rules for growing.
    pub up: Rules,
    /// Rules for shrinking.
    pub down: Rules,
}

impl Behavior {
    /// Kubernetes' defaults between these bounds: growth at once by the larger of 4 pods and 100 % per 15 s; shrinking
    /// by any amount after `down_stabilization` (300 s unless told otherwise). The tolerance is 0, not the default
    /// 10 %: with desired replicas as the metric the dead band would swallow every single step from ten replicas on.
    pub fn standard(min: u32, max: u32, down_stabilization: Millis) -> Self {
        let period = Millis::from_secs(15);
        let up = vec![(Step::Pods(4), period), (Step::Percent(100), period)];
        Self {
            min: min.max(1),
            max: max.max(1),
            tolerance: 0.0,
            up: Rules { stabilization: Millis::ZERO, policies: up },
            down: Rules {
                stabilization: down_stabilization,
                policies: vec![(Step::Percent(100), period)],
            },
        }
    }

    fn longest_period(&self) -> Millis {
        let policies = self.up.policies.iter().chain(&self.down.policies);
        policies.map(|&(_, period)| period).max().unwrap_or_default()
    }
}

/// What one HPA remembers between two syncs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Memory {
    recommendations: VecDeque<(Millis, u32)>,
    changes: VecDeque<(Millis, i64)>,
}

impl Memory {
    fn forget(&mut self, behavior: &Behavior, now: Millis) {
        let window = behavior.up.stabilization.max(behavior.down.stabilization);
        self.recommendations.retain(|&(at, _)| now.saturating_sub(at) < window);
        self.changes.retain(|&(at, _)| now.saturating_sub(at) < behavior.longest_period());
    }

    /// The recommendations that are younger than `window`; the one of `now` belongs to any window, also to an empty one.
    fn recommended(&self, now: Millis, window: Millis) -> impl Iterator<Item = u32> {
        let counts = move |at: Millis| at == now || now.saturating_sub(at) < window;
        self.recommendations.iter().filter(move |&&(at, _)| counts(at)).map(|&(_, wish)| wish)
    }

    /// How many replicas there were when the period that ends `now` began.
    fn at_period_start(&self, now: Millis, period: Millis, current: u32) -> i64 {
        let within = self.changes.iter().filter(|&&(at, _)| now.saturating_sub(at) < period);
        i64::from(current) - within.map(|&(_, delta)| delta).sum::<i64>()
    }
}

/// One sync: the replicas to scale to, which is `current` when nothing is to change. At 0 replicas the HPA is off.
pub fn sync(
    behavior: &Behavior,
    memory: &mut Memory,
    now: Millis,
    current: u32,
    metrics: &[Metric],
) -> u32 {
    let wish = metrics.iter().map(|metric| metric.replicas(current, behavior.tolerance)).max();
    let Some(wish) = wish.filter(|_| current > 0) else { return current };
    memory.forget(behavior, now);
    memory.recommendations.push_back((now, wish));
    let stable = stabilized(behavior, memory, now, current);
    let allowed = limited(behavior, memory, now, current, stable);
    let replicas = allowed.clamp(behavior.min, behavior.max);
    if replicas != current {
        memory.changes.push_back((now, i64::from(replicas) - i64::from(current)));
    }
    replicas
}

/// Grows to the lowest recommendation of the up window, shrinks to the highest of the down window, else stays.
fn stabilized(behavior: &Behavior, memory: &Memory, now: Millis, current: u32) -> u32 {
    let lowest = memory.recommended(now, behavior.up.stabilization).min().unwrap_or(current);
    let highest = memory.recommended(now, behavior.down.stabilization).max().unwrap_or(current);
    current.clamp(lowest, highest.max(lowest))
}

/// As far towards the wish as the rate rules let it go, counting what has moved within each rule's own period.
fn limited(behavior: &Behavior, memory: &Memory, now: Millis, current: u32, wish: u32) -> u32 {
    let growing = wish > current;
    let rules = if growing { &behavior.up } else { &behavior.down };
    let reach = rules.policies.iter().map(|&(step, period)| {
        let start = memory.at_period_start(now, period, current);
        let by = match step {
            Step::Pods(pods) => i64::from(pods),
            Step::Percent(percent) => (start * i64::from(percent) + 99) / 100,
        };
        if growing { start + by } else { start - by }
    });
    let (current, wish) = (i64::from(current), i64::from(wish));
    let replicas = if growing {
        wish.min(reach.max().unwrap_or(wish)).max(current)
    } else {
        wish.max(reach.min().unwrap_or(wish)).min(current)
    };
    u32::try_from(replicas).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(s: u64) -> Millis {
        Millis::from_secs(s)
    }

    fn wish(replicas: f64) -> Vec<Metric> {
        vec![Metric::new(replicas, 1.0).unwrap()]
    }

    /// Plays (second, wish) pairs and returns the replicas after each.
    fn play(behavior: &Behavior, start: u32, story: &[(u64, f64)]) -> Vec<u32> {
        let (mut memory, mut current) = (Memory::default(), start);
        let mut step = |&(at, value): &(u64, f64)| {
            current = sync(behavior, &mut memory, seconds(at), current, &wish(value));
            current
        };
        story.iter().map(&mut step).collect()
    }

    #[test]
    fn the_wish_is_the_ceiling_of_value_over_target_in_thousandths() {
        let replicas = |value, target| Metric::new(value, target).unwrap().replicas(1, 0.0);
        assert_eq!(replicas(12.0, 10.0), 2);
        assert_eq!(replicas(3.0004, 1.0), 3);
        assert_eq!(replicas(3.001, 1.0), 4);
        assert_eq!(replicas(f64::NAN, 1.0), 0);
        assert_eq!(replicas(-4.0, 1.0), 0);
        assert_eq!(Metric::new(1.0, 0.0), None);
        assert_eq!(Metric::new(1.0, f64::NAN), None);
    }

    #[test]
    fn the_default_dead_band_swallows_single_steps_from_ten_replicas_on() {
        let kept = |current: u32, value: u32| {
            Metric::new(f64::from(value), 1.0).unwrap().replicas(current, 0.1) == current
        };
        assert!(!kept(9, 10) && !kept(9, 8));
        assert!(kept(10, 11) && kept(10, 9));
        assert!(!kept(10, 12));
    }

    #[test]
    fn growth_is_four_pods_or_double_per_quarter_minute() {
        let behavior = Behavior::standard(1, 100, seconds(0));
        let story = [(0, 50.0), (5, 50.0), (15, 50.0), (30, 50.0), (45, 50.0)];
        assert_eq!(play(&behavior, 1, &story), [5, 5, 10, 20, 40]);
    }

    #[test]
    fn the_highest_of_several_metrics_wins() {
        let behavior = Behavior::standard(1, 10, seconds(0));
        let metrics = [wish(2.0), wish(4.0), wish(1.0)].concat();
        assert_eq!(sync(&behavior, &mut Memory::default(), seconds(0), 1, &metrics), 4);
    }

    #[test]
    fn shrinking_waits_for_the_highest_of_its_window() {
        let behavior = Behavior::standard(1, 10, seconds(30));
        let story = [(0, 5.0), (10, 2.0), (20, 3.0), (29, 1.0), (30, 1.0), (49, 1.0), (50, 1.0)];
        assert_eq!(play(&behavior, 5, &story), [5, 5, 5, 5, 3, 3, 1]);
    }

    #[test]
    fn bounds_hold_and_zero_is_left_to_keda() {
        let behavior = Behavior::standard(1, 3, seconds(0));
        assert_eq!(play(&behavior, 2, &[(0, 9.0), (1, 0.0)]), [3, 1]);
        assert_eq!(play(&behavior, 0, &[(0, 9.0)]), [0]);
        let mut memory = Memory::default();
        assert_eq!(sync(&behavior, &mut memory, seconds(0), 2, &[]), 2, "no metric: hold");
    }
}
