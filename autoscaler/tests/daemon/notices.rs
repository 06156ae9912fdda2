//! The queue of notices, when it takes nothing back.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use spotscale_autoscaler::{NoticeSource, QueueError, Receipt, Received, Unasked};
use tokio::time::sleep;

use crate::support::{Running, ScriptedCluster, With};

/// It has a message every 100 ms that asks nothing of us, and never answers to whoever has done with one.
#[derive(Default)]
struct HungQueue {
    received: AtomicUsize,
}

#[async_trait]
impl NoticeSource for HungQueue {
    async fn receive(&self) -> Result<Vec<Received>, QueueError> {
        sleep(Duration::from_millis(100)).await;
        let receipt = Receipt(self.received.fetch_add(1, Ordering::Relaxed).to_string());
        Ok(vec![Received { receipt, event: Err(Unasked::NoInstance) }])
    }

    async fn done(&self, _: &[Receipt]) -> Result<(), QueueError> {
        std::future::pending().await
    }

    async fn keep(&self, _: &[Receipt], _: Duration) -> Result<(), QueueError> {
        std::future::pending().await
    }
}

#[tokio::test(start_paused = true)]
async fn a_queue_that_takes_nothing_back_is_read_on_and_shutdown_does_not_wait_for_it() {
    let (cluster, queue) = (ScriptedCluster::new(0), Arc::new(HungQueue::default()));
    let notices = Some(Arc::clone(&queue) as _);
    let running = Running::with(&cluster, With { notices, ..With::default() });
    running.after(60).await;
    let received = queue.received.load(Ordering::Relaxed);
    assert!(received > 500, "{received} messages were read in a minute");
    let metrics = running.get("/metrics").await;
    for (kind, expected) in [("timeout", 5..=6), ("busy", 400..=600)] {
        let line = format!("failures_total{{call=\"done\",kind=\"{kind}\"}} ");
        let count = metrics.lines().find_map(|shown| shown.split_once(&line)?.1.parse().ok());
        assert!(count.is_some_and(|count: u32| expected.contains(&count)), "{kind}: {metrics}");
    }
    running.shutdown.cancel();
    running.task.await.unwrap();
}
