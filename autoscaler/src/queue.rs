//! Reads the notice queue while we lead: receives, tells nodes, and says which messages are done with. What is to be done
//! is [`Intake`]'s to say. A dry run reads nothing: what it took would be hidden from whoever acts.

use std::{sync::Arc, time::Duration};

use futures::{FutureExt as _, StreamExt as _, future::BoxFuture, stream};
use tokio::{
    sync::watch,
    time::{sleep, timeout},
};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::{
    cluster::Cluster,
    gate::Gate,
    intake::{HIDDEN_FOR, Intake, Orders, Outcome, Told},
    metrics::Metrics,
    notices::{NoticeSource, QueueError, Received},
    state::State,
};

/// A queue that failed is asked again after so long.
const ASK_AGAIN: Duration = Duration::from_secs(5);
/// Nodes that are told at once.
const AT_ONCE: usize = 16;

pub(crate) struct Queue {
    pub(crate) source: Arc<dyn NoticeSource>,
    pub(crate) cluster: Arc<dyn Cluster>,
    pub(crate) gate: Arc<dyn Gate>,
    pub(crate) states: watch::Receiver<Option<State>>,
    pub(crate) call_timeout: Duration,
    pub(crate) metrics: Metrics,
}

type Receiving = BoxFuture<'static, Result<Vec<Received>, QueueError>>;

// === impl Queue ===

impl Queue {
    /// Reads until `shutdown`; at every look at the cluster the messages that are being worked on are looked at, too.
    pub(crate) async fn run(mut self, shutdown: CancellationToken) {
        let (mut intake, mut term) = (Intake::default(), None);
        let mut receiving: Option<Receiving> = None;
        while !shutdown.is_cancelled() {
            if self.gate.term() != term {
                // The next leader hears of them when they come again.
                (intake, term) = (Intake::default(), self.gate.term());
            }
            if term.is_some() && receiving.is_none() {
                receiving = Some(receive(Arc::clone(&self.source)));
            }
            let received = tokio::select! {
                () = shutdown.cancelled() => break,
                changed = self.states.changed() => match changed {
                    Ok(()) => None,
                    Err(_) => break,
                },
                received = wait(&mut receiving) => Some(received),
            };
            let Some(term) = term else { continue };
            if let Some(received) = received {
                receiving = self.received(received, &mut intake).await;
            }
            let orders = {
                let state = self.states.borrow_and_update();
                state.as_ref().map(|state| intake.orders(&state.snapshot.seen))
            };
            if let Some(orders) = orders {
                self.work(term, &mut intake, &orders).await;
            }
        }
    }

    /// The pause after a failure, as what is waited for next.
    async fn received(
        &self,
        received: Result<Vec<Received>, QueueError>,
        intake: &mut Intake,
    ) -> Option<Receiving> {
        match received {
            Ok(messages) => {
                let orders = intake.take(messages);
                self.settle(&orders).await;
                None
            }
            Err(error) => {
                self.failed("receive", &error);
                let source = Arc::clone(&self.source);
                Some(sleep(ASK_AGAIN).then(move |()| receive(source)).boxed())
            }
        }
    }

    async fn work(&self, term: u64, intake: &mut Intake, orders: &Orders) {
        let tell = |told: &Told| self.tell(term, told.clone()).boxed();
        let telling: Vec<BoxFuture<'_, Option<Told>>> = orders.tell.iter().map(tell).collect();
        let mut telling = stream::iter(telling).buffer_unordered(AT_ONCE);
        while let Some(told) = telling.next().await {
            if let Some(told) = told {
                intake.told(&told);
            }
        }
        if self.gate.term() == Some(term) {
            self.settle(orders).await;
        }
    }

    /// Tells a node; it is told again at the next look if it did not take it.
    async fn tell(&self, term: u64, told: Told) -> Option<Told> {
        if self.gate.term() != Some(term) {
            return None;
        }
        let notified = timeout(self.call_timeout, self.cluster.notify(&told.node, told.news)).await;
        match notified {
            Ok(Ok(_)) => {
                info!(node = %told.node, instance = %told.instance, news = ?told.news, "told a node");
                return Some(told);
            }
            Ok(Err(error)) => {
                warn!(node = %told.node, %error, "a node was not told; trying again");
                self.metrics.failure("notify", error.kind());
            }
            Err(_) => self.metrics.failure("notify", "timeout"),
        }
        None
    }

    async fn settle(&self, orders: &Orders) {
        for (kind, outcome) in &orders.outcomes {
            self.metrics.notice("queue", kind, outcome.kind());
            if *outcome == Outcome::Foreign {
                info!(kind, "a notice about a machine that is not ours is taken off the queue");
            }
        }
        if !orders.done.is_empty()
            && let Err(error) = self.source.done(&orders.done).await
        {
            self.failed("done", &error);
        }
        let hidden_for = Duration::from_millis(HIDDEN_FOR.0);
        if !orders.keep.is_empty()
            && let Err(error) = self.source.keep(&orders.keep, hidden_for).await
        {
            self.failed("keep", &error);
        }
    }

    /// What was not taken off comes again, and is known.
    fn failed(&self, call: &'static str, error: &QueueError) {
        warn!(%error, call, "the notice queue");
        self.metrics.failure(call, error.kind());
    }
}

fn receive(source: Arc<dyn NoticeSource>) -> Receiving {
    async move { source.receive().await }.boxed()
}

/// A receive is never given up half-way: what it has taken would be hidden until it comes again.
async fn wait(receiving: &mut Option<Receiving>) -> Result<Vec<Received>, QueueError> {
    let Some(waiting) = receiving else { return std::future::pending().await };
    let received = waiting.await;
    *receiving = None;
    received
}
