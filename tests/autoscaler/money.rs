//! Scenario I: what the daemon says was spent is what a hand would add up, through a restart, a node that goes while
//! nobody looks, and a machine that EC2 takes in its first hour.

use std::time::Duration;

use jiff::Timestamp;
use kube::api::DeleteParams;
use rustix::process::Signal;
use serde_json::Value;
use spotscale_test_cluster::provider::{EndedBy, Instance, State};

use crate::ground::{Ground, daemon::Daemon, usd_per_hour};

const SCOPE: &str = "sleeper";
/// In seconds.
const BILLED_MIN: f64 = 60.0;
/// A NodeClaim tells in whole seconds when its machine was launched, and somewhat late: two seconds of three machines,
/// and a thirtieth of a cent.
const EPSILON: f64 = 3.0 * 2.0 * 0.20 / 3600.0;

/// In dollars.
#[derive(Debug, Default)]
struct Sum {
    spend: f64,
    refund: f64,
}

/// What all machines have cost at a moment.
fn by_hand(machines: &[Instance], at: Timestamp) -> Sum {
    let mut sum = Sum::default();
    for machine in machines {
        let lived = |until| machine.launched.duration_until(until).as_secs_f64();
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

fn by_daemon(state: &Value) -> Sum {
    let usd = |name: &str| state["totals"][name].as_f64().unwrap() / 1e6;
    Sum { spend: usd("spend"), refund: usd("refund") }
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
        let state = daemon.state().await;
        let at: Timestamp = serde_json::from_value(state["snapshot"]["seen"]["at"].clone())?;
        let machines = ground.provider.instances();
        let oldest = machines.iter().map(|machine| machine.launched).min().unwrap();
        let (by_hand, by_daemon) = (by_hand(&machines, at), by_daemon(&state));
        let is_equal = |one: f64, other: f64| (one - other).abs() <= EPSILON;
        anyhow::ensure!(
            oldest.duration_until(at).as_secs_f64() > BILLED_MIN + 5.0
                && by_hand.refund > 0.0
                && is_equal(by_hand.spend, by_daemon.spend)
                && is_equal(by_hand.refund, by_daemon.refund),
            "by hand {by_hand:?}, by the daemon {by_daemon:?}: {machines:#?}, {:#}",
            state["totals"]
        );
        println!("by hand {by_hand:?}, by the daemon {by_daemon:?}");
        Ok(true)
    };
    ground.until("the sums to agree", is_right).await;
}
