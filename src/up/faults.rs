//! What a scenario may break, and everything else that its player is handed.

use std::{net::SocketAddr, path::PathBuf, sync::Arc, time::Duration};

use async_trait::async_trait;
use tokio::sync::watch;

use super::view::{Progress, View};

/// The failures that a cloud brings about, brought about on purpose.
#[async_trait]
pub(crate) trait Faults: Send + Sync {
    /// The provider takes one spot node away: it gives notice now, and at the end of `notice` the node and whatever
    /// still runs on it are gone. Prefers a node with a ready replica. Returns the node, or `None` where there is none.
    async fn interrupt_spot_node(&self, notice: Duration) -> Option<String>;

    /// One ready replica's process gets SIGKILL, without a word before. Returns the replica, or `None` without any.
    async fn kill_replica(&self) -> Option<String>;
}

/// What this machine can do, measured before the first request: what a scenario's relative loads are relative to.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Capacity {
    /// Images that the whole machine classifies per second, with as many replicas as it has room for.
    pub images_per_second: f64,
    /// One warm classification of an ordinary picture on an idle machine, in milliseconds.
    pub image_ms: f64,
    /// Most replicas that run at once.
    pub max_replicas: u32,
}

/// All that the player of a scenario needs.
pub(crate) struct Stage {
    /// The front, on loopback.
    pub front: SocketAddr,
    /// A folder of PNG and JPEG pictures to send.
    pub pictures: PathBuf,
    /// What loads are relative to.
    pub capacity: Capacity,
    /// The 95th percentile that the service promises, in milliseconds.
    pub slo_ms: u64,
    /// What to break things with.
    pub faults: Arc<dyn Faults>,
    /// What is going on; also the source of the report's time series.
    pub views: watch::Receiver<View>,
    /// Where the player says how far it is.
    pub progress: watch::Sender<Option<Progress>>,
}
