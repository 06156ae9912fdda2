//! Reads the notice queue while we lead: receives, tells nodes, and says which messages are done with. What is to be done
//! is [`Intake`]'s to say. A dry run reads nothing: what it took would be hidden from whoever acts.

use std::{sync::Arc, time::Duration};

use futures::{FutureExt as _, StreamExt as _, future::BoxFuture, stream};
use tokio::{
    sync::mpsc,
    time::{sleep, timeout},
};
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};
use tracing::{info, warn};

use crate::{
    cluster::Cluster,
    gate::Gate,
    intake::{HIDDEN_FOR, Intake, Orders, Outcome, Told},
    metrics::Metrics,
    notices::{NoticeSource, QueueError, Received},
    state::States,
};

/// A queue that failed is asked again after so long.
const ASK_AGAIN: Duration = Duration::from_secs(5);
/// Nodes that are told at once.
const AT_ONCE: usize = 16;
/// Orders that wait for the queue to take those before them. More are left: their messages come again, and are known.
const SETTLING_MAX: usize = 64;

pub(crate) struct Queue {
    pub(crate) source: Arc<dyn NoticeSource>,
    pub(crate) cluster: Arc<dyn Cluster>,
    pub(crate) gate: Arc<dyn Gate>,
    pub(crate) states: States,
    pub(crate) call_timeout: Duration,
    pub(crate) metrics: Metrics,
}

type Receiving = BoxFuture<'static, Result<Vec<Received>, QueueError>>;

// === impl Queue ===

impl Queue {
    /// Reads until `shutdown`; at every look at the cluster the messages that are being worked on are looked at, too.
    pub(crate) async fn run(mut self, shutdown: CancellationToken) {
        let (mut intake, mut term) = (Intake::default(), None);
        let (settling, orders) = mpsc::channel(SETTLING_MAX);
        let settler = Settler {
            source: Arc::clone(&self.source),
            patience: self.call_timeout,
            metrics: self.metrics.clone(),
        };
        let settler = AbortOnDropHandle::new(tokio::spawn(settler.run(orders)));
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
                receiving = self.received(received, &mut intake, &settling);
            }
            let orders = {
                let state = self.states.borrow_and_update();
                state.as_ref().map(|state| intake.orders(&state.snapshot.seen))
            };
            if let Some(orders) = orders {
                self.work(term, &mut intake, orders, &settling).await;
            }
        }
        drop(settling);
        let _ = settler.await;
    }

    /// The pause after a failure, as what is waited for next.
    fn received(
        &self,
        received: Result<Vec<Received>, QueueError>,
        intake: &mut Intake,
        settling: &mpsc::Sender<Orders>,
    ) -> Option<Receiving> {
        match received {
            Ok(messages) => {
                self.settle(intake.take(messages), settling);
                None
            }
            Err(error) => {
                failed(&self.metrics, "receive", &error);
                let source = Arc::clone(&self.source);
                Some(sleep(ASK_AGAIN).then(move |()| receive(source)).boxed())
            }
        }
    }

    async fn work(
        &self,
        term: u64,
        intake: &mut Intake,
        orders: Orders,
        settling: &mpsc::Sender<Orders>,
    ) {
        let tell = |told: &Told| self.tell(term, told.clone()).boxed();
        let telling: Vec<BoxFuture<'_, Option<Told>>> = orders.tell.iter().map(tell).collect();
        let mut telling = stream::iter(telling).buffer_unordered(AT_ONCE);
        while let Some(told) = telling.next().await {
            if let Some(told) = told {
                intake.told(&told);
            }
        }
        drop(telling);
        if self.gate.term() == Some(term) {
            self.settle(orders, settling);
        }
    }

    /// Tells a node; it is told again at the next look if it did not take it.
    async fn tell(&self, term: u64, told: Told) -> Option<Told> {
        if self.gate.term() != Some(term) {
            return None;
        }
        let notified = self.cluster.notify(&told.node, told.news);
        let notified = tokio::select! {
            biased;
            notified = timeout(self.call_timeout, notified) => notified,
            () = self.gate.over(term) => return None,
        };
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

    /// Counts what became of messages, and has the queue told beside the loop: whatever it does, the next notice is heard.
    fn settle(&self, orders: Orders, settling: &mpsc::Sender<Orders>) {
        for (kind, outcome) in &orders.outcomes {
            self.metrics.notice("queue", kind, outcome.kind());
            if *outcome == Outcome::Foreign {
                info!(kind, "a notice about a machine that is not ours is taken off the queue");
            }
        }
        let asks_something = !(orders.done.is_empty() && orders.keep.is_empty());
        if asks_something && settling.try_send(orders).is_err() {
            warn!("the notice queue takes nothing: messages are left on it");
            self.metrics.failure("done", "busy");
        }
    }
}

/// Tells the queue what is done with and what is kept, in the order in which that was said.
struct Settler {
    source: Arc<dyn NoticeSource>,
    patience: Duration,
    metrics: Metrics,
}

impl Settler {
    async fn run(self, mut settling: mpsc::Receiver<Orders>) {
        let hidden_for = Duration::from_millis(HIDDEN_FOR.0);
        while let Some(Orders { done, keep, .. }) = settling.recv().await {
            if !done.is_empty() {
                self.ask("done", self.source.done(&done)).await;
            }
            if !keep.is_empty() {
                self.ask("keep", self.source.keep(&keep, hidden_for)).await;
            }
        }
    }

    async fn ask(&self, call: &'static str, asked: impl Future<Output = Result<(), QueueError>>) {
        let late = |_| {
            let why = format!("no answer in {:?}", self.patience);
            Err(QueueError::Unavailable { kind: "timeout", why })
        };
        if let Err(error) = timeout(self.patience, asked).await.unwrap_or_else(late) {
            failed(&self.metrics, call, &error);
        }
    }
}

/// What was not taken off comes again, and is known.
fn failed(metrics: &Metrics, call: &'static str, error: &QueueError) {
    warn!(%error, call, "the notice queue");
    metrics.failure(call, error.kind());
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
