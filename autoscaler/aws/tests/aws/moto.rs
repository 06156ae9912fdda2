//! Against moto: a real queue, real machines, the shapes of real answers.

use std::time::Duration;

use jiff::Timestamp;
use spotscale_autoscaler::{
    EndedBy, EventKind, Fates as _, Market as _, NoticeSource as _, QueueError, Receipt, Received,
    Unasked,
};
use spotscale_aws::{Ec2Fates, Ec2Market, Metrics, NoticeQueue};
use spotscale_decide::units::InstanceId;
use spotscale_test_cluster::cloud::{
    Moto,
    events::{rebalance, spot_interruption, state_change},
    moto::{Depth, queue_url},
};
use tokio::time::{Instant, sleep};

use crate::{
    market::{NONE, at, types},
    scripted::{config, connect},
};

const ZONE: &str = "us-east-1a";
const EMPTY: Depth = Depth { visible: 0, in_flight: 0 };

async fn queue(moto: &Moto, url: &str, visibility: &str) -> NoticeQueue {
    let flags = [format!("--interruption-queue={url}"), format!("--queue-visibility={visibility}")];
    let sdk = connect(&moto.endpoint()).await;
    let flags = flags.each_ref().map(String::as_str);
    NoticeQueue::new(&config(&flags).queue, &sdk, Metrics::default()).unwrap()
}

fn id(n: usize) -> String {
    format!("i-{n:017x}")
}

/// Receives until so many messages are there. A queue that is drained and still owes some fails the test in time.
async fn receive(queue: &NoticeQueue, count: usize) -> Vec<Received> {
    let mut all = vec![];
    while all.len() < count {
        let some = queue.receive().await.unwrap();
        assert!(!some.is_empty(), "{} of {count} messages came", all.len());
        all.extend(some);
    }
    all
}

fn receipts(received: &[Received]) -> Vec<Receipt> {
    received.iter().map(|one| one.receipt.clone()).collect()
}

/// Scenarios 2 and 12: ten notices of ten machines in one receive; done with, nothing is left of them.
#[tokio::test]
async fn s2_s12_ten_notices_come_at_once_and_none_stays() {
    let moto = Moto::start().await.unwrap();
    let url = moto.create_queue("notices", Duration::from_mins(1)).await.unwrap();
    let sent_at: Timestamp = "2026-03-04T05:06:07Z".parse().unwrap();
    for n in 0..10 {
        moto.send(&url, &spot_interruption(&id(n), ZONE, sent_at)).await.unwrap();
    }
    let queue = queue(&moto, &url, "60s").await;
    let received = queue.receive().await.unwrap();
    assert_eq!(moto.depth(&url).await.unwrap(), Depth { visible: 0, in_flight: 10 });
    let deadline = "2026-03-04T05:08:07Z".parse().unwrap();
    let mut machines = vec![];
    for one in &received {
        let event = one.event.as_ref().unwrap();
        assert_eq!(event.kind, EventKind::SpotInterruption { deadline });
        machines.extend(event.instances.iter().map(InstanceId::to_string));
    }
    machines.sort();
    assert_eq!(machines, (0..10).map(id).collect::<Vec<_>>());
    queue.done(&receipts(&received)).await.unwrap();
    assert_eq!(moto.depth(&url).await.unwrap(), EMPTY);
}

/// Scenario 14: a hundred mixed messages; those that ask nothing say why, and all can be done with.
#[tokio::test]
async fn s14_a_hundred_mixed_messages_are_all_handled() {
    let moto = Moto::start().await.unwrap();
    let url = moto.create_queue("notices", Duration::from_mins(1)).await.unwrap();
    let now = Timestamp::now();
    for n in 0..100 {
        let body = match n % 5 {
            0 => spot_interruption(&id(n), ZONE, now),
            1 => rebalance(&id(n), ZONE, now),
            2 => state_change(&id(n), "stopping", now),
            3 => state_change(&id(n), "running", now),
            _ => "{\"detail-type\":".to_owned(),
        };
        moto.send(&url, &body).await.unwrap();
    }
    let queue = queue(&moto, &url, "60s").await;
    let received = receive(&queue, 100).await;
    let mut kinds: Vec<&str> = received
        .iter()
        .map(|one| one.event.as_ref().map_or_else(Unasked::kind, |event| event.kind.kind()))
        .collect();
    kinds.sort_unstable();
    let wanted = ["malformed", "rebalance", "spot-interruption", "state", "stopping"];
    let of_each: Vec<&[&str]> = kinds.chunks(20).collect();
    assert!(of_each.iter().zip(wanted).all(|(some, kind)| some == &[kind; 20]), "{kinds:?}");
    queue.done(&receipts(&received)).await.unwrap();
    assert_eq!(moto.depth(&url).await.unwrap(), EMPTY);
}

#[tokio::test]
async fn a_message_that_is_kept_does_not_come_again_meanwhile() {
    let moto = Moto::start().await.unwrap();
    let url = moto.create_queue("notices", Duration::from_mins(1)).await.unwrap();
    moto.send(&url, &spot_interruption(&id(1), ZONE, Timestamp::now())).await.unwrap();
    let queue = queue(&moto, &url, "1s").await;
    // Left alone it comes again: a receive waits for it.
    let first = receive(&queue, 1).await;
    let again = receive(&queue, 1).await;
    assert_eq!(first[0].event, again[0].event);
    queue.keep(&receipts(&again), Duration::from_mins(10)).await.unwrap();
    let taken_at = Instant::now();
    while taken_at.elapsed() < Duration::from_secs(3) {
        assert_eq!(moto.depth(&url).await.unwrap(), Depth { visible: 0, in_flight: 1 });
        sleep(Duration::from_millis(200)).await;
    }
    queue.keep(&receipts(&again), Duration::ZERO).await.unwrap();
    let last = receive(&queue, 1).await;
    queue.done(&receipts(&last)).await.unwrap();
    assert_eq!(moto.depth(&url).await.unwrap(), EMPTY);
}

/// Scenario 14: a queue that is not there is an error that says so.
#[tokio::test]
async fn s14_a_missing_queue_is_told_as_such() {
    let moto = Moto::start().await.unwrap();
    let url = queue_url(&moto.endpoint(), "nowhere");
    let queue = queue(&moto, &url, "60s").await;
    let error = queue.receive().await.unwrap_err();
    assert_eq!(error, QueueError::Missing(url));
    let error = queue.done(&[Receipt("none".to_owned())]).await.unwrap_err();
    assert_eq!(error.kind(), "missing");
}

/// Scenario 10: of machines that EC2 has forgotten nothing is told, and nothing fails.
#[tokio::test]
async fn s10_the_fate_of_machines_is_told_as_far_as_it_is_known() {
    let moto = Moto::start().await.unwrap();
    let before = Timestamp::now();
    let ids = moto.run_instances("m5.large", ZONE, 2).await.unwrap();
    moto.terminate(&ids[0]).await.unwrap();
    let fates = Ec2Fates::new(&connect(&moto.endpoint()).await, Metrics::default());
    let mut asked: Vec<InstanceId> = ids.iter().map(|id| id.parse().unwrap()).collect();
    asked.push("i-0ffffffffffffffff".parse().unwrap());
    let mut told = fates.fates(&asked).await.unwrap();
    told.sort_by_key(|fate| fate.end.is_none());
    assert_eq!(told.iter().map(|fate| fate.instance.as_str()).collect::<Vec<_>>(), ids);
    let end = told[0].end.unwrap();
    assert_eq!(end.by, EndedBy::Us);
    // EC2 tells whole seconds.
    assert!(end.at.unwrap().as_second() >= before.as_second(), "{end:?}");
    assert!(told[0].launched_at.unwrap().as_second() >= before.as_second(), "{told:?}");
    assert_eq!(told[1].end, None);
    assert_eq!(fates.fates(&[]).await.unwrap(), []);
}

#[tokio::test]
async fn types_zones_and_prices_come_in_motos_shapes() {
    let moto = Moto::start().await.unwrap();
    let sdk = connect(&moto.endpoint()).await;
    let market = |names: &[&str]| {
        Ec2Market::new(&config(&[]).market, &sdk, types(names), Metrics::default()).unwrap()
    };
    let described = async |names: &[&str]| {
        let market = market(names);
        // What the types are does not depend on there being prices.
        let _ = market.prices(Timestamp::now(), &NONE).await;
        market.instance_types()
    };
    let mut infos = described(&["g4dn.xlarge", "c5.xlarge"]).await;
    infos.reverse();
    assert_eq!((infos[0].vcpus, infos[0].memory_mib), (4, 16_384));
    let gpu = &infos[0].gpus[0];
    let told = (gpu.manufacturer.as_str(), gpu.name.as_str(), gpu.count, gpu.memory_mib);
    assert_eq!(told, ("NVIDIA", "T4", 1, 16_384));
    assert_eq!((infos[1].instance_type.as_str(), infos[1].gpus.len()), ("c5.xlarge", 0));
    assert_eq!(described(&["g4dn.xlarge", "x9.huge"]).await, infos[..1]);
    // moto has one spot price for everything, in every zone that sells the type, and no price list.
    let book = market(&["g4dn.xlarge"]).prices(Timestamp::now(), &NONE).await.unwrap();
    let zones = |kind: &str| {
        let sold = book.offerings().filter(|one| one.capacity_type.to_string() == kind);
        sold.map(|one| one.zone.to_string()).collect::<Vec<_>>()
    };
    assert!(zones("spot").contains(&ZONE.to_owned()), "{:?}", zones("spot"));
    assert_eq!(zones("spot"), zones("on-demand"));
    let spot = book.offerings().find(|one| one.capacity_type.to_string() == "spot").unwrap();
    assert_eq!(book.changes(spot)[0].price.0, 10);
}

#[tokio::test]
async fn a_type_that_only_a_node_has_gets_its_prices_and_one_that_is_unknown_costs_none() {
    let moto = Moto::start().await.unwrap();
    let sdk = connect(&moto.endpoint()).await;
    let market =
        Ec2Market::new(&config(&[]).market, &sdk, types(&["g4dn.xlarge"]), Metrics::default());
    let (market, now) = (market.unwrap(), Timestamp::now());
    let offerings = async |besides: &[&str]| {
        let besides = types(besides).into_iter().map(|one| (one, at("2026-03-04T00:00:00Z")));
        let book = market.prices(now, &besides.collect()).await.unwrap();
        let named = |name: &str| {
            let its = book.offerings().filter(|one| one.instance_type.as_str() == name);
            let here = its.filter(|one| one.zone.as_str() == ZONE);
            let priced = here.map(|one| (one.capacity_type.to_string(), book.at(one, now)));
            priced.map(|(kind, price)| (kind, price.unwrap().0)).collect::<Vec<_>>()
        };
        ["g4dn.xlarge", "c5.xlarge", "x9.huge"].map(named)
    };
    let both = |on_demand| vec![("spot".to_owned(), 10), ("on-demand".to_owned(), on_demand)];
    let sold = both(526_000);
    assert_eq!(offerings(&[]).await, [sold.clone(), vec![], vec![]]);
    let with_node = offerings(&["c5.xlarge", "x9.huge"]).await;
    assert_eq!(with_node, [sold.clone(), both(170_000), vec![]]);
    let infos = market.instance_types();
    let names: Vec<_> = infos.iter().map(|info| info.instance_type.as_str()).collect();
    assert_eq!(names, ["c5.xlarge", "g4dn.xlarge"]);
    assert_eq!(offerings(&[]).await, [sold, vec![], vec![]], "no node has it any more");
}
