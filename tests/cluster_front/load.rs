//! Steady load: every request is counted, and none may be lost.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicUsize, Ordering},
};

use tokio::task::JoinSet;

use crate::front::{Front, PATIENCE};

const CLIENTS: usize = 8;

/// Clients that send one request after the other.
pub(crate) struct Load {
    answered: Arc<AtomicUsize>,
    is_over: Arc<AtomicBool>,
    clients: JoinSet<Vec<String>>,
}

impl Load {
    pub(crate) fn start(front: &Arc<Front>) -> Self {
        let (answered, is_over) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
        let mut clients = JoinSet::new();
        for _ in 0..CLIENTS {
            let (front, answered) = (Arc::clone(front), Arc::clone(&answered));
            let is_over = Arc::clone(&is_over);
            clients.spawn(async move {
                let mut lost = Vec::new();
                while !is_over.load(Ordering::SeqCst) {
                    match front.post("/v1/classify").await {
                        (200, body) if !body.is_empty() => {
                            answered.fetch_add(1, Ordering::SeqCst);
                        }
                        other => lost.push(format!("{other:?}")),
                    }
                }
                lost
            });
        }
        Self { answered, is_over, clients }
    }

    /// Waits until so many more have been answered.
    pub(crate) async fn pass(&self, count: usize) {
        let wanted = self.answered.load(Ordering::SeqCst) + count;
        let passed = async {
            while self.answered.load(Ordering::SeqCst) < wanted {
                tokio::time::sleep(std::time::Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(PATIENCE, passed).await.expect("requests have stopped");
    }

    /// Ends it: how many were answered, and what became of the others.
    pub(crate) async fn end(self) -> (usize, Vec<String>) {
        self.is_over.store(true, Ordering::SeqCst);
        let lost = self.clients.join_all().await.concat();
        (self.answered.load(Ordering::SeqCst), lost)
    }
}
