//! What `/debug/plan` tells is enough to make each plan again.

use std::{collections::BTreeSet, time::Duration};

use jiff::SignedDuration;
use spotscale_simulate::replay::Dump;

use crate::support::{BOOT_SECS, Running, ScriptedCluster};

#[tokio::test(start_paused = true)]
async fn each_plan_is_made_again_from_its_dump_alone() {
    let cluster = ScriptedCluster::new(2);
    let running = Running::start(&cluster);
    let mut planned = BTreeSet::new();
    // Five looks a second, so that no plan is missed.
    for look in 0..10 * BOOT_SECS {
        if look == 5 * (BOOT_SECS + 5) {
            cluster.interrupt(SignedDuration::from_secs(120));
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
        let dump = Dump::read(running.get("/debug/plan").await.as_bytes()).unwrap();
        planned.extend(dump.plan.steps.iter().map(|step| step.action.kind()));
        let replay = dump.replay(vec![]);
        assert!(replay.same, "look {look}: {replay}");
    }
    for kind in ["launch", "cordon", "surge"] {
        assert!(planned.contains(kind), "{kind} is not among {planned:?}");
    }
}
