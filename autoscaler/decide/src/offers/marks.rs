//! A fading memory of what went wrong with each offering. A fixed ban is either too short, and a loop of launches and
//! losses follows, or too long, and a good zone is missed for hours.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::OfferPolicy;
use crate::{cluster::Offering, pairs, units::Millis};

/// Below this a mark is forgotten altogether.
const FORGOTTEN_BELOW: f64 = 0.001;

/// Bad marks by offering.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Marks {
    #[serde(with = "pairs")]
    marks: BTreeMap<Offering, Mark>,
}

#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
struct Mark {
    score: f64,
    at: Timestamp,
}

impl Marks {
    /// Adds a mark: 1 for an interruption, less for what is less certain.
    pub fn add(&mut self, offering: &Offering, weight: f64, half_life: Millis, now: Timestamp) {
        let score = self.score(offering, half_life, now) + weight;
        self.marks.insert(offering.clone(), Mark { score, at: now });
        self.marks.retain(|_, mark| mark.score_at(half_life, now) >= FORGOTTEN_BELOW);
    }

    /// How bad it is now; 0 when nothing is known.
    pub fn score(&self, offering: &Offering, half_life: Millis, now: Timestamp) -> f64 {
        self.marks.get(offering).map_or(0.0, |mark| mark.score_at(half_life, now))
    }

    /// When the score will have fallen to the policy's limit.
    pub(super) fn below(
        &self,
        offering: &Offering,
        policy: &OfferPolicy,
        now: Timestamp,
    ) -> Timestamp {
        let half_life = policy.mark_half_life_ms;
        let too_much = self.score(offering, half_life, now) / policy.marks_max;
        let wait = half_life.0 as f64 * too_much.log2().max(0.0);
        Millis(wait.round() as u64).after(now)
    }
}

impl Mark {
    fn score_at(self, half_life: Millis, now: Timestamp) -> f64 {
        let half_lives = Millis::between(self.at, now).0 as f64 / half_life.0.max(1) as f64;
        self.score * (-half_lives).exp2()
    }
}
