//! A clock that was set wrong for a while. Whether a jump of the clock goes astray or comes back shows only later: when
//! another jump undoes it, all that was noted in between is told by the clock that was right.

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use super::{
    GAP_MAX, LATE_MAX, Ledger,
    life::{End, Life, LifeKey},
    occupancy::Occupancy,
};
use crate::{cluster::EndedBy, pairs, units::Millis};

/// Two jumps whose sum is no more than this undo each other: between two looks some time goes by.
const APART_MAX: SignedDuration = SignedDuration::from_secs(60);

/// A machine that the provider takes is gone no sooner before its deadline.
const EARLY: Millis = Millis::from_secs(10);

/// The time since the clock has jumped, or since nobody looked for a while, which looks the same.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Detour {
    /// The first look after the jump.
    pub(super) since: Timestamp,
    /// How far it jumped; negative where it was set back.
    by: SignedDuration,
    /// Lives that had ended before.
    ended: BTreeSet<LifeKey>,
    /// Lives that were closed on mere advice before.
    advised: BTreeSet<LifeKey>,
    /// Whose pods served when, as it was noted before the clock was set back to an earlier time.
    #[serde(with = "pairs")]
    ahead: BTreeMap<LifeKey, Occupancy>,
}

impl Ledger {
    /// Does a look come late? What the clock did since the last one is taken into account.
    pub(super) fn keep_time(&mut self, now: Timestamp) -> bool {
        let set_back = self.observed_at.is_some_and(|last| LATE_MAX.after(now) < last);
        let gap = self.observed_at.is_none_or(|last| GAP_MAX.after(last) < now);
        if set_back || gap {
            self.steady_since = Some(now);
        }
        let Some(last) = self.observed_at else { return false };
        if set_back || LATE_MAX.after(last) < now {
            let by = now.duration_since(last);
            match self.detour.take() {
                Some(detour) if detour.is_undone_by(by) => {
                    detour.put_right(&mut self.lives, last, by);
                }
                _ => self.detour = Some(Detour::begin(&mut self.lives, by, now)),
            }
        }
        !set_back && now < last
    }
}

impl Detour {
    /// The clock jumps. What lies in the future of one that is set back is put aside.
    pub(super) fn begin(
        lives: &mut BTreeMap<LifeKey, Life>,
        by: SignedDuration,
        since: Timestamp,
    ) -> Self {
        let keys = |is: fn(&Life) -> bool| {
            let of = lives.iter().filter(move |(_, life)| is(life));
            of.map(|(key, _)| key.clone()).collect()
        };
        let ended = keys(|life| life.ended.is_some());
        let advised = keys(|life| life.advised_at.is_some());
        let put_aside = lives.iter_mut().filter(|_| by.is_negative()).filter_map(|(key, life)| {
            let ahead = life.occupancy.split_after(since);
            (!ahead.is_empty()).then(|| (key.clone(), ahead))
        });
        Self { since, by, ended, advised, ahead: put_aside.collect() }
    }

    /// Is the clock where it would be if it had never jumped?
    pub(super) fn is_undone_by(&self, by: SignedDuration) -> bool {
        self.by.saturating_add(by).abs() <= APART_MAX
    }

    /// Tells what was noted since, up to `until`, by the clock that is right again. What others told, such as the
    /// provider's deadlines, is not of these times, and stays.
    pub(super) fn put_right(
        mut self,
        lives: &mut BTreeMap<LifeKey, Life>,
        until: Timestamp,
        by: SignedDuration,
    ) {
        // When between two looks the clock was set is not known, of either jump: the mean is nearest.
        let by = by.saturating_sub(self.by) / 2;
        let since = self.since;
        let put_right = |at: &mut Timestamp| {
            if (since..=until).contains(at) {
                *at = at.saturating_add(by).unwrap_or(*at);
            }
        };
        for (key, life) in lives {
            life.left_at.iter_mut().for_each(put_right);
            if !self.advised.contains(key) {
                life.advised_at.iter_mut().for_each(put_right);
            }
            if let Some(end) = life.ended.as_mut().filter(|_| !self.ended.contains(key)) {
                put_right(&mut end.at);
                put_right(&mut end.at_latest);
                life.gone_at.iter_mut().for_each(put_right);
                hold_to_its_deadline(life);
            }
            let ahead = self.ahead.remove(key).unwrap_or_default();
            life.occupancy.put_right(since, by, ahead);
        }
    }
}

/// By a clock that was behind, the provider had not yet taken what it said it would take; by one that was ahead, it had
/// taken what was given back before. Whoever knows is believed instead.
fn hold_to_its_deadline(life: &mut Life) {
    let Life { deadline: Some(deadline), gone_at: Some(gone_at), .. } = *life else { return };
    let given_back = life.left_at.is_some_and(|left_at| left_at < deadline);
    let taken = !given_back && EARLY.before(deadline) <= gone_at;
    let (at, by) =
        if taken { (deadline.min(gone_at), EndedBy::Provider) } else { (gone_at, EndedBy::Us) };
    life.ended = life.ended.map(|end| {
        if end.by == by { end } else { End { at, at_latest: gone_at, by, inferred: true } }
    });
}
