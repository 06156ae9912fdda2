//! The loop: what a plan comes to.

use std::{sync::Arc, time::Duration};

use crate::support::{
    BOOT_SECS, BrokenMarket, HungMarket, Mishap, Running, ScriptedCluster, ShapedMarket, With,
    series,
};
use jiff::SignedDuration;
use spotscale_autoscaler::{ClusterError, Decision, Market, Outcome, State, TypesSince};
use spotscale_decide::{offers::Shape, units::MicroUsd};

const UP: u64 = BOOT_SECS as u64 + 3;

fn outcomes(state: &State) -> Vec<(&'static str, &'static str)> {
    let one = |d: &Decision| (d.action.kind(), d.outcome.kind());
    state.decisions.iter().map(one).collect()
}

#[tokio::test(start_paused = true)]
async fn from_zero_to_a_pod_and_back_with_every_cent_counted() {
    let cluster = ScriptedCluster::new(1);
    let running = Running::start(&cluster);
    let state = running.after(UP).await;
    assert_eq!(outcomes(&state), [("launch", "done")]);
    assert_eq!(state.snapshot.seen.pods.len(), 1);
    running.after(150 - UP).await;
    // Bought in the first instant: 100 s at 0.36 $/h and 50 s at 0.72 $/h.
    assert_eq!(running.totals().spend, MicroUsd(10_000 + 10_000));
    // One machine at 3.60 $/h is the baseline.
    assert_eq!(running.totals().baseline, MicroUsd(150_000));
    cluster.wants(0);
    let state = running.after(70).await;
    assert_eq!(outcomes(&state), [("launch", "done"), ("terminate", "done")]);
    let spent = running.totals().spend;
    running.after(1000).await;
    assert_eq!(running.totals().spend, spent, "nothing runs, nothing is spent");
    assert_eq!(running.totals().baseline, MicroUsd(1_220_000), "the baseline never sleeps");
}

#[tokio::test(start_paused = true)]
async fn a_notice_brings_the_replacement_first() {
    let cluster = ScriptedCluster::new(1);
    let running = Running::start(&cluster);
    running.after(UP).await;
    cluster.interrupt(SignedDuration::from_secs(120));
    let state = running.after(2).await;
    assert_eq!(cluster.applied()[1..], ["cordon", "surge", "launch"]);
    assert!(state.decisions.iter().all(|decision| !decision.reasons.is_empty()));
    running.after(UP).await;
    assert_eq!(cluster.applied()[4..], ["evict"]);
    let metrics = running.get("/metrics").await;
    let counted = "spotscale_interruptions_total{kind=\"interruption\",zone=\"a\"} 1";
    assert!(metrics.contains(counted), "{metrics}");
    assert!(metrics.contains("spotscale_plan_reasons_total{reason=\"replaced\"} 1"), "{metrics}");
    // Cordoned in the first look after the notice, which leaves 120 s; the replacement serves 32 s later.
    running.after(3).await;
    let metrics = running.get("/metrics").await;
    for (name, seconds) in [("duration", 20..50), ("deadline_margin", 60..100)] {
        let value = |end: &str| {
            let start = format!("spotscale_drain_{name}_seconds_{end} ");
            let line = metrics.lines().find_map(|line| line.strip_prefix(&start));
            line.unwrap().parse::<f64>().unwrap()
        };
        assert_eq!(value("count") as u32, 1, "{name}: one drain");
        assert!(seconds.contains(&(value("sum") as u32)), "{name}: {}", value("sum"));
    }
}

#[tokio::test(start_paused = true)]
async fn a_step_whose_ground_is_gone_is_dropped() {
    let cluster = ScriptedCluster::new(1);
    let running = Running::start(&cluster);
    running.after(UP).await;
    cluster.interrupt(SignedDuration::from_secs(120));
    // The cordon takes so long that the tick's own look is too old for the surge, and then the pod is gone.
    cluster.on_observe([None, Some(Mishap::PodsVanish)]);
    cluster.on_apply([Some(Mishap::Slow(Duration::from_millis(200)))]);
    let state = running.after(2).await;
    assert_eq!(outcomes(&state)[1..3], [("cordon", "done"), ("surge", "dropped")]);
    assert!(!cluster.applied().contains(&"surge"));
}

#[tokio::test(start_paused = true)]
async fn a_cluster_that_fails_or_hangs_is_asked_again() {
    let cluster = ScriptedCluster::new(1);
    let down = || Some(Mishap::Fails(ClusterError::Unavailable("down".to_owned())));
    cluster.on_observe([down(), Some(Mishap::Hangs), None, None]);
    cluster.on_apply([down()]);
    let running = Running::start(&cluster);
    let state = running.after(13).await;
    let Outcome::Failed { error } = &state.decisions[0].outcome else {
        panic!("{:?}", state.decisions);
    };
    assert_eq!(error, "the cluster cannot be reached: down");
    let state = running.after(13).await;
    assert_eq!(outcomes(&state), [("launch", "failed"), ("launch", "done")]);
    let metrics = running.get("/metrics").await;
    let failures = "spotscale_autoscaler_failures_total{call=\"observe\",kind=\"unavailable\"} 2";
    assert!(metrics.contains(failures), "{metrics}");
}

/// The pod needs 10 s to end, and 5 s more is the margin.
#[tokio::test(start_paused = true)]
async fn a_cordon_and_a_forced_eviction_that_fail_are_asked_for_again_at_the_next_look() {
    let cluster = ScriptedCluster::new(1);
    let running = Running::start(&cluster);
    running.after(UP).await;
    let before = cluster.applied().len();
    let down = || Some(Mishap::Fails(ClusterError::Unavailable("down".to_owned())));
    cluster.interrupt(SignedDuration::from_secs(14));
    cluster.on_apply([down(), down(), down(), down()]);
    running.after(4).await;
    let applied = &cluster.applied()[before..];
    assert!(applied.contains(&"cordon") && applied.contains(&"evict"), "{applied:?}");
}

/// The pod needs 10 s to end, and 5 s more is the margin.
#[tokio::test(start_paused = true)]
async fn a_call_that_hangs_does_not_use_up_the_margin_of_an_eviction() {
    // Its last call is past, or comes while the cordon hangs.
    for (lead, evicted_within) in [(14, 3), (18, 6)] {
        let cluster = ScriptedCluster::new(1);
        let running = Running::start(&cluster);
        running.after(UP).await;
        cluster.on_apply([Some(Mishap::Hangs)]);
        cluster.interrupt(SignedDuration::from_secs(lead));
        let state = running.after(1 + evicted_within).await;
        assert!(cluster.applied().contains(&"evict"), "{lead}: {:?}", outcomes(&state));
        assert!(outcomes(&state).contains(&("cordon", "failed")));
        running.after(10).await;
        assert!(cluster.applied().contains(&"cordon"), "{lead}: it is tried again");
    }
}

#[tokio::test(start_paused = true)]
async fn without_capacity_the_next_best_is_bought_at_the_next_tick() {
    let cluster = ScriptedCluster::new(1);
    let (market, now) = (series(cluster.now()), cluster.now());
    let prices = market.prices(now, &TypesSince::new()).await.unwrap();
    let cheapest = prices.offerings().next().unwrap().clone();
    cluster.on_apply([Some(Mishap::Fails(ClusterError::NoCapacity(cheapest)))]);
    let running = Running::start(&cluster);
    let state = running.after(2).await;
    assert_eq!(outcomes(&state), [("launch", "failed"), ("launch", "done")]);
    assert_eq!(state.snapshot.seen.nodes[0].offering.zone.as_str(), "b");
}

#[tokio::test(start_paused = true)]
async fn without_a_market_the_last_prices_stay_in_use_and_their_age_is_told() {
    let cluster = ScriptedCluster::new(1);
    let start = cluster.now();
    let market = BrokenMarket { answers_until: start, series: series(start) };
    let running = Running::with_market(&cluster, Arc::new(market));
    let state = running.after(UP + 1000).await;
    assert_eq!(outcomes(&state), [("launch", "done")]);
    let metrics = running.get("/metrics").await;
    let age = metrics.lines().find_map(|line| line.strip_prefix("spotscale_price_age_seconds "));
    assert!(age.unwrap().parse::<f64>().unwrap() >= 1000.0, "{metrics}");
    assert!(metrics.contains("failures_total{call=\"prices\",kind=\"unavailable\"}"), "{metrics}");
}

#[tokio::test(start_paused = true)]
async fn money_and_plan_are_told_over_http() {
    let cluster = ScriptedCluster::new(1);
    let running = Running::start(&cluster);
    assert_eq!(running.get("/debug/plan").await, "nothing was observed yet\n");
    running.after(100).await;
    let metrics = running.get("/metrics").await;
    // 31 s until the pod serves, and 69 s that it does.
    for (workload, spend) in [("", "0.0031"), ("resnet", "0.0069")] {
        let labels = "pool=\"\",capacity_type=\"spot\",instance_type=\"g4dn.xlarge\",zone=\"a\"";
        let line = format!("spotscale_spend_usd_total{{{labels},workload=\"{workload}\"}} {spend}");
        assert!(metrics.contains(&line), "{metrics}");
    }
    assert!(metrics.contains("zone=\"a\"} 0.0031"), "idle time is told apart: {metrics}");
    assert!(metrics.contains("spotscale_baseline_usd_total 0.1"), "{metrics}");
    let plan: serde_json::Value = serde_json::from_str(&running.get("/debug/plan").await).unwrap();
    assert_eq!(plan["decisions"][0]["action"]["do"], "launch");
    assert_eq!(plan["decisions"][0]["outcome"], "done");
    let because = &plan["decisions"][0]["reasons"][0]["because"];
    assert_eq!(because, "no-room");
}

#[tokio::test(start_paused = true)]
async fn how_many_pods_fit_follows_from_what_the_market_says_of_the_type() {
    let cluster = ScriptedCluster::new(4);
    let shaped = |gpus| ShapedMarket(series(cluster.origin), Shape { vcpus: 48, gpus });
    let running = Running::with_market(&cluster, Arc::new(shaped(4)));
    let state = running.after(UP).await;
    assert_eq!(cluster.applied(), ["launch"], "one machine takes all four");
    assert_eq!(state.snapshot.seen.nodes[0].pods_max, 4);
    assert_eq!(state.plan.ranking.offers[0].pods_max, 4);
    let totals = running.totals();
    assert!(totals.baseline_is.starts_with("1 x g4dn.xlarge"), "{totals:?}");
    running.kill().await;
    let flags = &["--machine=g5.xlarge=400", "--pod-cpus=12"];
    let with = With { market: Some(Arc::new(shaped(0))), flags, ..With::default() };
    let state = Running::with(&cluster, with).after(1).await;
    assert_eq!(state.snapshot.seen.nodes[0].pods_max, 4, "48 processors, 12 for each");
}

#[tokio::test(start_paused = true)]
async fn the_baseline_is_not_told_before_it_is_known_how_many_machines_it_takes() {
    let cluster = ScriptedCluster::new(1);
    let first = Running::start(&cluster);
    first.after(100).await;
    assert!(first.totals().baseline > MicroUsd::ZERO);
    first.kill().await;
    let hung = || Some(Arc::new(HungMarket) as _);
    let second = Running::with(&cluster, With { market: hung(), ..With::default() });
    second.after(10).await;
    assert!(second.books.read().is_none());
}

#[tokio::test(start_paused = true)]
async fn shutdown_ends_the_daemon_even_in_a_call_that_hangs() {
    let cluster = ScriptedCluster::new(1);
    cluster.on_observe([Some(Mishap::Hangs)]);
    let running = Running::start(&cluster);
    tokio::task::yield_now().await;
    running.shutdown.cancel();
    running.task.await.unwrap();
}
