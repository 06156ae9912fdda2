//! What keeps Karpenter from buying: there are as many nodes as there may be, or one more would be too dear.

use rustix::process::Signal;
use serde_json::Value;

use super::{BOOT, CALM, SCOPE};
use crate::ground::{Ground, daemon::Daemon};

/// Pools are changed again at once.
const PROMPT: &str = "--steering-pool-every=1s";

/// Two nodes are all that the bound leaves room for; a daemon without it buys the third.
async fn two_nodes_are_enough(bound: &str, because: &str) {
    let ground = Ground::new(because, BOOT).await;
    ground.sleepers(SCOPE, 2).await;
    ground.slept(SCOPE, 2).await;
    let mut bounded = Daemon::start(&ground, (SCOPE, "bounded"), &[bound, PROMPT], &[]).await;
    let are_closed = || async {
        let state = bounded.state().await;
        let pools = state["snapshot"]["seen"]["provisioner"]["pools"].as_array();
        Ok(pools
            .is_some_and(|pools| pools.len() == 2 && pools.iter().all(|it| it["closed"] == true)))
    };
    ground.until("the pools to be closed", are_closed).await;
    ground.scale(SCOPE, 3).await;
    tokio::time::sleep(CALM).await;
    let state = bounded.state().await;
    let reasons = |decision: &Value| decision["reasons"].as_array().cloned().unwrap_or_default();
    let decisions = state["decisions"].as_array().unwrap();
    let is_why = |reason: Value| reason["because"] == because;
    assert!(decisions.iter().flat_map(reasons).any(is_why), "{state:#}");
    assert_eq!((ground.machines().len(), ground.of(SCOPE).len()), (2, 2), "{state:#}");
    bounded.process.signal(Signal::TERM);
    bounded.process.ended().await;
    let _unbounded = Daemon::start(&ground, (SCOPE, "unbounded"), &[PROMPT], &[]).await;
    ground.slept(SCOPE, 3).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn as_many_nodes_as_there_may_be_close_the_pools_until_there_may_be_more() {
    two_nodes_are_enough("--nodes-max=2", "node-limit").await;
}

/// Each of the two costs 0.16 by the hour.
#[tokio::test(flavor = "multi_thread")]
async fn a_budget_that_leaves_no_third_node_closes_the_pools_until_it_does() {
    two_nodes_are_enough("--budget-per-hour=0.40", "hourly-budget").await;
}
