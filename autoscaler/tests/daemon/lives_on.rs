//! What survives the daemon: it is killed, hung, replaced by another one, and the work and the money go on.

use std::{sync::Arc, time::Duration};

use crate::support::{
    BOOT_SECS, BrokenMarket, HungMarket, Mishap, Running, SERIES, ScriptedCluster, SharedVault,
    Side, Turnstile, With, series,
};
use jiff::SignedDuration;
use spotscale_autoscaler::{ClusterError, FileMarket, Outcome, Playback, Role, State, Vault};
use spotscale_decide::{offers::Source, units::MicroUsd};

const UP: u64 = BOOT_SECS as u64 + 3;

fn kept_in(vault: &Arc<SharedVault>) -> With {
    With { vault: Some(Arc::clone(vault) as Arc<dyn Vault>), ..With::default() }
}

/// A daemon that leads until the gate turns, with its machine up.
async fn leading(cluster: &Arc<ScriptedCluster>) -> (Arc<Turnstile>, Running) {
    let gate = Arc::new(Turnstile::default());
    gate.turn(Some(0));
    let side = Some(Arc::new(Side(Arc::clone(&gate), 0)) as _);
    let running = Running::with(cluster, With { gate: side, ..With::default() });
    running.after(UP).await;
    (gate, running)
}

fn times(cluster: &ScriptedCluster, kind: &str) -> usize {
    cluster.applied().iter().filter(|applied| **applied == kind).count()
}

/// The node of this test is interrupted, and its one pod moves. The daemon dies after so many actions of it.
async fn drained_with_a_kill_after(acts: usize) -> (Arc<ScriptedCluster>, Arc<State>) {
    let (cluster, vault) = (ScriptedCluster::new(1), Arc::new(SharedVault::default()));
    let first = Running::with(&cluster, kept_in(&vault));
    first.after(UP).await;
    cluster.interrupt(SignedDuration::from_secs(120));
    cluster.acts_left(Some(acts));
    first.after(UP + 10).await;
    first.kill().await;
    cluster.acts_left(None);
    let second = Running::with(&cluster, kept_in(&vault));
    let state = second.after(UP + 10).await;
    (cluster, state)
}

#[tokio::test(start_paused = true)]
async fn a_drain_is_finished_once_wherever_the_daemon_is_killed() {
    let (undisturbed, _) = drained_with_a_kill_after(usize::MAX).await;
    let steps = undisturbed.applied();
    assert_eq!(steps[1..5], ["cordon", "surge", "launch", "evict"], "{steps:?}");
    for acts in 0..4 {
        let (cluster, state) = drained_with_a_kill_after(acts).await;
        for kind in ["cordon", "surge", "evict"] {
            assert_eq!(times(&cluster, kind), 1, "{kind} after {acts}: {:?}", cluster.applied());
        }
        assert_eq!(times(&cluster, "launch"), 2, "after {acts}: {:?}", cluster.applied());
        assert_eq!(state.snapshot.seen.pods.len(), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn money_is_right_to_the_cent_with_a_kill_in_the_middle() {
    let (cluster, vault) = (ScriptedCluster::new(1), Arc::new(SharedVault::default()));
    let first = Running::with(&cluster, kept_in(&vault));
    first.after(40).await;
    first.kill().await;
    // While nobody looks the price doubles, and time passes.
    tokio::time::sleep(Duration::from_millis(109_995)).await;
    let second = Running::with(&cluster, kept_in(&vault));
    second.after(0).await;
    assert_eq!(second.totals().spend, MicroUsd(10_000 + 10_000), "100 s at 0.36 and 50 s at 0.72");
    assert_eq!(second.totals().baseline, MicroUsd(150_000), "the baseline begins with the ledger");
    // What has ended is known only from the vault.
    cluster.wants(0);
    second.after(70).await;
    let spent = second.totals().spend;
    second.shutdown.cancel();
    second.task.await.unwrap();
    let third = Running::with(&cluster, kept_in(&vault));
    third.after(5).await;
    assert_eq!(third.totals().spend, spent);
    let metrics = third.get("/metrics").await;
    let lines = metrics.lines().filter(|line| line.starts_with("spotscale_spend_usd_total{"));
    let counted: f64 =
        lines.map(|line| line.rsplit(' ').next().unwrap().parse::<f64>().unwrap()).sum();
    assert!((counted - spent.as_usd()).abs() < 1e-9, "{metrics}");
}

#[tokio::test(start_paused = true)]
async fn a_market_that_forgets_does_not_change_what_was_paid() {
    let (cluster, vault) = (ScriptedCluster::new(1), Arc::new(SharedVault::default()));
    let first = Running::with(&cluster, kept_in(&vault));
    first.after(90).await;
    first.shutdown.cancel();
    first.task.await.unwrap();
    // The other market knows nothing of the past, and is dearer.
    let playback = Playback { starts_at: cluster.now(), speed: 1 };
    let forgetful = FileMarket::parse(&SERIES.replace("0.36", "0.90"), playback).unwrap();
    let with = With { market: Some(Arc::new(forgetful)), ..kept_in(&vault) };
    let second = Running::with(&cluster, with);
    second.after(10).await;
    // 90.005 s at 0.36 and 10 s at 0.90.
    assert_eq!(second.totals().spend, MicroUsd(11_501));
}

#[tokio::test(start_paused = true)]
async fn state_that_cannot_be_read_is_kept_aside_and_told() {
    let (cluster, vault) = (ScriptedCluster::new(1), Arc::new(SharedVault::default()));
    vault.put(b"these are not the bytes that were saved");
    let running = Running::with(&cluster, kept_in(&vault));
    running.after(100).await;
    assert_eq!(vault.aside(), [b"these are not the bytes that were saved"]);
    assert!(vault.saves() > 0, "a new ledger is kept");
    let metrics = running.get("/metrics").await;
    assert!(metrics.contains("failures_total{call=\"load\",kind=\"damaged\"} 1"), "{metrics}");
}

#[tokio::test(start_paused = true)]
async fn a_vault_out_of_reach_is_neither_waited_for_nor_overwritten() {
    let (cluster, vault) = (ScriptedCluster::new(1), Arc::new(SharedVault::default()));
    let first = Running::with(&cluster, kept_in(&vault));
    first.after(100).await;
    let paid = first.totals().spend;
    first.kill().await;
    vault.breaks(true);
    let saves = vault.saves();
    let second = Running::with(&cluster, kept_in(&vault));
    cluster.interrupt(SignedDuration::from_secs(120));
    let state = second.after(5).await;
    assert_eq!(times(&cluster, "cordon"), 1, "the drain does not wait");
    assert_eq!(state.snapshot.spent_this_month, None, "nobody knows");
    vault.breaks(false);
    let state = second.after(30).await;
    assert!(state.snapshot.spent_this_month > Some(paid));
    assert!(vault.saves() > saves);
    assert!(second.totals().spend > paid, "{:?}", second.totals());
}

#[tokio::test(start_paused = true)]
async fn of_two_daemons_one_acts_and_the_other_goes_on_where_it_was() {
    let (cluster, vault) = (ScriptedCluster::new(1), Arc::new(SharedVault::default()));
    let gate = Arc::new(Turnstile::default());
    gate.turn(Some(0));
    let daemon = |n| {
        let gate = Some(Arc::new(Side(Arc::clone(&gate), n)) as _);
        Running::with(&cluster, With { gate, ..kept_in(&vault) })
    };
    let (one, two) = (daemon(0), daemon(1));
    one.after(UP).await;
    assert_eq!(cluster.applied(), ["launch"]);
    let (leads, stands_by) = (one.after(0).await, two.after(0).await);
    assert_eq!((leads.role, stands_by.role), (Role::Leader, Role::Standby));
    assert!(stands_by.decisions.is_empty());
    assert!(!two.get("/metrics").await.contains("spotscale_spend_usd_total{"), "told twice");
    let metrics = one.get("/metrics").await;
    assert!(metrics.contains("spotscale_autoscaler_leads 1"), "{metrics}");
    assert!(metrics.contains("spotscale_autoscaler_dry_run 0"), "{metrics}");
    gate.turn(None);
    cluster.interrupt(SignedDuration::from_secs(120));
    one.after(5).await;
    assert_eq!(cluster.applied(), ["launch"], "nobody leads, nobody acts");
    gate.turn(Some(1));
    two.after(UP + 5).await;
    assert_eq!(cluster.applied()[1..], ["cordon", "surge", "launch", "evict"]);
    assert!(two.totals().spend > MicroUsd::ZERO);
    assert_eq!(one.after(0).await.role, Role::Standby);
    assert!(!one.get("/metrics").await.contains("spotscale_spend_usd_total{"));
}

#[tokio::test(start_paused = true)]
async fn leadership_that_is_lost_in_the_middle_of_a_plan_ends_it_there() {
    let cluster = ScriptedCluster::new(1);
    let (gate, running) = leading(&cluster).await;
    cluster.on_apply([Some(Mishap::Slow(Duration::from_secs(2)))]);
    cluster.interrupt(SignedDuration::from_secs(120));
    running.after(1).await;
    // Won anew meanwhile: the plan is still one of the old term.
    gate.turn(Some(0));
    let state = running.after(2).await;
    let told: Vec<_> =
        state.decisions.iter().map(|d| (d.action.kind(), d.outcome.kind())).collect();
    assert_eq!(told[1..3], [("cordon", "failed"), ("surge", "not-leading")], "{told:?}");
    running.after(3).await;
    assert_eq!(times(&cluster, "surge"), 1, "the next plan does it");
}

#[tokio::test(start_paused = true)]
async fn a_call_without_an_answer_is_given_up_when_the_term_is_over_and_not_before() {
    let cluster = ScriptedCluster::new(1);
    let (gate, running) = leading(&cluster).await;
    // The call may last ten seconds, and takes eight.
    cluster.on_apply([Some(Mishap::Slow(Duration::from_secs(8)))]);
    cluster.interrupt(SignedDuration::from_secs(120));
    running.after(10).await;
    assert_eq!(times(&cluster, "cordon"), 1, "the term goes on");
    cluster.on_apply([Some(Mishap::Hangs)]);
    cluster.wants(2);
    running.after(2).await;
    gate.turn(None);
    let state = running.after(1).await;
    let Outcome::Failed { error } = &state.decisions.back().unwrap().outcome else {
        panic!("{:?}", state.decisions);
    };
    assert!(error.contains("before another may lead"), "{error}");
    assert_eq!(state.role, Role::Standby);
    let metrics = running.get("/metrics").await;
    let failed = "spotscale_autoscaler_failures_total{call=\"apply\",kind=\"unavailable\"} 1";
    assert!(metrics.contains(failed), "{metrics}");
}

#[tokio::test(start_paused = true)]
async fn a_market_that_hangs_does_not_hold_up_a_drain() {
    let cluster = ScriptedCluster::new(1);
    let first = Running::start(&cluster);
    first.after(UP).await;
    first.kill().await;
    let second = Running::with_market(&cluster, Arc::new(HungMarket));
    second.after(2).await;
    cluster.interrupt(SignedDuration::from_secs(120));
    second.after(2).await;
    assert_eq!(cluster.applied()[1..], ["cordon", "surge"]);
}

/// It is there, and never answers.
#[tokio::test(start_paused = true)]
async fn a_prometheus_that_hangs_does_not_hold_up_a_drain_and_is_told() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("--prometheus-url=http://{}", listener.local_addr().unwrap());
    let url: &'static str = String::leak(url);
    let flags = Vec::leak(vec![url]);
    let cluster = ScriptedCluster::new(1);
    let running = Running::with(&cluster, With { flags, ..With::default() });
    running.after(UP).await;
    cluster.interrupt(SignedDuration::from_secs(120));
    let state = running.after(2).await;
    assert_eq!(cluster.applied()[1..], ["cordon", "surge", "launch"]);
    assert_eq!(state.plan.rates[0].source, Source::Calibration);
    running.after(30).await;
    let metrics = running.get("/metrics").await;
    let failed = "spotscale_autoscaler_failures_total{call=\"traffic\",kind=\"unavailable\"}";
    assert!(metrics.contains(failed), "{metrics}");
    let throughput = "spotscale_autoscaler_throughput_requests_per_second\
        {instance_type=\"g4dn.xlarge\",source=\"calibration\"} 400";
    assert!(metrics.contains(throughput), "{metrics}");
}

#[tokio::test(start_paused = true)]
async fn a_day_without_prices_changes_nothing_and_is_told() {
    let cluster = ScriptedCluster::new(1);
    let answers_until = cluster.now() + SignedDuration::from_secs(300);
    let market = BrokenMarket { answers_until, series: series(cluster.now()) };
    let running = Running::with_market(&cluster, Arc::new(market));
    running.after(300).await;
    let (acts, day) = (cluster.applied().len(), 24 * 3600);
    let state = running.after(day).await;
    assert_eq!(cluster.applied().len(), acts, "flapping: {:?}", cluster.applied());
    assert_eq!(state.snapshot.prices.len(), 3);
    let metrics = running.get("/metrics").await;
    let age = metrics.lines().find_map(|line| line.strip_prefix("spotscale_price_age_seconds "));
    assert!(age.unwrap().parse::<f64>().unwrap() >= day as f64 - 60.0, "{metrics}");
}

#[tokio::test(start_paused = true)]
async fn a_dry_run_tells_and_does_nothing() {
    let (cluster, vault) = (ScriptedCluster::new(1), Arc::new(SharedVault::default()));
    let first = Running::start(&cluster);
    first.after(UP).await;
    first.kill().await;
    let dry = Running::with(&cluster, With { flags: &["--dry-run"], ..kept_in(&vault) });
    cluster.interrupt(SignedDuration::from_secs(600));
    let state = dry.after(100).await;
    assert_eq!(cluster.applied(), ["launch"]);
    assert_eq!(vault.saves(), 0);
    assert_eq!(state.role, Role::DryRun);
    let told: Vec<_> =
        state.decisions.iter().map(|d| (d.action.kind(), d.outcome.kind())).collect();
    assert_eq!(told, [("cordon", "dry-run"), ("surge", "dry-run"), ("launch", "dry-run")]);
    assert_eq!(state.plan.steps.len(), 3, "the plan stays what it would be");
    let metrics = dry.get("/metrics").await;
    assert!(metrics.contains("spotscale_autoscaler_dry_run 1"), "{metrics}");
    assert!(metrics.contains("spotscale_actions_total{action=\"cordon\",outcome=\"dry-run\"} 1"));
}

#[tokio::test(start_paused = true)]
async fn at_the_end_the_step_that_is_being_done_is_finished_and_no_other_is_begun() {
    let (cluster, vault) = (ScriptedCluster::new(1), Arc::new(SharedVault::default()));
    let running = Running::with(&cluster, kept_in(&vault));
    running.after(UP).await;
    cluster.on_apply([Some(Mishap::Slow(Duration::from_millis(50)))]);
    cluster.interrupt(SignedDuration::from_secs(120));
    // 20 ms after the next tick has begun.
    tokio::time::sleep(Duration::from_millis(1015)).await;
    let saves = vault.saves();
    running.shutdown.cancel();
    running.task.await.unwrap();
    assert_eq!(cluster.applied()[1..], ["cordon"]);
    assert_eq!(vault.saves(), saves + 1, "the last state is saved");
}

#[tokio::test(start_paused = true)]
async fn an_api_that_forbids_is_told_by_its_kind() {
    let cluster = ScriptedCluster::new(1);
    cluster.on_apply([Some(Mishap::Fails(ClusterError::Forbidden("nodes".to_owned())))]);
    let running = Running::start(&cluster);
    running.after(1).await;
    let metrics = running.get("/metrics").await;
    assert!(metrics.contains("failures_total{call=\"apply\",kind=\"forbidden\"} 1"), "{metrics}");
}
