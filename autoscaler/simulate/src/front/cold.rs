//! How long the service takes from nobody there to somebody there, measured as the front measures it.

use spotscale_decide::{admission::ColdStart, units::Millis};

use crate::moment::Moment;

#[derive(Debug)]
pub(super) struct Cold {
    typical: Millis,
    fastest: Option<Millis>,
    since: Option<Moment>,
}

impl Cold {
    pub(super) const fn new(guess: Millis) -> Self {
        Self { typical: guess, fastest: None, since: None }
    }

    /// A request wants a replica and there is none.
    pub(super) fn wanted(&mut self, now: Moment) {
        self.since.get_or_insert(now);
    }

    pub(super) fn abandoned_if(&mut self, nobody_waits: bool) {
        if nobody_waits {
            self.since = None;
        }
    }

    /// A replica is there. Was it waited for?
    pub(super) fn served(&mut self, now: Moment) -> bool {
        let Some(since) = self.since.take() else { return false };
        let took = now.since(since).millis();
        // Half the weight is the newest.
        let typical = Millis(self.typical.0.midpoint(took.0));
        self.typical = if self.fastest.is_none() { took } else { typical };
        self.fastest = Some(self.fastest.map_or(took, |fastest| fastest.min(took)));
        true
    }

    pub(super) fn view(&self, now: Moment) -> ColdStart {
        let elapsed = self.since.map(|since| now.since(since).millis());
        ColdStart {
            fastest: self.fastest,
            typical: self.typical,
            elapsed: elapsed.unwrap_or_default(),
        }
    }
}
