//! What the HPA does with the number: by default it ignores one that is within a tenth of what it has.
//!
//! From ten replicas on, a step of one is such a number. KEP-4951 lets the user set the tolerance per direction.

use super::{Reason, step::Step};
use crate::units::Replicas;

impl Step<'_> {
    /// Follows an HPA with its default dead band, and tells when that keeps it from `desired`. What it has is known from
    /// the replicas that are ready, or else from what it was told last.
    pub(super) fn look_at_hpa(&mut self, desired: Replicas) {
        let ready = self.demand.endpoints;
        let kept = self.memory.hpa.unwrap_or(ready);
        let held = desired != ready && desired != kept && is_ignored(desired, kept);
        self.memory.hpa = Some(if held { kept } else { desired });
        self.tell(held, Reason::HpaDeadBand { desired, kept });
    }
}

/// The HPA's rule, inclusive at both ends: nothing happens from 0.9 to 1.1 times of what there is.
fn is_ignored(desired: Replicas, kept: Replicas) -> bool {
    u64::from(desired.0.abs_diff(kept.0)) * 10 <= u64::from(kept.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_of_one_is_ignored_from_ten_on_and_zero_never() {
        let first = (1..30).find(|&kept| is_ignored(Replicas(kept + 1), Replicas(kept)));
        assert_eq!(first, Some(10));
        assert!(is_ignored(Replicas(9), Replicas(10)) && !is_ignored(Replicas(8), Replicas(9)));
        assert!(is_ignored(Replicas(22), Replicas(20)) && !is_ignored(Replicas(23), Replicas(20)));
        assert!(!is_ignored(Replicas(0), Replicas(1)) && !is_ignored(Replicas(1), Replicas(0)));
    }
}
