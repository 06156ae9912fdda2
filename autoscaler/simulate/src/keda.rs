//! KEDA's scale executor for the steps that the HPA cannot take, 0 to 1 and 1 to 0, as a pure function.

use spotscale_decide::units::Millis;

/// What a poll or a push has said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Activity {
    /// Some trigger is active.
    Active,
    /// All answered, none is active.
    Inactive,
    /// Some call failed.
    Unknown,
}

/// The part of a `ScaledObject` that counts here.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// `minReplicaCount`.
    pub min_replicas: u32,
    /// `cooldownPeriod`: from the last activity to the step to zero.
    pub cooldown: Millis,
}

/// The replicas to scale to, or `None` to leave them. `idle_for` is the time since the last activity; never active
/// counts as idle for long enough: `initialCooldownPeriod` is left out, because what is simulated begins at zero.
pub fn scale_to(
    limits: Limits,
    activity: Activity,
    current: u32,
    idle_for: Option<Millis>,
) -> Option<u32> {
    match activity {
        Activity::Active if current == 0 => Some(limits.min_replicas.max(1)),
        Activity::Active | Activity::Unknown => None,
        Activity::Inactive if current < limits.min_replicas => Some(limits.min_replicas),
        Activity::Inactive => {
            let cooled_down = idle_for.is_none_or(|idle| idle > limits.cooldown);
            (limits.min_replicas == 0 && current > 0 && cooled_down).then_some(0)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TO_ZERO: Limits = Limits { min_replicas: 0, cooldown: Millis::from_secs(10) };
    const TO_TWO: Limits = Limits { min_replicas: 2, cooldown: Millis::from_secs(10) };

    #[test]
    fn activity_wakes_and_never_shrinks() {
        assert_eq!(scale_to(TO_ZERO, Activity::Active, 0, Some(Millis::from_secs(0))), Some(1));
        assert_eq!(scale_to(TO_TWO, Activity::Active, 0, Some(Millis::from_secs(0))), Some(2));
        assert_eq!(scale_to(TO_ZERO, Activity::Active, 7, Some(Millis::from_secs(0))), None);
    }

    #[test]
    fn zero_comes_only_after_the_cooldown_from_any_count() {
        assert_eq!(scale_to(TO_ZERO, Activity::Inactive, 3, Some(Millis::from_secs(10))), None);
        assert_eq!(scale_to(TO_ZERO, Activity::Inactive, 3, Some(Millis::from_secs(11))), Some(0));
        assert_eq!(scale_to(TO_ZERO, Activity::Inactive, 3, None), Some(0));
        assert_eq!(scale_to(TO_ZERO, Activity::Inactive, 0, None), None);
        assert_eq!(scale_to(TO_TWO, Activity::Inactive, 3, Some(Millis::from_secs(99))), None);
        assert_eq!(scale_to(TO_TWO, Activity::Inactive, 1, Some(Millis::from_secs(0))), Some(2));
    }

    #[test]
    fn an_unanswered_poll_holds() {
        assert_eq!(scale_to(TO_ZERO, Activity::Unknown, 3, Some(Millis::from_secs(99))), None);
        assert_eq!(scale_to(TO_ZERO, Activity::Unknown, 0, None), None);
    }
}
