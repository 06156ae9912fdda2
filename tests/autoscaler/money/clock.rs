//! Scenario I: the daemon's clock is set an hour wrong while it works, and right again. While it is wrong the sums are
//! those of the moment that it tells: an hour ahead each machine costs an hour more, and an hour behind none of them has
//! been launched. Counters never fall: what was counted too soon is not counted again. Afterwards the sums are right, with
//! what ended meanwhile. Who leads and what is done about a notice does not depend on it.

use std::collections::BTreeMap;

use jiff::SignedDuration;
use k8s_openapi::api::coordination::v1::Lease;
use kube::Api;
use spotscale_autoscaler::NoticeKind;

use super::*;
use crate::ground::{clock::Clock, proxy::Act};

const HOUR: i64 = 3600;
/// A clock that is this near is right, or as wrong as it should be.
const NEAR: f64 = 60.0;
/// A machine of this age has cost more than the minute that is billed at least.
const OLD: f64 = BILLED_MIN + 8.0;
/// Time to move in; nothing hurries where the clock takes the deadline to be an hour away.
const LEAD: Duration = Duration::from_secs(30);
/// Between two looks at the counters.
const PAUSE: Duration = Duration::from_millis(300);

/// A daemon with three machines and a clock of its own.
struct Case<'a> {
    ground: &'a Ground,
    scope: &'static str,
    clock: Clock,
    daemon: Daemon,
}

impl<'a> Case<'a> {
    async fn new(ground: &'a Ground, scope: &'static str) -> Self {
        ground.sleepers(scope, 3).await;
        let clock = Clock::new(ground.folder.path(), scope);
        let daemon = Daemon::start(ground, (scope, scope), &[], &clock.environment()).await;
        daemon.leads().await;
        ground.slept(scope, 3).await;
        Self { ground, scope, clock, daemon }
    }

    /// All its life; the clock goes wrong by so many seconds in the middle.
    async fn run(&self, off: i64) {
        let pods = self.ground.slept(self.scope, 3).await;
        let [taken, advised] = [0, 1].map(|n| self.ground.machine_of(&pods[n]));
        let transitions = self.transitions().await;
        self.sums_agree(|machines| machines).await;
        let deadline = self.ground.interrupt(&taken.node, LEAD).await;
        let announced = Announced { node: taken.node.clone(), deadline };
        self.set(off).await;
        self.ends(&taken).await;
        self.sums_agree(|machines| announced.seen(machines, off)).await;
        let is_old =
            || async { Ok(advised.launched.duration_until(Timestamp::now()).as_secs_f64() > OLD) };
        self.ground.until("the machine to be old", is_old).await;
        self.ground.notice(&advised.node, &[NoticeKind::Rebalance]).await;
        self.ends(&advised).await;
        self.ground.slept(self.scope, 3).await;
        self.sums_agree(|machines| announced.seen(machines, off)).await;
        self.set(0).await;
        self.sums_agree(|machines| machines).await;
        assert_eq!(transitions, self.transitions().await, "the Lease changed hands");
        let acts = self.daemon.proxy.acts();
        // What should have been taken an hour ago is given back.
        let given_back = if off > 0 { 2 } else { 1 };
        for (act, times) in [(Act::Cordon, 2), (Act::Evict, 2), (Act::Terminate, given_back)] {
            assert_eq!(self.daemon.proxy.count(act), times, "{act:?}: {acts:?}");
        }
        assert_eq!(self.machines().len(), 5, "one for each that is gone: {acts:?}");
    }

    fn machines(&self) -> Vec<Instance> {
        let mut machines = self.ground.provider.instances();
        machines.retain(|machine| machine.pool.contains(&format!("-{}-", self.scope)));
        machines
    }

    /// The clock goes wrong by so many seconds, or right.
    async fn set(&self, off: i64) {
        self.clock.set(off);
        let is_set = || async {
            let (at, _) = self.told().await?;
            let ahead = Timestamp::now().duration_until(at).as_secs_f64();
            Ok((ahead - off as f64).abs() < NEAR)
        };
        self.ground.until("a look by the new clock", is_set).await;
    }

    /// The sums, and up to when.
    async fn told(&self) -> anyhow::Result<(Timestamp, Sum)> {
        let books = self.daemon.books().await?;
        Ok((books.at, by_daemon(&books.totals())))
    }

    async fn ends(&self, machine: &Instance) {
        let is_ended =
            || async { Ok(!self.ground.provider.instance(&machine.node).unwrap().is_there()) };
        self.ground.until("the machine to end", is_ended).await;
    }

    /// By the daemon's clock, and by what it has seen of the machines.
    async fn sums_agree(&self, seen: impl Fn(Vec<Instance>) -> Vec<Instance>) {
        let agree = || async {
            let (at, told) = self.told().await?;
            let machines = self.machines();
            let by_hand = by_hand(&seen(machines.clone()), at);
            let is_near = |one: f64, other: f64| (one - other).abs() <= 3.0 * EPSILON;
            anyhow::ensure!(
                is_near(told.spend, by_hand.spend) && is_near(told.refund, by_hand.refund),
                "by hand {by_hand:?}, by the daemon {told:?} at {at}: {machines:#?}"
            );
            println!("{}: by hand {by_hand:?}, by the daemon {told:?}", self.scope);
            Ok(true)
        };
        self.ground.until("the sums to agree", agree).await;
    }

    async fn transitions(&self) -> Option<i32> {
        let leases = Api::<Lease>::namespaced(self.ground.client.clone(), &self.ground.namespace);
        leases.get(self.scope).await.unwrap().spec?.lease_transitions
    }

    /// Does something while the counters are watched: none falls, and the daemon goes on to lead.
    async fn watched(&self, doing: impl Future<Output = ()>) {
        let mut doing = std::pin::pin!(doing);
        let mut before = BTreeMap::new();
        loop {
            let text = self.daemon.process.text("/metrics").await;
            let now: BTreeMap<String, f64> = text.lines().filter_map(counter).collect();
            for (name, value) in &before {
                let falls = now.get(name).is_none_or(|now| now < value);
                assert!(!falls, "{}: {name} fell from {value}: {now:#?}", self.scope);
            }
            assert_eq!(self.daemon.state().await["role"], "leader", "{}", self.scope);
            before = now;
            if tokio::time::timeout(PAUSE, &mut doing).await.is_ok() {
                return;
            }
        }
    }
}

/// A machine that the provider said it would take.
struct Announced {
    node: String,
    deadline: Timestamp,
}

impl Announced {
    /// What ended while the clock was wrong ended when that clock said. But an hour ahead this one's deadline was past, and
    /// it is held to have been taken; an hour behind that was yet to come, and no refund is claimed on a guess.
    fn seen(&self, mut machines: Vec<Instance>, off: i64) -> Vec<Instance> {
        for machine in &mut machines {
            if let State::Ended { at, by } = &mut machine.state {
                let taken = machine.node == self.node && off > 0;
                *by = if taken { EndedBy::Cloud } else { EndedBy::Owner };
                *at = if taken { self.deadline } else { *at + SignedDuration::from_secs(off) };
            }
        }
        machines
    }
}

/// A counter of money, by name and labels.
fn counter(line: &str) -> Option<(String, f64)> {
    let (name, value) = line.rsplit_once(' ')?;
    name.contains("_usd_total").then(|| (name.to_owned(), value.parse().unwrap()))
}

#[tokio::test(flavor = "multi_thread")]
async fn scenario_i_a_clock_that_is_set_wrong_and_right_again_leaves_the_ledger_right() {
    let ground = Ground::new("clock", Duration::from_secs(1)).await;
    let (ahead, behind) = tokio::join!(Case::new(&ground, "ahead"), Case::new(&ground, "behind"));
    tokio::join!(ahead.watched(ahead.run(HOUR)), behind.watched(behind.run(-HOUR)));
}
