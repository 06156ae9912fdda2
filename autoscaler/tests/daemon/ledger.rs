//! What is told of the money over HTTP, and when nothing is.

use std::sync::Arc;

use crate::support::{Mishap, Running, ScriptedCluster, SharedVault, Side, Turnstile, With};
use spotscale_autoscaler::Books;

/// The lines of a table by the names of its columns.
fn table(csv: &str) -> Vec<std::collections::BTreeMap<String, String>> {
    csv::Reader::from_reader(csv.as_bytes()).deserialize().map(Result::unwrap).collect()
}

fn sum(csv: &str, column: &str) -> f64 {
    table(csv).iter().map(|line| line[column].parse::<f64>().unwrap()).sum()
}

#[tokio::test(start_paused = true)]
async fn the_ledger_is_told_by_the_row_and_in_whole() {
    let cluster = ScriptedCluster::new(1);
    let running = Running::start(&cluster);
    let state = running.after(100).await;
    let (status, csv) = running.page("/ledger.csv").await;
    let lines = table(&csv);
    // 31 s until the pod serves, and 69 s that it does, at 0.36 $/h where on demand is 3.60 $/h.
    let told: Vec<_> =
        lines.iter().map(|line| (&*line["BilledCost"], &*line["ListCost"])).collect();
    assert_eq!((status, told), (200, vec![("0.003100", "0.031000"), ("0.006900", "0.069000")]));
    assert_eq!(lines[0]["Tags"], r#"{"spotscale.dev/idle":true}"#);
    assert_eq!(lines[1]["Tags"], r#"{"spotscale.dev/workload":"resnet"}"#);
    assert_eq!(lines[0]["ResourceName"], state.snapshot.seen.nodes[0].name.as_str());
    assert!((sum(&csv, "EffectiveCost") - running.totals().spend.as_usd()).abs() < 1e-9);
    let books: Books = serde_json::from_str(&running.get("/debug/ledger").await).unwrap();
    assert_eq!(books.totals(), running.totals());
    assert_eq!(books.lives().count(), 1);
}

#[tokio::test(start_paused = true)]
async fn who_has_seen_nothing_yet_says_so() {
    let cluster = ScriptedCluster::new(1);
    cluster.on_observe([Some(Mishap::Hangs)]);
    let running = Running::start(&cluster);
    assert_eq!(running.page("/ledger.csv").await, (503, "nothing was observed yet\n".to_owned()));
}

#[tokio::test(start_paused = true)]
async fn who_does_not_lead_or_has_no_ledger_yet_says_so() {
    let (cluster, vault) = (ScriptedCluster::new(1), Arc::new(SharedVault::default()));
    let gate = Arc::new(Turnstile::default());
    let side = Some(Arc::new(Side(Arc::clone(&gate), 0)) as _);
    let with = With { gate: side, vault: Some(vault.clone()), ..With::default() };
    let running = Running::with(&cluster, with);
    running.after(3).await;
    for path in ["/ledger.csv", "/debug/ledger"] {
        let (status, why) = running.page(path).await;
        assert!(status == 503 && why.contains("does not lead"), "{path}: {status} {why}");
    }
    vault.breaks(true);
    gate.turn(Some(0));
    running.after(3).await;
    let (status, why) = running.page("/ledger.csv").await;
    assert!(status == 503 && why.contains("not loaded yet"), "{status} {why}");
    vault.breaks(false);
    running.after(30).await;
    assert_eq!(running.page("/ledger.csv").await.0, 200);
    gate.turn(None);
    running.after(3).await;
    assert_eq!(running.page("/ledger.csv").await.0, 503, "what was known is another's by now");
}

#[tokio::test(start_paused = true)]
async fn decisions_are_read_back_as_they_were_told() {
    let cluster = ScriptedCluster::new(1);
    let running = Running::start(&cluster);
    let state = running.after(100).await;
    let told: spotscale_autoscaler::State =
        serde_json::from_str(&running.get("/debug/plan").await).unwrap();
    assert_eq!(told.decisions, state.decisions);
    assert_eq!((&told.plan, &told.memory), (&state.plan, &state.memory));
}
