//! One watch of one kind of object, kept up through everything: the store always holds the last list that was had.
//!
//! After any error everything is listed anew. That costs a list, and spares the question whether a resumed watch is
//! really there: the watch is up from the end of a list to the next error.

use std::{
    fmt::Debug,
    pin::pin,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use futures::TryStreamExt as _;
use kube::{
    Api, Resource,
    runtime::{
        reflector::{self, Store, store::Writer},
        watcher::{self, Event, watcher},
    },
};
use prometheus_client::metrics::counter::Counter;
use serde::de::DeserializeOwned;
use tokio::{
    sync::watch,
    time::{Instant, sleep},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::metrics::{Metrics, OfWatch, Watched};
use crate::front::upstream::innermost;

/// The API server ends a watch after this long, and it is taken up again: a connection that has died in silence is
/// noticed by then.
pub(super) const WATCH_SECONDS: u32 = 30;
const BACK_OFF_MIN: Duration = Duration::from_millis(100);
const BACK_OFF_MAX: Duration = Duration::from_secs(5);
/// A watch that was up for less has not recovered: one that may list but not watch would else list without end.
const STEADY: Duration = Duration::from_secs(10);

/// How fresh a watch's list is.
#[derive(Debug)]
pub(super) struct Contact(Mutex<State>);

#[derive(Debug, Clone, Copy)]
enum State {
    /// Nothing was ever listed.
    Unlisted(Instant),
    Up,
    /// Was up, until then.
    Lost(Instant),
}

/// The watches of one front, as they are started.
pub(super) struct Watches<'a> {
    pub(super) metrics: &'a Metrics,
    pub(super) tasks: &'a TaskTracker,
    pub(super) end: &'a CancellationToken,
    /// Told of every change of any store.
    pub(super) news: watch::Sender<()>,
    pub(super) started: Vec<Watched>,
}

/// A watch to be run.
struct Follower<K: Resource<DynamicType = ()> + Clone + 'static> {
    api: Api<K>,
    wanted: watcher::Config,
    /// Drops what nobody reads of an object, before it is kept.
    prune: fn(&mut K),
    writer: Writer<K>,
    contact: Arc<Contact>,
    failures: Counter,
    news: watch::Sender<()>,
}

impl Watches<'_> {
    /// Starts one, and returns where it keeps what it sees.
    pub(super) fn start<K>(
        &mut self,
        api: Api<K>,
        wanted: watcher::Config,
        (resource, namespace): (&'static str, &str),
        prune: fn(&mut K),
    ) -> Store<K>
    where
        K: Resource<DynamicType = ()> + Clone + DeserializeOwned + Debug + Send + Sync + 'static,
    {
        let name = OfWatch { resource, namespace: namespace.to_owned() };
        let (store, writer) = reflector::store();
        let (contact, failures) = (Contact::new(), self.metrics.failures(&name));
        self.started.push((name, Arc::clone(&contact)));
        let wanted = wanted.timeout(WATCH_SECONDS);
        let news = self.news.clone();
        let follower = Follower { api, wanted, prune, writer, contact, failures, news };
        self.tasks.spawn(self.end.clone().run_until_cancelled_owned(follower.run()));
        store
    }

    pub(super) fn contacts(&self) -> Vec<Arc<Contact>> {
        self.started.iter().map(|(_, contact)| Arc::clone(contact)).collect()
    }
}

impl Contact {
    fn new() -> Arc<Self> {
        Arc::new(Self(Mutex::new(State::Unlisted(Instant::now()))))
    }

    /// Whether there ever was a list.
    pub(super) fn is_listed(&self) -> bool {
        !matches!(self.get(), State::Unlisted(_))
    }

    /// Since when the list may be out of date; zero while the watch is up.
    pub(super) fn stale(&self) -> Duration {
        match self.get() {
            State::Up => Duration::ZERO,
            State::Unlisted(since) | State::Lost(since) => since.elapsed(),
        }
    }

    /// True when it was down until now.
    fn up(&self) -> bool {
        let was = std::mem::replace(&mut *self.lock(), State::Up);
        !matches!(was, State::Up)
    }

    /// True when it was up until now.
    fn lost(&self) -> bool {
        let mut state = self.lock();
        let was_up = matches!(*state, State::Up);
        if was_up {
            *state = State::Lost(Instant::now());
        }
        was_up
    }

    fn get(&self) -> State {
        *self.lock()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<K> Follower<K>
where
    K: Resource<DynamicType = ()> + Clone + DeserializeOwned + Debug + Send + Sync + 'static,
{
    /// Never returns.
    async fn run(mut self) {
        let mut pause = BACK_OFF_MIN;
        let mut last_error = String::new();
        loop {
            let started = Instant::now();
            let outcome = self.watch().await;
            let is_new = self.contact.lost();
            self.failures.inc();
            let error = outcome.err().map_or_else(|| "it ended".to_owned(), |e| explain(&e));
            let resource = self.api.resource_url();
            if is_new || error != last_error {
                tracing::warn!(%error, resource, "not watched: what is known of it stays in use");
                last_error = error;
            } else {
                tracing::debug!(%error, resource, "still not watched");
            }
            if started.elapsed() > STEADY {
                pause = BACK_OFF_MIN;
            }
            // Up to a quarter more, so that all fronts do not come back to the API server together.
            sleep(pause.mul_f64(1.0 + fastrand::f64() / 4.0)).await;
            pause = (pause * 2).min(BACK_OFF_MAX);
        }
    }

    async fn watch(&mut self) -> Result<(), watcher::Error> {
        let mut events = pin!(watcher(self.api.clone(), self.wanted.clone()));
        while let Some(event) = events.try_next().await? {
            self.take(&event.modify(self.prune));
        }
        Ok(())
    }

    fn take(&mut self, event: &Event<K>) {
        self.writer.apply_watcher_event(event);
        match event {
            Event::Init | Event::InitApply(_) => return,
            Event::InitDone if self.contact.up() => {
                tracing::info!(resource = self.api.resource_url(), "watching");
            }
            Event::InitDone | Event::Apply(_) | Event::Delete(_) => {}
        }
        self.news.send_replace(());
    }
}

/// The words of the API server, or of the system where it was not reached.
fn explain(error: &watcher::Error) -> String {
    use watcher::Error::{InitialListFailed, WatchError, WatchFailed, WatchStartFailed};
    match error {
        InitialListFailed(kube::Error::Api(status))
        | WatchStartFailed(kube::Error::Api(status))
        | WatchFailed(kube::Error::Api(status))
        | WatchError(status) => status.message.clone(),
        other => innermost(other),
    }
}

#[cfg(test)]
mod tests;
