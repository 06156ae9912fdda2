//! One watch of one kind of object, kept up through everything, and how fresh what it has stored is.
//!
//! After an error everything is listed anew: the watch is known to be up from the end of a list to the next error.

use std::{
    pin::pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use futures::TryStreamExt as _;
use kube::{
    Api, Client,
    core::Selector,
    runtime::{
        reflector::{self, Store, store::Writer},
        utils::Backoff as _,
        watcher::{self, DefaultBackoff, Event, watcher},
    },
};
use tokio::time::{Instant, sleep};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{
    kinds::{Kind, Object, prune},
    metrics::{Metrics, OfWatch},
};

/// The API server ends a watch after this long, and it is taken up again: a connection that has died in silence is
/// noticed by then.
pub(super) const WATCH_SECONDS: u32 = 30;
/// While nothing is watched no node is emptied.
const BACK_OFF_MAX: Duration = Duration::from_secs(5);
/// The definition of a kind may be installed later: it is looked for so often.
const LOOK_AGAIN: Duration = Duration::from_secs(30);

/// What a watch has stored.
pub(super) struct Watched<K: Kind> {
    pub(super) store: Store<Object<K>>,
    contact: Arc<Contact>,
}

/// How fresh what a watch has stored is.
#[derive(Debug)]
pub(super) struct Contact(Mutex<State>);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Nothing was listed so far.
    Unlisted(Instant),
    Up,
    /// The cluster does not know this kind.
    Unknown,
    /// It was up, until then.
    Lost(Instant),
}

/// Starts watches.
pub(super) struct Watches<'a> {
    pub(super) client: &'a Client,
    pub(super) metrics: &'a Metrics,
    pub(super) tasks: &'a TaskTracker,
    pub(super) end: &'a CancellationToken,
}

struct Follower<K: Kind> {
    api: Api<Object<K>>,
    wanted: watcher::Config,
    writer: Writer<Object<K>>,
    contact: Arc<Contact>,
    metrics: Metrics,
}

// === impl Watches ===

impl Watches<'_> {
    /// Starts one, of the objects whose labels match, in every namespace.
    pub(super) fn start<K: Kind>(&self, labels: Option<&Selector>) -> Watched<K> {
        let (store, writer) = reflector::store();
        let contact = Arc::new(Contact(Mutex::new(State::Unlisted(Instant::now()))));
        self.metrics.watching(OfWatch { resource: K::PLURAL }, Arc::clone(&contact));
        let wanted = watcher::Config::default().timeout(WATCH_SECONDS);
        let follower = Follower {
            api: Api::all(self.client.clone()),
            wanted: labels.map_or(wanted.clone(), |labels| wanted.labels_from(labels)),
            writer,
            contact: Arc::clone(&contact),
            metrics: self.metrics.clone(),
        };
        self.tasks.spawn(self.end.clone().run_until_cancelled_owned(follower.run()));
        Watched { store, contact }
    }
}

// === impl Watched ===

impl<K: Kind> Watched<K> {
    /// Everything that is stored.
    pub(super) fn all(&self) -> Vec<Arc<Object<K>>> {
        self.store.state()
    }

    /// Does the cluster know this kind?
    pub(super) fn is_known(&self) -> bool {
        self.contact.get() != State::Unknown
    }

    /// What stands against deciding from what is stored, in words; nothing if it is fresh enough.
    pub(super) fn objection(&self, stale_max: Duration) -> Option<String> {
        match self.contact.get() {
            State::Unlisted(_) => Some(format!("{} were not listed yet", K::PLURAL)),
            State::Lost(since) if since.elapsed() > stale_max => {
                Some(format!("{} are not watched since {:?}", K::PLURAL, since.elapsed()))
            }
            State::Up | State::Unknown | State::Lost(_) => None,
        }
    }
}

// === impl Contact ===

impl Contact {
    /// Since when what is stored may be out of date; zero while the watch is up.
    pub(super) fn stale(&self) -> Duration {
        match self.get() {
            State::Up | State::Unknown => Duration::ZERO,
            State::Unlisted(since) | State::Lost(since) => since.elapsed(),
        }
    }

    fn get(&self) -> State {
        *self.lock()
    }

    /// True if that is news.
    fn set(&self, state: State) -> bool {
        let was = std::mem::replace(&mut *self.lock(), state);
        was != state
    }

    fn lost(&self) {
        let mut state = self.lock();
        if matches!(*state, State::Up | State::Unknown) {
            *state = State::Lost(Instant::now());
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl Follower ===

impl<K: Kind> Follower<K> {
    /// Never returns.
    async fn run(mut self) {
        let mut back_off = DefaultBackoff::default();
        loop {
            match self.watch().await {
                Err(error) if is_not_found(&error) => {
                    self.forget();
                    back_off.reset();
                    sleep(LOOK_AGAIN).await;
                }
                outcome => {
                    self.contact.lost();
                    self.metrics.watch_failed(&OfWatch { resource: K::PLURAL });
                    let error = outcome.err().map_or_else(|| "it ended".to_owned(), explain);
                    tracing::warn!(error, resource = K::PLURAL, "not watched");
                    sleep(back_off.next().unwrap_or_default().min(BACK_OFF_MAX)).await;
                }
            }
        }
    }

    async fn watch(&mut self) -> Result<(), watcher::Error> {
        let mut events = pin!(watcher(self.api.clone(), self.wanted.clone()));
        while let Some(event) = events.try_next().await? {
            let event = event.modify(prune);
            self.writer.apply_watcher_event(&event);
            if matches!(event, Event::InitDone) && self.contact.set(State::Up) {
                tracing::info!(resource = K::PLURAL, "watching");
            }
        }
        Ok(())
    }

    /// There is nothing of a kind that the cluster does not know.
    fn forget(&mut self) {
        self.writer.apply_watcher_event(&Event::Init);
        self.writer.apply_watcher_event(&Event::InitDone);
        if self.contact.set(State::Unknown) {
            tracing::info!(resource = K::PLURAL, group = K::GROUP, "the cluster has no such kind");
        }
    }
}

fn is_not_found(error: &watcher::Error) -> bool {
    let watcher::Error::InitialListFailed(kube::Error::Api(status)) = error else {
        return false;
    };
    status.code == 404
}

fn explain(error: watcher::Error) -> String {
    use watcher::Error::{InitialListFailed, WatchError, WatchFailed, WatchStartFailed};
    match error {
        InitialListFailed(kube::Error::Api(status))
        | WatchStartFailed(kube::Error::Api(status))
        | WatchFailed(kube::Error::Api(status))
        | WatchError(status) => status.message,
        other => other.to_string(),
    }
}
