//! The queue by which EC2 tells of what will happen to machines.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use jiff::{SignedDuration, Timestamp};
use spotscale_test_cluster::{
    cloud::{Moto, events, moto::environment},
    provider::Instance,
};
use tokio::sync::OnceCell;

/// EC2 says so two minutes ahead.
pub(crate) const NOTICE: Duration = Duration::from_mins(2);
/// A message that was taken and not done with comes again after so long.
const VISIBILITY: Duration = Duration::from_secs(20);

/// A queue of its own.
pub(crate) struct Queue {
    pub(crate) moto: Arc<Moto>,
    pub(crate) url: String,
}

impl Queue {
    /// In the cloud of all tests: each would take seconds to start.
    pub(crate) async fn start() -> Self {
        static MOTO: OnceCell<Arc<Moto>> = OnceCell::const_new();
        static QUEUES: AtomicU32 = AtomicU32::new(0);
        let moto = MOTO.get_or_init(async || Arc::new(Moto::start().await.unwrap())).await;
        let number = QUEUES.fetch_add(1, Ordering::Relaxed);
        Self::within(moto, &format!("interruptions-{number}")).await
    }

    /// In a cloud that has others.
    pub(crate) async fn within(moto: &Arc<Moto>, name: &str) -> Self {
        let url = moto.create_queue(name, VISIBILITY).await.unwrap();
        Self { moto: Arc::clone(moto), url }
    }

    /// What a daemon must be told to read it.
    pub(crate) fn flags(&self) -> [String; 2] {
        let seconds = VISIBILITY.as_secs();
        [format!("--interruption-queue={}", self.url), format!("--queue-visibility={seconds}s")]
    }

    /// What a daemon's environment must have for that.
    pub(crate) fn environment(&self) -> Vec<(&'static str, String)> {
        environment(&self.moto.endpoint()).into()
    }

    /// The notice of a machine that ends then.
    pub(crate) async fn interruption(&self, machine: &Instance, deadline: Timestamp) {
        let told = deadline - SignedDuration::try_from(NOTICE).unwrap();
        let event = events::spot_interruption(&machine.id, &machine.offering.zone, told);
        self.moto.send(&self.url, &event).await.unwrap();
    }

    /// The advice to leave a machine.
    pub(crate) async fn rebalance(&self, machine: &Instance) {
        let event = events::rebalance(&machine.id, &machine.offering.zone, Timestamp::now());
        self.moto.send(&self.url, &event).await.unwrap();
    }

    /// Are all messages done with?
    pub(crate) async fn is_empty(&self) -> anyhow::Result<bool> {
        let depth = self.moto.depth(&self.url).await?;
        Ok(depth.visible + depth.in_flight == 0)
    }
}
