//! Work beside the loop: it is begun in one tick and looked for in later ones, so that no tick waits for it.

use std::{future::Future, time::Duration};

use tokio::{task::JoinHandle, time::timeout};

/// At most one piece of work at a time.
pub(crate) struct Job<T>(Option<JoinHandle<T>>);

impl<T: Send + 'static> Job<T> {
    /// Begins it; what was begun before is given up.
    pub(crate) fn begin(&mut self, work: impl Future<Output = T> + Send + 'static) {
        self.give_up();
        self.0 = Some(tokio::spawn(work));
    }

    /// Is something under way, or done and not yet fetched?
    pub(crate) fn is_begun(&self) -> bool {
        self.0.is_some()
    }

    /// What came of it, if it ends within so long. Nothing, too, when it panicked.
    pub(crate) async fn fetch(&mut self, within: Duration) -> Option<T> {
        let handle = self.0.as_mut()?;
        if !handle.is_finished() && within.is_zero() {
            return None;
        }
        let ended = timeout(within, handle).await.ok()?;
        self.0 = None;
        ended.ok()
    }

    /// Ends it where it is.
    pub(crate) fn give_up(&mut self) {
        if let Some(handle) = self.0.take() {
            handle.abort();
        }
    }
}

impl<T> Default for Job<T> {
    fn default() -> Self {
        Self(None)
    }
}

impl<T> Drop for Job<T> {
    fn drop(&mut self) {
        if let Some(handle) = &self.0 {
            handle.abort();
        }
    }
}
