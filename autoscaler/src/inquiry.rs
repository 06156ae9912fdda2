//! What became of machines that are gone without a word. A task of its own asks the provider, so that no tick waits for it;
//! each machine is asked about a few times within the hour after which providers forget.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use spotscale_decide::units::InstanceId;
use tokio::{
    sync::{mpsc, watch},
    time::{Instant, sleep, sleep_until, timeout},
};
use tokio_util::task::AbortOnDropHandle;
use tracing::{info, warn};

use crate::{
    fates::{Fate, Fates},
    metrics::Metrics,
};

/// Machines that are asked about at once.
const AT_ONCE: usize = 200;
/// Between two questions, whatever there is to ask.
const PACE: Duration = Duration::from_secs(5);
/// A machine of which nothing was learned is asked about again after so long, and then after twice as long each time.
const ASK_AGAIN: Duration = Duration::from_mins(1);
/// And so often at most: the last time is after an hour.
const TIMES_MAX: u32 = 7;
/// A question may take so long: it has pages.
const ANSWER_WITHIN: Duration = Duration::from_mins(1);
/// Answers that may wait for the next tick.
const ANSWERS_MAX: usize = 16;

/// The task that asks, and what it learned.
pub(crate) struct Inquiry {
    open: watch::Sender<Vec<InstanceId>>,
    answers: mpsc::Receiver<Vec<Fate>>,
    _asking: AbortOnDropHandle<()>,
}

struct Asking {
    fates: Arc<dyn Fates>,
    metrics: Metrics,
    open: watch::Receiver<Vec<InstanceId>>,
    asked: BTreeMap<InstanceId, Asked>,
    answers: mpsc::Sender<Vec<Fate>>,
}

/// What a machine was asked about.
struct Asked {
    times: u32,
    again_at: Instant,
}

// === impl Inquiry ===

impl Inquiry {
    pub(crate) fn start(fates: Arc<dyn Fates>, metrics: Metrics) -> Self {
        let (open, asked_of) = watch::channel(vec![]);
        let (sender, answers) = mpsc::channel(ANSWERS_MAX);
        let asked = BTreeMap::new();
        let asking = Asking { fates, metrics, open: asked_of, asked, answers: sender };
        let asking = AbortOnDropHandle::new(tokio::spawn(asking.run()));
        Self { open, answers, _asking: asking }
    }

    /// Asks about these machines from now on, and about no others.
    pub(crate) fn ask<'a>(&self, open: impl Iterator<Item = &'a InstanceId>) {
        let open: Vec<_> = open.cloned().collect();
        self.open.send_if_modified(|known| {
            let changed = *known != open;
            *known = open;
            changed
        });
    }

    /// The ends that were learned of since the last time.
    pub(crate) fn learned(&mut self) -> Vec<Fate> {
        let answers = std::iter::from_fn(|| self.answers.try_recv().ok());
        answers.flatten().collect()
    }
}

// === impl Asking ===

impl Asking {
    async fn run(mut self) {
        loop {
            let open = self.open.borrow_and_update().clone();
            self.asked.retain(|instance, _| open.contains(instance));
            let now = Instant::now();
            let due = open.iter().filter(|instance| self.is_due(instance, now));
            let due: Vec<_> = due.take(AT_ONCE).cloned().collect();
            if due.is_empty() {
                if !self.wait().await {
                    return;
                }
            } else {
                self.ask(&due).await;
                sleep(PACE).await;
            }
        }
    }

    fn is_due(&self, instance: &InstanceId, now: Instant) -> bool {
        let asked = self.asked.get(instance);
        asked.is_none_or(|asked| asked.times < TIMES_MAX && asked.again_at <= now)
    }

    /// Waits until there may be something to ask; false at the end.
    async fn wait(&mut self) -> bool {
        let again = self.asked.values().filter(|asked| asked.times < TIMES_MAX);
        let next = again.map(|asked| asked.again_at).min();
        tokio::select! {
            changed = self.open.changed() => changed.is_ok(),
            () = async { sleep_until(next.unwrap_or_else(Instant::now)).await }, if next.is_some() => true,
        }
    }

    async fn ask(&mut self, due: &[InstanceId]) {
        let answer = timeout(ANSWER_WITHIN, self.fates.fates(due)).await;
        let now = Instant::now();
        for instance in due {
            let asked = self.asked.entry(instance.clone());
            let asked = asked.or_insert(Asked { times: 0, again_at: now });
            asked.again_at = now + ASK_AGAIN * 2_u32.pow(asked.times);
            asked.times += 1;
        }
        match answer {
            Ok(Ok(mut fates)) => {
                fates.retain(|fate| fate.end.is_some());
                info!(
                    asked = due.len(),
                    ended = fates.len(),
                    "what became of machines that are gone"
                );
                // The other end is gone only when we are.
                let _ = self.answers.send(fates).await;
            }
            Ok(Err(error)) => {
                warn!(%error, "the ledger goes by when machines were seen last");
                self.metrics.failure("fates", error.kind());
            }
            Err(_) => self.metrics.failure("fates", "timeout"),
        }
    }
}
