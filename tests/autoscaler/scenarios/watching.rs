//! A daemon that only tells.

use serde_json::Value;
use spotscale_autoscaler::NoticeKind;

use super::{BOOT, SCOPE, Stage};
use crate::ground::{
    Ground,
    queue::{NOTICE, Queue},
};

/// Scenario 7.
#[tokio::test(flavor = "multi_thread")]
async fn scenario_7_a_dry_run_tells_what_it_would_do_and_writes_nothing() {
    let (ground, queue) = tokio::join!(Ground::new("dry", BOOT), Queue::start());
    let environment = queue.environment();
    let stage = Stage::on(ground, queue, 2, &["--dry-run"], &environment).await;
    let (noted, queued) = (stage.machine(0), stage.machine(1));
    let deadline = stage.ground.provider.interrupt(&noted.node, NOTICE).await.unwrap();
    stage.ground.notice(&noted.node, &[NoticeKind::Interruption { deadline }]).await;
    stage.queue.interruption(&queued, deadline).await;
    let told = |state: &Value, kind: &str| {
        let decisions = state["decisions"].as_array().cloned().unwrap_or_default();
        decisions
            .iter()
            .any(|one| one["outcome"] == "dry-run" && one["action"].to_string().contains(kind))
    };
    let is_told = || async {
        let shown = stage.daemon.state().await;
        Ok(shown["role"] == "dry-run" && told(&shown, "cordon") && told(&shown, "surge"))
    };
    stage.ground.until("it to tell", is_told).await;
    stage.assert_calm().await;
    let writes = stage.daemon.proxy.writes();
    assert!(writes.is_empty(), "{writes:#?}");
    assert!(stage.node(&noted).await.unwrap().spec.unwrap().unschedulable.is_none());
    // The message waits for who acts.
    let depth = stage.queue.moto.depth(&stage.queue.url).await.unwrap();
    assert_eq!((depth.visible, depth.in_flight), (1, 0));
    assert_eq!(stage.ground.of(SCOPE).len(), 2);
}
