//! When to ask again for what changes slowly, and how often to tell that it cannot be had.

use jiff::{SignedDuration, Timestamp};

/// A question that is asked again after a while, and sooner when it was not answered.
#[derive(Debug, Clone)]
pub(crate) struct Pace {
    every: SignedDuration,
    asked_at: Option<Timestamp>,
    answered: bool,
    told: bool,
}

/// A question that was not answered is asked again after so long.
const AGAIN_AFTER: SignedDuration = SignedDuration::from_mins(15);

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
}
