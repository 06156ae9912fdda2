//! How long this service takes from nobody there to somebody there, measured while requests wait for it.

use std::time::Duration;

use spotscale_decide::{admission::ColdStart, units::Millis};
use tokio::time::Instant;

/// The measurements of one service.
#[derive(Debug)]
pub(super) struct ColdStarts {
    typical: Duration,
    fastest: Option<Duration>,
    since: Option<Instant>,
}

impl ColdStarts {
    /// `guess` stands in until one was measured.
    pub(super) const fn new(guess: Duration) -> Self {
        Self { typical: guess, fastest: None, since: None }
    }

    /// A request wants a replica and there is none. Only the first one counts.
    pub(super) fn wanted(&mut self, now: Instant) {
        self.since.get_or_insert(now);
    }

    /// Nobody waits any more: what comes now would not be measured from its beginning.
    pub(super) fn abandoned(&mut self) {
        self.since = None;
    }

    /// A replica is there. Half the weight is the newest: the image may have become cached, or the zone dry.
    pub(super) fn served(&mut self, now: Instant) -> Option<Duration> {
        let took = now.saturating_duration_since(self.since.take()?);
        self.typical = if self.fastest.is_none() { took } else { (self.typical + took) / 2 };
        self.fastest = Some(self.fastest.map_or(took, |fastest| fastest.min(took)));
        Some(took)
    }

    pub(super) fn view(&self, now: Instant) -> ColdStart {
        let elapsed = self.since.map(|since| now.saturating_duration_since(since));
        ColdStart {
            fastest: self.fastest.map(millis),
            typical: millis(self.typical),
            elapsed: millis(elapsed.unwrap_or_default()),
        }
    }
}

/// Rounded down; the largest value where it would overflow.
pub(super) fn millis(span: Duration) -> Millis {
    Millis(u64::try_from(span.as_millis()).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_guess_holds_until_the_first_measurement() {
        let start = Instant::now();
        let after = |secs| start + Duration::from_secs(secs);
        let mut cold = ColdStarts::new(Duration::from_secs(30));
        assert_eq!(cold.served(start), None);
        cold.wanted(start);
        cold.wanted(after(5));
        assert_eq!(cold.view(after(6)).elapsed, Millis(6_000));
        assert_eq!(cold.served(after(10)), Some(Duration::from_secs(10)));
        assert_eq!(cold.view(after(11)).typical, Millis(10_000));
        cold.wanted(after(20));
        cold.served(after(40));
        let view = cold.view(after(41));
        assert_eq!((view.typical, view.fastest), (Millis(15_000), Some(Millis(10_000))));
        cold.wanted(after(50));
        cold.abandoned();
        assert_eq!(cold.served(after(60)), None);
    }
}
