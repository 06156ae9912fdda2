//! When requests come: as moments, or as counts per interval, which are spread over it by chance.

use std::collections::VecDeque;

use spotscale_decide::units::Millis;

use crate::{
    dice::{Dice, Purpose},
    front::Arriving,
    moment::Moment,
};

/// Requests to come, from the beginning of the simulation on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Arrivals {
    /// Each with its moment, in order.
    Moments(Vec<Moment>),
    /// So many in each interval.
    Counts {
        /// The interval.
        every: Millis,
        /// Requests in each.
        counts: Vec<u32>,
    },
}

/// When moments are multiplied, they are spread over so much time.
const SPREAD: Millis = Millis::from_secs(10);

impl Arrivals {
    /// From moments in any order, of which the first is the beginning.
    pub fn from_moments(mut moments: Vec<Moment>) -> Self {
        moments.sort_unstable();
        let first = moments.first().copied().unwrap_or_default();
        Self::Moments(moments.into_iter().map(|moment| moment.since(first)).collect())
    }

    /// So many times as many, in the same shape; fractions are left to chance.
    #[must_use]
    pub fn scaled(self, factor: f64, seed: u64) -> Self {
        if (factor - 1.0).abs() < f64::EPSILON {
            return self;
        }
        let mut dice = Dice::new(seed, Purpose::Arrivals);
        let (every, counts) = match self {
            Self::Counts { every, counts } => (every, counts),
            Self::Moments(moments) => (SPREAD, counted(&moments, SPREAD)),
        };
        let counts = counts.into_iter().map(|n| dice.rounded(f64::from(n) * factor)).collect();
        Self::Counts { every, counts }
    }

    /// How many there are.
    pub fn total(&self) -> u64 {
        match self {
            Self::Moments(moments) => moments.len() as u64,
            Self::Counts { counts, .. } => counts.iter().map(|n| u64::from(*n)).sum(),
        }
    }

    /// When the last one has come.
    pub fn lasts(&self) -> Millis {
        match self {
            Self::Moments(moments) => {
                moments.last().map_or(Millis::ZERO, |last| Millis(last.millis().0 + 1))
            }
            Self::Counts { every, counts } => Millis(every.0.saturating_mul(counts.len() as u64)),
        }
    }

    /// One after the other. The same seed gives the same moments.
    pub(crate) fn play(&self, seed: u64) -> Played<'_> {
        let dice = Dice::new(seed, Purpose::Arrivals);
        Played { arrivals: self, dice, next: 0, spread: VecDeque::new() }
    }
}

fn counted(moments: &[Moment], every: Millis) -> Vec<u32> {
    let mut counts = Vec::new();
    for moment in moments {
        let interval = (moment.millis().0 / every.0) as usize;
        if counts.len() <= interval {
            counts.resize(interval + 1, 0);
        }
        counts[interval] += 1;
    }
    counts
}

/// Requests as they come.
pub(crate) struct Played<'a> {
    arrivals: &'a Arrivals,
    dice: Dice,
    next: usize,
    /// Of the interval that is played, what is to come.
    spread: VecDeque<Moment>,
}

impl Arriving for Played<'_> {
    fn next_at(&mut self) -> Option<Moment> {
        match self.arrivals {
            Arrivals::Moments(moments) => moments.get(self.next).copied(),
            Arrivals::Counts { every, counts } => {
                while self.spread.is_empty() {
                    let count = *counts.get(self.next)?;
                    let span = Moment::from(*every).0;
                    let begin = span * self.next as u64;
                    let dice = &mut self.dice;
                    let mut draw = || Moment(begin + (dice.uniform() * span as f64) as u64);
                    let mut moments: Vec<_> = (0..count).map(|_| draw()).collect();
                    moments.sort_unstable();
                    self.spread = moments.into();
                    self.next += 1;
                }
                self.spread.front().copied()
            }
        }
    }

    fn come(&mut self) {
        match self.arrivals {
            Arrivals::Moments(_) => self.next += 1,
            Arrivals::Counts { .. } => {
                self.spread.pop_front();
            }
        }
    }
}

impl Iterator for Played<'_> {
    type Item = Moment;

    fn next(&mut self) -> Option<Moment> {
        let next = self.next_at();
        self.come();
        next
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_played_in_order_within_their_intervals() {
        let every = Millis::from_secs(60);
        let arrivals = Arrivals::Counts { every, counts: vec![3, 0, 2] };
        let minutes = |seed| {
            let played: Vec<_> = arrivals.play(seed).collect();
            assert!(played.is_sorted());
            (played.iter().map(|at| at.millis().0 / 60_000).collect::<Vec<_>>(), played)
        };
        assert_eq!(minutes(1).0, [0, 0, 0, 2, 2]);
        assert_eq!(minutes(1).1, minutes(1).1);
        assert_ne!(minutes(1).1, minutes(2).1);
        assert_eq!((arrivals.total(), arrivals.lasts()), (5, Millis::from_secs(180)));
    }

    #[test]
    fn scaling_keeps_the_shape() {
        let seconds = |seconds: &[u64]| {
            Arrivals::from_moments(
                seconds.iter().map(|s| Moment::from(Millis::from_secs(*s))).collect(),
            )
        };
        let busy: Vec<u64> = (100..160).chain(1000..1010).collect();
        let Arrivals::Counts { counts, .. } = seconds(&busy).scaled(2.5, 1) else { panic!() };
        assert_eq!(counts.iter().sum::<u32>(), 175, "sixty and ten, two and a half times");
        assert_eq!((counts.len(), counts[50]), (91, 0));
        assert_eq!(seconds(&[5, 3]).play(1).map(|at| at.millis().0).collect::<Vec<_>>(), [0, 2000]);
    }
}
