//! Node mode: watches the metadata of the machine that it runs on, and leaves what it learns on the machine's own node.
//! A notice that was given stands: EC2 does not take one back.

use std::collections::BTreeMap;

use jiff::Timestamp;
use spotscale_autoscaler::{NodeNotices, NoticeKind};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use crate::{
    config::ImdsConfig,
    imds::{Imds, ImdsError, InstanceAction},
    metrics::Metrics,
};

/// Watches until `shutdown`. Metadata that does not answer and a node that cannot be written are tried again at the next
/// look; nothing here is fatal, and nothing is told that EC2 did not say.
pub async fn watch(
    config: &ImdsConfig,
    imds: &Imds,
    node: &dyn NodeNotices,
    metrics: &Metrics,
    shutdown: CancellationToken,
) {
    let mut watcher = Watcher { imds, node, metrics, heard: Heard::default(), introduced: false };
    while shutdown.run_until_cancelled(watcher.look()).await.is_some() {
        if shutdown.run_until_cancelled(sleep(config.imds_poll.0)).await.is_none() {
            break;
        }
    }
}

struct Watcher<'a> {
    imds: &'a Imds,
    node: &'a dyn NodeNotices,
    metrics: &'a Metrics,
    heard: Heard,
    introduced: bool,
}

/// What EC2 has said of this machine.
#[derive(Debug, Default)]
struct Heard {
    /// The earliest time of each action: a service that names a later one at each look means the same notice.
    actions: BTreeMap<String, Timestamp>,
    rebalance: bool,
    /// What the node was told last.
    told: Vec<NoticeKind>,
}

impl Watcher<'_> {
    async fn look(&mut self) {
        self.introduce().await;
        if let Some(action) = self.heard_of(self.imds.action().await).flatten()
            && self.heard.action(&action)
        {
            warn!(action = action.action, at = %action.time, "EC2 takes this machine");
            self.metrics.notice("spot-interruption");
        }
        let at_risk = self.heard_of(self.imds.rebalance().await).unwrap_or(false);
        if at_risk && !std::mem::replace(&mut self.heard.rebalance, true) {
            warn!("EC2 recommends to leave this machine");
            self.metrics.notice("rebalance");
        }
        self.tell().await;
    }

    /// Says once which machine this is.
    async fn introduce(&mut self) {
        if self.introduced {
            return;
        }
        if let Some(machine) = self.heard_of(self.imds.machine().await) {
            info!(instance = %machine.instance, life_cycle = machine.life_cycle, "watching");
            self.introduced = true;
        }
    }

    fn heard_of<T>(&self, answer: Result<T, ImdsError>) -> Option<T> {
        answer
            .inspect_err(|error| {
                debug!(%error, "nothing was heard");
                self.metrics.failure("imds", error.kind());
            })
            .ok()
    }

    async fn tell(&mut self) {
        let kinds = self.heard.kinds();
        if kinds == self.heard.told {
            return;
        }
        match self.node.tell(&kinds).await {
            Ok(()) => self.heard.told = kinds,
            Err(error) => {
                warn!(%error, "the node could not be told; trying again");
                self.metrics.failure("node", error.kind());
            }
        }
    }
}

// === impl Heard ===

impl Heard {
    /// Takes note; whether it was news.
    fn action(&mut self, action: &InstanceAction) -> bool {
        match self.actions.get_mut(&action.action) {
            Some(known) if *known <= action.time => false,
            Some(known) => {
                *known = action.time;
                true
            }
            None => self.actions.insert(action.action.clone(), action.time).is_none(),
        }
    }

    fn kinds(&self) -> Vec<NoticeKind> {
        let deadline = self.actions.values().min().copied();
        let interruption = deadline.map(|deadline| NoticeKind::Interruption { deadline });
        let rebalance = self.rebalance.then_some(NoticeKind::Rebalance);
        interruption.into_iter().chain(rebalance).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_that_slides_is_one_notice() {
        let mut heard = Heard::default();
        let mut action = |action: &str, second| {
            let time = Timestamp::from_second(second).unwrap();
            let news = heard.action(&InstanceAction { action: action.to_owned(), time });
            (news, heard.kinds())
        };
        let deadline = |second| {
            let deadline = Timestamp::from_second(second).unwrap();
            vec![NoticeKind::Interruption { deadline }]
        };
        assert_eq!(action("terminate", 100), (true, deadline(100)));
        assert_eq!(action("terminate", 105), (false, deadline(100)));
        assert_eq!(action("terminate", 90), (true, deadline(90)), "an earlier end is news");
        assert_eq!(action("stop", 95), (true, deadline(90)), "the earliest counts");
    }
}
