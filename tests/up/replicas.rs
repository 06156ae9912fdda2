//! Local mode as a whole, with real processes and a tiny model: from zero and back, and nothing lost on the way.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use futures::future::join_all;
use tokio::time::{sleep, timeout};

use crate::local_mode::{LocalMode, PATIENCE, is_running, kill, play, replicas, source};

#[tokio::test(flavor = "multi_thread")]
async fn the_first_request_finds_nothing_and_is_answered_and_then_all_goes_back_to_zero() {
    let mut up = LocalMode::start(&[]).await;
    let before = up.view().await;
    assert_eq!(before["replicas"].as_array().unwrap().len(), 0, "{before:#}");
    assert_eq!(before["weights"], "seeded");

    assert_eq!(up.classify().await, Ok(200));
    assert!(!up.replica_pids().is_empty(), "somebody answered, and it was no replica");
    up.until_zero().await;
    assert!(up.replica_pids().is_empty(), "the page shows none, and there are some");
    let after = up.view().await;
    assert_eq!(after["traffic"]["answered_total"]["200"], 1, "{after:#}");
    assert_eq!(after["traffic"]["lost_total"], 0);
    assert!(after["money"]["spend_usd"].as_f64().unwrap() > 0.0, "nodes are not free");

    assert_eq!(up.classify().await, Ok(200), "it woke up once and not again");
    let replicas = up.replica_pids();
    assert!(up.terminate().await.success());
    assert!(!replicas.iter().any(|pid| is_running(*pid)), "replicas were left behind");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_that_is_killed_under_load_loses_no_request() {
    let up = LocalMode::start(&[]).await;
    assert_eq!(up.classify().await, Ok(200));
    let done = AtomicBool::new(false);
    let client = || async {
        let mut answers = Vec::new();
        while !done.load(Ordering::SeqCst) {
            answers.push(up.classify().await);
        }
        answers
    };
    let killer = async {
        for _ in 0..3 {
            let some = async {
                while replicas(&up.view().await, "ready").is_empty() {
                    sleep(Duration::from_millis(100)).await;
                }
            };
            timeout(PATIENCE, some).await.expect("none becomes ready");
            for pid in up.replica_pids() {
                kill("KILL", pid);
            }
            sleep(Duration::from_secs(2)).await;
        }
        done.store(true, Ordering::SeqCst);
    };
    let (answers, ()) = tokio::join!(join_all((0..4).map(|_| client())), killer);
    let answers: Vec<_> = answers.into_iter().flatten().collect();
    assert!(answers.len() > 20, "only {} requests were sent", answers.len());
    let lost: Vec<_> = answers.iter().filter(|answer| **answer != Ok(200)).collect();
    assert!(lost.is_empty(), "{} of {} were lost: {lost:?}", lost.len(), answers.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn x07_an_interrupted_node_and_a_killed_pod_lose_nothing_and_it_ends_at_zero() {
    let (status, report, log) = play(&source("tests/up/mishaps.toml")).await;
    assert!(status.success(), "{status}: {:#}\n{log}", report["failures"]);
    assert_eq!(report["requests"]["lost"], 0, "{:#}", report["lost_by_reason"]);
    assert_eq!(report["requests"]["sent"], report["requests"]["answered"]);
    assert!(report["requests"]["sent"].as_u64().unwrap() > 20);
    assert_eq!(report["mishaps"].as_array().unwrap().len(), 2, "{:#}", report["mishaps"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn replicas_do_not_outlive_local_mode_however_it_ends() {
    let mut up = LocalMode::start(&[]).await;
    assert_eq!(up.classify().await, Ok(200));
    let replicas = up.replica_pids();
    assert!(!replicas.is_empty());
    up.killed().await;
    let gone = async {
        while replicas.iter().any(|pid| is_running(*pid)) {
            sleep(Duration::from_millis(50)).await;
        }
    };
    assert!(tokio::time::timeout(PATIENCE, gone).await.is_ok(), "replicas were left behind");
}
