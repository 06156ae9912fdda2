//! The right to act as its holder has it: for a while, and for a while longer with each renewal.

use tokio::{
    sync::watch,
    time::{Instant, sleep_until},
};

/// The right to act, for a while.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Tenure {
    /// Counts the times that it was won anew.
    pub(super) term: u64,
    pub(super) until: Instant,
}

/// What is known of our own tenure.
#[derive(Debug, Clone)]
pub(super) struct Ours(pub(super) watch::Receiver<Option<Tenure>>);

// === impl Tenure ===

impl Tenure {
    pub(super) fn lasts(&self) -> bool {
        Instant::now() < self.until
    }
}

// === impl Ours ===

impl Ours {
    pub(super) fn now(&self) -> Option<Tenure> {
        self.0.borrow().filter(Tenure::lasts)
    }

    /// Waits until we lead.
    pub(super) async fn won(mut self) {
        // An error is the end of the election: then nobody is told anything any more.
        if self.0.wait_for(|tenure| tenure.is_some_and(|tenure| tenure.lasts())).await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// Waits until this term is over, however often it is renewed.
    pub(super) async fn over(mut self, term: u64) {
        loop {
            let tenure = *self.0.borrow_and_update();
            let Some(ours) = tenure.filter(|ours| ours.term == term && ours.lasts()) else {
                return;
            };
            tokio::select! {
                // Of the end of the election it is known how long the last renewal lasts.
                Ok(()) = self.0.changed() => {}
                () = sleep_until(ours.until) => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use futures::FutureExt as _;
    use tokio::time::{advance, timeout};

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn tenure(term: u64, seconds: u32) -> Tenure {
        Tenure { term, until: Instant::now() + SECOND * seconds }
    }

    /// How long a term lasts from now on, in whole seconds.
    async fn lasts(ours: &Ours, term: u64) -> u64 {
        let began = Instant::now();
        timeout(SECOND * 100, ours.clone().over(term)).await.expect("it never ends");
        began.elapsed().as_secs()
    }

    #[tokio::test(start_paused = true)]
    async fn a_term_is_over_when_it_was_not_renewed_in_time() {
        let (tenures, ours) = watch::channel(Some(tenure(1, 6)));
        let ours = Ours(ours);
        assert_eq!(lasts(&ours, 1).await, 6);
        assert_eq!(ours.now(), None);
        tenures.send_replace(Some(tenure(2, 6)));
        let renew = async {
            for _ in 0..4 {
                tokio::time::sleep(SECOND * 2).await;
                tenures.send_replace(Some(tenure(2, 6)));
            }
        };
        let (lasted, ()) = tokio::join!(lasts(&ours, 2), renew);
        assert_eq!(lasted, 4 * 2 + 6, "it was renewed");
    }

    #[tokio::test(start_paused = true)]
    async fn a_term_is_over_at_once_when_it_is_lost_or_won_anew() {
        let (tenures, ours) = watch::channel(Some(tenure(1, 6)));
        let ours = Ours(ours);
        let mut over = Box::pin(ours.clone().over(1));
        assert_eq!(over.as_mut().now_or_never(), None);
        advance(SECOND).await;
        tenures.send_replace(None);
        assert_eq!(over.as_mut().now_or_never(), Some(()));
        tenures.send_replace(Some(tenure(2, 6)));
        assert_eq!(lasts(&ours, 1).await, 0, "another term is no part of it");
        drop(tenures);
        assert_eq!(lasts(&ours, 2).await, 6, "the election has ended, and the lease goes on");
    }
}
