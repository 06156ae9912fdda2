//! Folds the reports of several fronts into one view of a service's demand: what waits, what runs, what arrives.
//! It does not judge how many replicas that needs; [`crate::capacity`] does.

mod arrivals;
mod report;
mod service;

use std::{collections::BTreeMap, num::NonZeroU32};

use serde::{Deserialize, Serialize};

use crate::{
    freshness::Aged,
    units::{FrontId, Millis, PerSecond, Replicas, Requests},
};

use arrivals::Arrivals;
use report::Growth;
pub use report::{Accepted, ReportError, ServiceCounters};
pub use service::MeasuredService;
use service::ServiceMoments;

/// The window that a steady load is measured over.
pub const STABLE_WINDOW: Millis = Millis::from_secs(60);

/// The window that a sudden rise shows in.
pub const BURST_WINDOW: Millis = Millis::from_secs(6);

/// What all fronts together say of one service.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Demand {
    /// Requests that wait for a replica.
    pub held: Requests,
    /// Requests that a replica is serving.
    pub in_flight: Requests,
    /// How long the oldest held request had waited when it was reported.
    pub oldest_held: Millis,
    /// Arrivals over the last [`STABLE_WINDOW`], or since the first report where that is shorter.
    pub arrivals_per_second_stable: PerSecond,
    /// Arrivals over the last [`BURST_WINDOW`].
    pub arrivals_per_second_burst: PerSecond,
    /// When the last arrival was reported; `None` when there was none since the first report.
    pub last_arrival_at: Option<Millis>,
    /// Service time as measured; `None` until a request has been served.
    pub service: Option<MeasuredService>,
    /// Ready replicas: the most that any front sees.
    pub endpoints: Replicas,
    /// Requests that one replica is given at a time: the most that any front gives. Where several fronts each give that
    /// many, the extra waiting inside the replica shows as a longer service time.
    pub concurrency: Option<NonZeroU32>,
    /// Fronts that this view is made of.
    pub fronts: u32,
}

/// Who counts as a member, and how many may.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Membership {
    /// A front silent for longer than this is forgotten.
    pub expiry: Millis,
    /// Fronts remembered at once; more are refused, so that memory stays bounded.
    pub fronts_max: usize,
}

/// The demand of one service, as told by its fronts. Memory is bounded by [`Membership::fronts_max`].
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Demands {
    membership: Membership,
    fronts: BTreeMap<FrontId, Front>,
    arrivals: Arrivals,
    service: ServiceMoments,
    /// Since when at least one front has reported without a break.
    since: Option<Millis>,
    reported_at: Millis,
    last_arrival_at: Option<Millis>,
}

#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
struct Front {
    sequence: u64,
    at: Millis,
    counters: ServiceCounters,
    /// Kept until it expires, so that a report overtaken by the leave does not bring the front back.
    left: bool,
}

impl Default for Membership {
    /// Ten missed heartbeats of a second each; far more fronts than one service has.
    fn default() -> Self {
        Self { expiry: Millis::from_secs(10), fronts_max: 64 }
    }
}

impl Demands {
    /// With nobody reporting yet.
    pub fn new(membership: Membership) -> Self {
        Self { membership, ..Self::default() }
    }

    /// Takes in one report.
    pub fn report(
        &mut self,
        now: Millis,
        front: &FrontId,
        sequence: u64,
        counters: ServiceCounters,
    ) -> Result<Accepted, ReportError> {
        self.forget_expired(now);
        let before = self.fronts.get(front).copied();
        self.admit(front, sequence, before)?;
        self.fronts.insert(front.clone(), Front { sequence, at: now, counters, left: false });
        self.since.get_or_insert(now);
        self.reported_at = self.reported_at.max(now);
        let Some(before) = before else { return Ok(Accepted::Joined) };
        let Some(growth) = counters.since(&before.counters) else { return Ok(Accepted::Restarted) };
        self.record(before.at, now, growth);
        Ok(Accepted::Updated)
    }

    /// Takes a front out now instead of at its expiry.
    pub fn leave(&mut self, now: Millis, front: &FrontId) {
        self.forget_expired(now);
        if let Some(front) = self.fronts.get_mut(front) {
            front.left = true;
        }
    }

    /// The demand at `now`, as old as the oldest of the reports that it is made of; `None` when no front reports.
    pub fn demand(&self, now: Millis) -> Option<Aged<Demand>> {
        let live = || self.fronts.values().filter(|front| self.is_live(front, now));
        let at = live().map(|front| front.at).min()?;
        let sum = |gauge: fn(&ServiceCounters) -> Requests| {
            live()
                .map(|front| gauge(&front.counters))
                .fold(Requests::ZERO, Requests::saturating_add)
        };
        let observed = self.reported_at.saturating_sub(self.since.unwrap_or(self.reported_at));
        let stable_span = observed.clamp(BURST_WINDOW, STABLE_WINDOW);
        let rate = |span| PerSecond::over(self.arrivals.within(span, self.reported_at), span);
        let value = Demand {
            held: sum(|c| c.held),
            in_flight: sum(|c| c.in_flight),
            oldest_held: live().map(|f| f.counters.oldest_held).max().unwrap_or_default(),
            arrivals_per_second_stable: rate(stable_span),
            arrivals_per_second_burst: rate(BURST_WINDOW),
            last_arrival_at: self.last_arrival_at,
            service: self.service.measured(),
            endpoints: live().map(|f| f.counters.endpoints).max().unwrap_or_default(),
            concurrency: NonZeroU32::new(live().map(|f| f.counters.concurrency).max().unwrap_or(0)),
            fronts: u32::try_from(live().count()).unwrap_or(u32::MAX),
        };
        Some(Aged { value, at })
    }

    fn is_live(&self, front: &Front, now: Millis) -> bool {
        !front.left && now.saturating_sub(front.at) <= self.membership.expiry
    }

    fn admit(&self, id: &FrontId, given: u64, before: Option<Front>) -> Result<(), ReportError> {
        let fronts_max = self.membership.fronts_max;
        let front = || id.clone();
        match before {
            None if self.fronts.len() >= fronts_max => {
                Err(ReportError::Full { front: front(), fronts_max })
            }
            Some(Front { left: true, .. }) => Err(ReportError::Left { front: front() }),
            Some(Front { sequence: last, .. }) if given <= last => {
                Err(ReportError::Stale { front: front(), given, last })
            }
            _ => Ok(()),
        }
    }

    /// When nobody is left, what arrived before is history: the next front starts a new one.
    fn forget_expired(&mut self, now: Millis) {
        let expiry = self.membership.expiry;
        self.fronts.retain(|_, front| now.saturating_sub(front.at) <= expiry);
        if self.fronts.is_empty() {
            self.since = None;
            self.arrivals = Arrivals::default();
            self.last_arrival_at = None;
        }
    }

    fn record(&mut self, from: Millis, now: Millis, growth: Growth) {
        if growth.arrivals > 0 {
            self.last_arrival_at = self.last_arrival_at.max(Some(now));
        }
        self.arrivals.add(from, now, growth.arrivals as f64);
        self.service.add(now, growth);
    }
}
