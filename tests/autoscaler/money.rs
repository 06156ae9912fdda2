//! Scenario I: what the daemon says was spent is what a hand would add up, through a restart, a node that goes while
//! nobody looks, and a machine that EC2 takes in its first hour. So do the rows of its ledger, and what `spotscale
//! explain` makes of it.

mod clock;

use std::{collections::BTreeMap, time::Duration};

use jiff::Timestamp;
use kube::api::DeleteParams;
use rustix::process::Signal;
use serde_json::Value;
use spotscale_autoscaler::Totals;
use spotscale_test_cluster::provider::{EndedBy, Instance, State};

use crate::ground::{Ground, daemon::Daemon, usd_per_hour};

const SCOPE: &str = "sleeper";
/// In seconds.
const BILLED_MIN: f64 = 60.0;
/// A NodeClaim tells in whole seconds when its machine was launched, and somewhat late: two seconds of three machines,
/// and a thirtieth of a cent.
const EPSILON: f64 = 3.0 * 2.0 * 0.20 / 3600.0;

/// How far the machines that go on have come between two questions, and the rounding of a sum.
const MEANWHILE: f64 = 0.01;

/// In dollars.
#[derive(Debug, Clone, Copy, Default)]
struct Sum {
    spend: f64,
    refund: f64,
}

/// What all machines have cost at a moment.
fn by_hand(machines: &[Instance], at: Timestamp) -> Sum {
    let mut sum = Sum::default();
    for machine in machines {
        let lived = |until| machine.launched.duration_until(until).as_secs_f64().max(0.0);
        let (seconds, by) = match machine.state {
            // EC2 bills a minute at least, which is known of a machine that has ended.
            State::Ended { at, by } => (lived(at).max(BILLED_MIN), Some(by)),
            State::Booting | State::Running => (lived(at), None),
        };
        let cost = usd_per_hour(&machine.offering) * seconds / 3600.0;
        sum.spend += cost;
        sum.refund += if by == Some(EndedBy::Cloud) { cost } else { 0.0 };
    }
    sum
}

fn by_daemon(totals: &Totals) -> Sum {
    Sum { spend: totals.spend.as_usd(), refund: totals.refund.as_usd() }
}

/// The sums of the rows, by the names of their columns, and the parts of idle time and of the workload.
async fn by_rows(daemon: &Daemon) -> (Sum, BTreeMap<String, f64>) {
    let csv = daemon.process.text("/ledger.csv").await;
    let (mut sum, mut parts) = (Sum::default(), BTreeMap::new());
    for row in csv::Reader::from_reader(csv.as_bytes()).deserialize::<BTreeMap<String, String>>() {
        let row = row.unwrap();
        let usd = |column: &str| row[column].parse::<f64>().unwrap();
        sum.refund += usd("x_RefundedCost");
        sum.spend += usd("BilledCost") + usd("x_RefundedCost");
        let list = usd("ListUnitPrice") * usd("PricingQuantity");
        assert!((list - usd("ListCost")).abs() < 1e-5, "{row:?}");
        assert_eq!(row["ListUnitPrice"].trim_end_matches('0'), "0.526", "{row:?}");
        let is_spot = row["ChargeDescription"].starts_with("spot ");
        assert_eq!(row["PricingCategory"], if is_spot { "Dynamic" } else { "Standard" });
        assert_eq!(row["RegionId"], "us-east-1");
        let tags: Value = serde_json::from_str(&row["Tags"]).unwrap();
        let name = tags["spotscale.dev/workload"].as_str().unwrap_or("idle").to_owned();
        *parts.entry(name).or_default() += usd("BilledCost");
    }
    (sum, parts)
}

#[tokio::test(flavor = "multi_thread")]
async fn scenario_i_the_ledger_is_right_through_a_restart_and_a_node_that_goes_unseen() {
    let ground = Ground::new("money", Duration::from_secs(1)).await;
    let mut daemon = Daemon::start(&ground, (SCOPE, "daemon"), &[], &[]).await;
    daemon.leads().await;
    ground.sleepers(SCOPE, 3).await;
    let pods = ground.slept(SCOPE, 3).await;
    let [unseen, taken, _] = [0, 1, 2].map(|n| ground.machine_of(&pods[n]));
    let is_known = || async {
        let state = daemon.state().await;
        Ok(state["snapshot"]["seen"]["nodes"].as_array().is_some_and(|nodes| nodes.len() == 3))
    };
    ground.until("three nodes to be known", is_known).await;
    daemon.process.signal(Signal::KILL);
    ground.nodes().delete(&unseen.node, &DeleteParams::default()).await.unwrap();
    let is_gone = || async { Ok(!ground.provider.instance(&unseen.node).unwrap().is_there()) };
    ground.until("the machine to end", is_gone).await;
    daemon.restart(&ground).await;
    daemon.leads().await;
    ground.interrupt(&taken.node, Duration::from_secs(15)).await;
    let is_right = || async {
        let books = daemon.books().await?;
        let (at, totals) = (books.at, books.totals());
        let machines = ground.provider.instances();
        let oldest = machines.iter().map(|machine| machine.launched).min().unwrap();
        let (by_hand, by_daemon) = (by_hand(&machines, at), by_daemon(&totals));
        let is_equal = |one: f64, other: f64| (one - other).abs() <= EPSILON;
        anyhow::ensure!(
            oldest.duration_until(at).as_secs_f64() > BILLED_MIN + 5.0
                && by_hand.refund > 0.0
                && is_equal(by_hand.spend, by_daemon.spend)
                && is_equal(by_hand.refund, by_daemon.refund),
            "by hand {by_hand:?}, by the daemon {by_daemon:?}: {machines:#?}, {totals:#?}"
        );
        println!("by hand {by_hand:?}, by the daemon {by_daemon:?}");
        Ok(true)
    };
    ground.until("the sums to agree", is_right).await;
    all_tell_the_same(&ground, &daemon).await;
}

/// The rows and the command agree with each other and with what a hand adds up.
async fn all_tell_the_same(ground: &Ground, daemon: &Daemon) {
    let state = daemon.state().await;
    let at = serde_json::from_value(state["snapshot"]["seen"]["at"].clone()).unwrap();
    let by_hand = by_hand(&ground.provider.instances(), at);
    let (by_rows, parts) = by_rows(daemon).await;
    let cost: Value =
        serde_json::from_str(&daemon.explained(&["explain", "cost", "--nodes", "--json"])).unwrap();
    let usd = |name: &str| cost[name].as_f64().unwrap() / 1e6;
    let by_command = Sum { spend: usd("spend"), refund: usd("refund") };
    for (name, sum) in [("rows", by_rows), ("command", by_command)] {
        let (spend, refund) = (sum.spend - by_hand.spend, sum.refund - by_hand.refund);
        assert!(
            spend.abs() < MEANWHILE && refund.abs() < MEANWHILE,
            "{name}: {sum:?}, {by_hand:?}"
        );
    }
    assert_eq!(parts.len(), 2, "what served and what was idle: {parts:?}");
    assert!(cost["unpriced"].as_array().unwrap().is_empty());
    assert_eq!(cost["nodes"].as_array().unwrap().len(), ground.provider.instances().len());
    let told = daemon.explained(&["explain", "cost"]);
    for part in ["Not billed of it: $0.0", "idle ", "Saved: ", "on demand, day and night since"] {
        assert!(told.contains(part), "{part}: {told}");
    }
    let told = daemon.explained(&["explain", "plan"]);
    assert!(told.starts_with("This autoscaler leads."), "{told}");
    println!("by rows {by_rows:?}, by the command {by_command:?}");
}
