//! The work grows with the cluster, and no faster.
#![expect(clippy::disallowed_macros, reason = "the time that two plans take is told")]

use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

use super::{provisioned::BOTH, *};
use crate::{
    cluster::{CapacityType, Node, Provisioner},
    ledger::{Baseline, Ledger},
    prices::{PriceBook, PriceChange},
    testing::{node, pod, provisioner::pool, seen},
    units::{MicroUsd, Replicas},
};

/// Ten pods a node, a tenth of the nodes under notice, and two hundred offerings.
fn cluster(nodes: usize, provisioned: bool) -> Snapshot {
    let mut prices = BTreeMap::new();
    for n in 0..100_u64 {
        for (capacity_type, price) in
            [(CapacityType::Spot, 200_000 + n), (CapacityType::OnDemand, 526_000 + n)]
        {
            let zone = format!("zone-{n}").parse().unwrap();
            prices.insert(Offering { zone, capacity_type, ..spot("a") }, UsdPerHour(price));
        }
    }
    let offerings: Vec<_> = prices.keys().cloned().collect();
    let name = |n: usize| format!("ip-10-0-{}-{}.eu-west-1.compute.internal", n / 250, n % 250);
    let one = |n: usize| Node {
        pods_max: 10,
        ..node(&name(n), offerings[n % offerings.len()].clone(), at(0))
    };
    let mut all = seen(at(7200), (0..nodes).map(one).collect());
    all.workloads = vec![workload(0)];
    all.workloads[0].replicas_wanted = Replicas(10 * nodes as u32);
    let pods = |n: usize| (0..10).map(move |k| pod(&format!("default/resnet-{n}-{k}"), &name(n)));
    all.pods = (0..nodes).flat_map(pods).collect();
    let notice = |n: usize| Notice {
        node: name(n).parse().unwrap(),
        kind: NoticeKind::Interruption { deadline: at(7300) },
    };
    all.notices = (0..nodes).step_by(10).map(notice).collect();
    let pools = vec![pool("any", &BOTH, Some(10))];
    all.provisioner = provisioned.then(|| Provisioner { overlays: Some(vec![]), pools });
    Snapshot {
        seen: all,
        prices,
        price_age_ms: Some(Millis::ZERO),
        spent_this_month: Some(MicroUsd::ZERO),
        traffic: None,
    }
}

/// The shortest of a few runs, in time of the processor, so that a busy machine does not count.
fn shortest(mut run: impl FnMut()) -> Duration {
    let mut time = || {
        let begun = processor_time();
        run();
        processor_time().saturating_sub(begun)
    };
    (0..5).map(|_| time()).min().unwrap()
}

/// What this thread has had of a processor.
fn processor_time() -> Duration {
    clock_gettime(ClockId::ThreadCPUTime).try_into().unwrap()
}

/// Eight times the cluster leaves the caches too, which may double the time; a walk within a walk takes 64 times as long.
fn assert_linear(what: &str, mut run: impl FnMut(usize) -> Duration) {
    let [small, middle, large] = [1250, 5000, 10_000].map(&mut run);
    println!("{what}: {small:?} for 1,250 nodes, {middle:?} for 5,000, {large:?} for 10,000");
    assert!(large < small * 32, "{what}: {small:?} and {large:?}");
}

#[test]
fn a_plan_takes_as_long_as_the_cluster_is_large() {
    for provisioned in [false, true] {
        let policy = Policy { nodes_max: 20_000, ..Story::new(0).policy };
        assert_linear(if provisioned { "steering" } else { "launching" }, |nodes| {
            let snapshot = cluster(nodes, provisioned);
            let (first, memory) = plan(&policy, &snapshot, Memory::default());
            assert!(first.steps.len() > nodes / 10, "it has work to do");
            shortest(|| {
                drop(plan(&policy, &snapshot, Memory::default()));
                drop(plan(&policy, &snapshot, memory.clone()));
            })
        });
    }
}

#[test]
fn an_entry_in_the_ledger_takes_as_long_as_the_cluster_is_large() {
    let baseline =
        Baseline { instance_type: "g4dn.xlarge".parse().unwrap(), pods_max: 10, nodes: None };
    assert_linear("ledger", |nodes| {
        let Snapshot { seen, prices, .. } = cluster(nodes, true);
        let change = |(offering, price): (&Offering, &UsdPerHour)| {
            (offering.clone(), PriceChange { at: at(0), price: *price })
        };
        let book: PriceBook = prices.iter().map(change).collect();
        let mut ledger = Ledger::default();
        ledger.observe(&seen, &book);
        shortest(|| {
            ledger.observe(&seen, &book);
            assert!(ledger.totals(&baseline, &book, at(7200)).spend.0 > 0);
        })
    });
}
