//! When to ask again for what changes slowly, and how often to tell that it cannot be had.

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};
use spotscale_decide::units::InstanceType;

/// A question that is asked again after a while, and sooner when it was not answered.
#[derive(Debug, Clone)]
pub(crate) struct Pace {
    every: SignedDuration,
    asked_at: Option<Timestamp>,
    answered: bool,
    told: bool,
}

/// The same question about many types, each at a pace of its own: one that is new is asked about at once, and those that
/// were asked about together go on so.
#[derive(Debug, Clone)]
pub(crate) struct Paces {
    every: SignedDuration,
    of: BTreeMap<InstanceType, Pace>,
}

/// A question that was not answered is asked again after so long.
const AGAIN_AFTER: SignedDuration = SignedDuration::from_mins(15);

// === impl Pace ===

impl Pace {
    pub(crate) const fn every(every: SignedDuration) -> Self {
        Self { every, asked_at: None, answered: false, told: false }
    }

    /// Whether to ask now; then it counts as asked.
    pub(crate) fn is_due(&mut self, now: Timestamp) -> bool {
        let pause = if self.answered { self.every } else { AGAIN_AFTER };
        let due = self.asked_at.is_none_or(|at| now.duration_since(at) >= pause);
        if due {
            self.asked_at = Some(now);
        }
        due
    }

    pub(crate) fn answered(&mut self) {
        (self.answered, self.told) = (true, false);
    }

    /// Whether this failure is the first since the last answer, and thus worth a word.
    pub(crate) fn failed(&mut self) -> bool {
        self.answered = false;
        !std::mem::replace(&mut self.told, true)
    }
}

// === impl Paces ===

impl Paces {
    pub(crate) const fn every(every: SignedDuration) -> Self {
        Self { every, of: BTreeMap::new() }
    }

    /// The types to ask about now, in their order; then they count as asked about.
    pub(crate) fn due(&mut self, types: &[InstanceType], now: Timestamp) -> Vec<InstanceType> {
        let mut due = types.to_vec();
        due.retain(|one| {
            let pace = self.of.entry(one.clone());
            pace.or_insert_with(|| Pace::every(self.every)).is_due(now)
        });
        due
    }

    pub(crate) fn answered(&mut self, types: &[InstanceType]) {
        self.each(types, Pace::answered);
    }

    /// Whether this failure is the first for one of them since its last answer.
    pub(crate) fn failed(&mut self, types: &[InstanceType]) -> bool {
        let mut is_first = false;
        self.each(types, |pace| is_first |= pace.failed());
        is_first
    }

    pub(crate) fn is_answered(&self, instance_type: &InstanceType) -> bool {
        self.of.get(instance_type).is_some_and(|pace| pace.answered)
    }

    /// Forgets the others.
    pub(crate) fn keep(&mut self, types: &BTreeSet<&InstanceType>) {
        self.of.retain(|one, _| types.contains(one));
    }

    fn each(&mut self, types: &[InstanceType], mut then: impl FnMut(&mut Pace)) {
        for one in types {
            self.of.get_mut(one).into_iter().for_each(&mut then);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_question_is_repeated_slowly_and_its_failure_told_once() {
        let mut pace = Pace::every(SignedDuration::from_hours(24));
        let mut due = |minute: i64, failed: Option<bool>| {
            let due = pace.is_due(Timestamp::from_second(minute * 60).unwrap());
            match failed {
                Some(first) => assert_eq!(pace.failed(), first, "minute {minute}"),
                None if due => pace.answered(),
                None => {}
            }
            due
        };
        assert!(due(0, Some(true)));
        assert!(due(15, Some(false)));
        assert!(due(30, None));
        assert!(!due(45, None), "it was answered");
        assert!(due(30 + 24 * 60, Some(true)));
        assert!(due(45 + 24 * 60, None));
    }

    #[test]
    fn a_type_that_is_new_is_asked_about_at_once_and_the_others_are_not() {
        let names = |names: &[&str]| -> Vec<InstanceType> {
            names.iter().map(|name| name.parse().unwrap()).collect()
        };
        let at = |hour: i64| Timestamp::from_second(hour * 3600).unwrap();
        let mut paces = Paces::every(SignedDuration::from_hours(24));
        let (one, two) = (names(&["b"]), names(&["b", "a"]));
        assert_eq!(paces.due(&one, at(0)), one);
        paces.answered(&one);
        assert_eq!(paces.due(&two, at(1)), names(&["a"]));
        assert!(paces.failed(&names(&["a"])));
        assert_eq!(paces.due(&two, at(2)), names(&["a"]));
        assert!(!paces.failed(&names(&["a"])), "it was told");
        assert!(paces.is_answered(&one[0]) && !paces.is_answered(&two[1]));
        assert_eq!(paces.due(&two, at(24)), two);
    }
}
