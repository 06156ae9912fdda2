//! The queue by which EC2 tells of what will happen to machines.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use spotscale_test_cluster::{
    cloud::{Moto, events, moto::environment},
    provider::Instance,
};

/// EC2 says so two minutes ahead.
pub(crate) const NOTICE: Duration = Duration::from_mins(2);
/// A message that was taken and not done with comes again after so long.
const VISIBILITY: Duration = Duration::from_secs(20);

/// A queue of its own in a cloud of its own.
pub(crate) struct Queue {
    pub(crate) moto: Moto,
    pub(crate) url: String,
}

impl Queue {
    pub(crate) async fn start() -> Self {
        let moto = Moto::start().await.unwrap();
        let url = moto.create_queue("interruptions", VISIBILITY).await.unwrap();
        Self { moto, url }
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
}
