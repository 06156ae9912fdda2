//! The record of one request, from its arrival to its end. It is counted exactly once, however it ends: a record that
//! is dropped unfinished means that the client has left, and counts as 499.

use std::{sync::Arc, time::Duration};

use spotscale_decide::admission::Tier;
use tokio::time::Instant;

use super::metrics::{Ended, Metrics};

const CLIENT_GONE: u16 = 499;

/// A request under way.
pub(super) struct Exchange {
    metrics: Arc<Metrics>,
    service: Arc<str>,
    started: Instant,
    held: Option<Duration>,
    tier: Option<Tier>,
    code: u16,
}

impl Exchange {
    pub(super) fn begin(metrics: Arc<Metrics>, service: Arc<str>) -> Self {
        let started = Instant::now();
        Self { metrics, service, started, held: None, tier: None, code: CLIENT_GONE }
    }

    /// It has waited in line; more than once when it was sent again.
    pub(super) fn held_for(&mut self, span: Duration) {
        self.held = Some(self.held.unwrap_or_default() + span);
    }

    pub(super) fn held(&self) -> Option<Duration> {
        self.held
    }

    pub(super) fn sent_to(&mut self, tier: Tier) {
        self.tier = Some(tier);
    }

    pub(super) fn retried(&self, reason: &'static str) {
        self.metrics.retried(&self.service, reason);
    }

    pub(super) fn refused(&self, reason: &'static str) {
        self.metrics.refused(&self.service, reason);
    }

    /// It has ended with this code.
    pub(super) fn finish(mut self, code: u16) {
        self.code = code;
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        let took = self.started.elapsed();
        let ended = Ended { code: self.code, tier: self.tier, took, held: self.held };
        self.metrics.ended(&self.service, &ended);
    }
}
