//! Machines that go while nobody looks: the provider is asked what became of them, and the money is right again.

use std::{sync::Arc, time::Duration};

use crate::support::{
    Answer, BOOT_SECS, Running, ScriptedCluster, ScriptedFates, SharedVault, Side, Turnstile, With,
};
use jiff::{SignedDuration, Timestamp};
use spotscale_autoscaler::{End, EndedBy, Fate, Fates, Vault};
use spotscale_decide::{
    offers::Marks,
    units::{InstanceId, MicroUsd},
};

const UP: u64 = BOOT_SECS as u64 + 3;

fn with(vault: &Arc<SharedVault>, fates: &Arc<ScriptedFates>) -> With {
    With {
        vault: Some(Arc::clone(vault) as Arc<dyn Vault>),
        fates: Some(Arc::clone(fates) as Arc<dyn Fates>),
        ..With::default()
    }
}

fn fate(instance: InstanceId, at: Option<Timestamp>, by: EndedBy) -> Fate {
    Fate { instance, launched_at: None, end: Some(End { at, by }) }
}

/// A daemon sees a node for 40 s and is killed; the node goes, and so do 60 s.
async fn lost_unseen() -> (Arc<ScriptedCluster>, Arc<SharedVault>, InstanceId, Timestamp) {
    let (cluster, vault) = (ScriptedCluster::new(1), Arc::new(SharedVault::default()));
    let launched = cluster.now();
    let first = Running::with(&cluster, With { vault: Some(vault.clone()), ..With::default() });
    first.after(40).await;
    first.kill().await;
    let lost = cluster.lose();
    tokio::time::sleep(Duration::from_mins(1)).await;
    (cluster, vault, lost[0].clone(), launched)
}

#[tokio::test(start_paused = true)]
async fn the_first_hour_is_free_after_a_downtime_only_if_the_provider_says_that_it_took_the_node() {
    for (by, refund) in [(EndedBy::Provider, 8000), (EndedBy::Us, 0)] {
        let (cluster, vault, lost, launched) = lost_unseen().await;
        let at = launched + SignedDuration::from_secs(80);
        let fates = ScriptedFates::new([Answer::Fates(vec![fate(lost.clone(), Some(at), by)])]);
        let second = Running::with(&cluster, with(&vault, &fates));
        second.after(3).await;
        let totals = second.totals();
        // 80 s at 0.36 $/h, and not the 60 s that are billed at least of the 40 that were seen.
        assert_eq!((totals.spend, totals.refund), (MicroUsd(8000), MicroUsd(refund)), "{by:?}");
        second.after(600).await;
        assert_eq!(fates.asked().len(), 1, "what was told is not asked again");
        assert_eq!(fates.asked()[0].1, [lost]);
    }
}

#[tokio::test(start_paused = true)]
async fn a_provider_that_fails_hangs_or_forgets_is_asked_a_few_times_and_holds_up_nothing() {
    let (cluster, vault, lost, _) = lost_unseen().await;
    let running = Fate { instance: lost.clone(), launched_at: None, end: None };
    let script = [Answer::Fails, Answer::Hangs, Answer::Fates(vec![running])];
    let fates = ScriptedFates::new(script);
    let second = Running::with(&cluster, with(&vault, &fates));
    cluster.wants(1);
    let state = second.after(UP + 120).await;
    assert_eq!(state.snapshot.seen.pods.len(), 1, "a pod was placed meanwhile");
    assert_eq!(second.totals().refund, MicroUsd(0), "nothing is refunded on a guess");
    let metrics = second.get("/metrics").await;
    for kind in ["denied", "timeout"] {
        let counted = format!("failures_total{{call=\"fates\",kind=\"{kind}\"}} 1");
        assert!(metrics.contains(&counted), "{metrics}");
    }
    second.after(3 * 3600).await;
    let mut asked = fates.asked();
    asked.retain(|(_, about)| about.contains(&lost));
    assert_eq!(asked.len(), 7, "{asked:?}");
    let waits: Vec<_> =
        asked.windows(2).map(|two| two[1].0.duration_since(two[0].0).as_secs()).collect();
    assert!(waits.is_sorted() && waits[0] >= 60 && waits[5] >= 1900, "{waits:?}");
}

#[tokio::test(start_paused = true)]
async fn what_turns_out_to_have_been_taken_counts_against_its_offering() {
    for (by, is_marked) in [(EndedBy::Provider, true), (EndedBy::Us, false)] {
        let (cluster, vault, lost, _) = lost_unseen().await;
        let fates = ScriptedFates::new([Answer::Fates(vec![fate(lost, None, by)])]);
        let state = Running::with(&cluster, with(&vault, &fates)).after(10).await;
        assert_eq!(state.memory.marks != Marks::default(), is_marked, "{by:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn only_who_leads_asks() {
    let (cluster, vault, _, _) = lost_unseen().await;
    let fates = ScriptedFates::new([]);
    let gate = Arc::new(Turnstile::default());
    let gated = Some(Arc::new(Side(Arc::clone(&gate), 0)) as _);
    let daemon = Running::with(&cluster, With { gate: gated, ..with(&vault, &fates) });
    daemon.after(100).await;
    assert_eq!(fates.asked(), []);
    gate.turn(Some(0));
    daemon.after(3).await;
    assert_eq!(fates.asked().len(), 1);
    gate.turn(None);
    daemon.after(600).await;
    assert_eq!(fates.asked().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_dry_run_asks_too() {
    let cluster = ScriptedCluster::new(1);
    let first = Running::start(&cluster);
    first.after(40).await;
    first.kill().await;
    let fates = ScriptedFates::new([]);
    let flags = &["--dry-run"];
    let asking = Some(Arc::clone(&fates) as Arc<dyn Fates>);
    let dry = Running::with(&cluster, With { fates: asking, flags, ..With::default() });
    dry.after(3).await;
    assert_eq!(fates.asked(), []);
    let lost = cluster.lose();
    dry.after(3).await;
    assert_eq!(fates.asked()[0].1, lost);
}
