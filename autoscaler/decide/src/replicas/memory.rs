//! What one decision leaves to the next. Bounded, serialisable, and empty after a restart, which the rules allow for.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use crate::units::{Millis, Replicas};

/// Without a decision for longer than this, nobody has watched: the shrink window starts again. Twice the interval at
/// which KEDA asks by default, while fronts report every second.
const BLIND: Millis = Millis::from_secs(60);

/// The state between two decisions on one service.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Memory {
    /// What was decided last; `None` before the first decision.
    pub(super) desired: Option<Replicas>,
    /// When the last decision with a number was made.
    decided_at: Millis,
    /// Since when there has been a decision with a number at least every [`BLIND`].
    since: Option<Millis>,
    /// Since when fewer are ready than decided; anew with each growth.
    pub(super) short_since: Option<Millis>,
    /// When something was last held, in flight or arriving.
    busy_at: Option<Millis>,
    /// Since when the price has been dear.
    pub(super) dear_since: Option<Millis>,
    /// What an HPA with its default dead band would have made of the numbers so far.
    pub(super) hpa: Option<Replicas>,
    /// What would have been enough, over the longest shrink window.
    enough: Peaks,
    /// Replicas seen ready, for as long as a GPU signal may be old.
    endpoints: Peaks,
}

/// The largest values within a window: each entry is larger than all that came after it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Peaks(VecDeque<(Millis, Replicas)>);

impl Memory {
    /// Notes that a decision with a number is being made.
    pub(super) fn watch(&mut self, now: Millis) {
        let blind = now.saturating_sub(self.decided_at) > BLIND;
        if blind {
            self.since = None;
        }
        self.since.get_or_insert(now);
        self.decided_at = self.decided_at.max(now);
    }

    /// Notes that the demand is unknown: what comes after is a new beginning.
    pub(super) fn lose_sight(&mut self) {
        self.since = None;
    }

    /// How long there has been unbroken data.
    pub(super) fn watched(&self, now: Millis) -> Millis {
        now.saturating_sub(self.since.unwrap_or(now))
    }

    /// Notes how busy the service is; says how long it has been quiet. One never seen has just become quiet.
    pub(super) fn quiet(
        &mut self,
        now: Millis,
        busy: bool,
        last_arrival: Option<Millis>,
    ) -> Millis {
        let seen = if busy { Some(now) } else { last_arrival };
        self.busy_at = self.busy_at.max(seen).or(Some(now));
        now.saturating_sub(self.busy_at.unwrap_or(now))
    }

    /// Notes what would be enough now, for windows of up to `longest`.
    pub(super) fn note_enough(&mut self, now: Millis, enough: Replicas, longest: Millis) {
        self.enough.add(now, enough, longest);
    }

    /// Notes how many replicas are ready now, to be asked for up to `longest` ago.
    pub(super) fn note_endpoints(&mut self, now: Millis, endpoints: Replicas, longest: Millis) {
        self.endpoints.add(now, endpoints, longest);
    }

    /// The most replicas that were ready at once since then.
    pub(super) fn endpoints_since(&self, since: Millis) -> Replicas {
        self.endpoints.largest_since(since)
    }

    /// What was enough at every moment of the `window` that ends now.
    pub(super) fn enough_within(&self, now: Millis, window: Millis) -> Replicas {
        self.enough.largest_since(now.saturating_sub(window))
    }
}

impl Peaks {
    /// Times are rounded up to a sixtieth of the window, which bounds the entries and errs on the side of keeping.
    fn add(&mut self, now: Millis, value: Replicas, window: Millis) {
        let slot = (window.0 / 60).max(1);
        let at = Millis((now.0 / slot).saturating_add(1).saturating_mul(slot));
        let oldest = now.saturating_sub(window);
        while self.0.front().is_some_and(|&(at, _)| at < oldest) {
            self.0.pop_front();
        }
        while self.0.back().is_some_and(|&(_, smaller)| smaller <= value) {
            self.0.pop_back();
        }
        if self.0.back().is_none_or(|&(last, _)| last < at) {
            self.0.push_back((at, value));
        }
    }

    fn largest_since(&self, since: Millis) -> Replicas {
        let inside = self.0.iter().find(|&&(at, _)| at >= since);
        inside.map_or(Replicas::ZERO, |&(_, value)| value)
    }
}
