//! Messages and what becomes of them, named after the scenarios that other projects test.

use spotscale_decide::{
    cluster::{CapacityType, EndedBy, Notice, Offering, Pod, PodPhase},
    units::Millis,
};

use super::*;
use crate::notices::{Ending, Unasked};

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + second).unwrap()
}

fn node(number: u32) -> Node {
    Node {
        name: format!("node-{number}").parse().unwrap(),
        instance: Some(id(number)),
        offering: Offering {
            instance_type: "g4dn.xlarge".parse().unwrap(),
            zone: "a".parse().unwrap(),
            capacity_type: CapacityType::Spot,
        },
        phase: NodePhase::Ready,
        cordoned: None,
        protected: false,
        pool: None,
        launched_at: at(-1000),
        pods_max: 1,
    }
}

fn id(number: u32) -> InstanceId {
    format!("i-{number:04}").parse().unwrap()
}

/// Each of these nodes has one pod.
fn seen(second: i64, nodes: impl IntoIterator<Item = u32>) -> Observation {
    let nodes: Vec<Node> = nodes.into_iter().map(node).collect();
    let pod = |node: &Node| Pod {
        name: format!("pod-on-{}", node.name).parse().unwrap(),
        workload: None,
        node: Some(node.name.clone()),
        phase: PodPhase::Ready,
        surged: false,
        grace_ms: Millis::from_secs(10),
        critical: false,
    };
    Observation {
        at: at(second),
        workloads: vec![],
        pods: nodes.iter().map(pod).collect(),
        nodes,
        notices: vec![],
        provisioner: None,
    }
}

/// They are cordoned, and nothing is left on them.
fn emptied(second: i64, nodes: impl IntoIterator<Item = u32>) -> Observation {
    let mut seen = seen(second, nodes);
    seen.pods.clear();
    seen.nodes.iter_mut().for_each(|node| node.cordoned = Some(CordonCause::Notice));
    seen
}

fn message(name: &str, second: i64, kind: EventKind, number: u32) -> Received {
    let event = Event { id: name.to_owned(), at: at(second), instances: vec![id(number)], kind };
    Received { receipt: receipt(name), event: Ok(event) }
}

fn again(mut message: Received, name: &str) -> Received {
    message.receipt = receipt(name);
    message
}

fn receipt(name: &str) -> Receipt {
    Receipt(name.to_owned())
}

fn spot(deadline: i64) -> EventKind {
    EventKind::SpotInterruption { deadline: at(deadline) }
}

fn outcomes(orders: &Orders) -> Vec<&'static str> {
    orders.outcomes.iter().map(|(_, outcome)| outcome.kind()).collect()
}

/// Every node takes what it is told.
fn obey(intake: &mut Intake, seen: &Observation) -> Orders {
    let orders = intake.orders(seen);
    orders.tell.iter().for_each(|told| intake.told(told));
    orders
}

fn news(orders: &Orders) -> Vec<(&str, News)> {
    orders.tell.iter().map(|told| (told.node.as_str(), told.news)).collect()
}

#[test]
fn a_message_stays_until_its_node_is_empty_and_is_hidden_meanwhile() {
    let mut intake = Intake::default();
    assert_eq!(intake.take(vec![message("m", 0, spot(120), 1)]), Orders::default());
    let orders = obey(&mut intake, &seen(1, [1]));
    let stands = News::Stands(NoticeKind::Interruption { deadline: at(120) });
    assert_eq!(news(&orders), [("node-1", stands)]);
    assert_eq!((orders.keep, orders.done), (vec![receipt("m")], vec![]));
    assert_eq!(obey(&mut intake, &seen(2, [1])), Orders::default(), "told once");
    assert_eq!(obey(&mut intake, &seen(30, [1])), Orders::default());
    assert_eq!(obey(&mut intake, &seen(31, [1])).keep, [receipt("m")], "half of it is over");
    let orders = obey(&mut intake, &emptied(40, [1]));
    assert_eq!((orders.done.as_slice(), outcomes(&orders)), (&[receipt("m")][..], vec!["emptied"]));
    assert_eq!(obey(&mut intake, &emptied(41, [1])), Orders::default());
}

#[test]
fn a_node_that_could_not_be_told_is_told_again() {
    let mut intake = Intake::default();
    intake.take(vec![message("m", 0, spot(120), 1)]);
    assert_eq!(intake.orders(&seen(1, [1])).tell.len(), 1);
    assert_eq!(intake.orders(&seen(2, [1])).tell.len(), 1);
    let orders = intake.orders(&emptied(3, [1]));
    assert!(orders.done.is_empty(), "it was never told, so it was not this that emptied it");
}

#[test]
fn ten_messages_in_one_receive_are_ten_drains_and_ten_deletions() {
    let mut intake = Intake::default();
    intake.take((1..=10).map(|n| message(&format!("m{n}"), 0, spot(120), n)).collect());
    let orders = obey(&mut intake, &seen(1, 1..=10));
    let told: std::collections::BTreeSet<_> = orders.tell.iter().map(|told| &told.node).collect();
    assert_eq!(told.len(), 10);
    assert_eq!(obey(&mut intake, &emptied(60, 1..=10)).done.len(), 10);
}

#[test]
fn a_message_that_comes_again_is_the_same_one() {
    let mut intake = Intake::default();
    let first = message("m", 0, spot(120), 1);
    intake.take(vec![first.clone()]);
    obey(&mut intake, &seen(1, [1]));
    let orders = intake.take(vec![again(first.clone(), "m2")]);
    assert_eq!((orders.done.is_empty(), outcomes(&orders)), (true, vec!["duplicate"]));
    let orders = obey(&mut intake, &seen(2, [1]));
    assert!(orders.tell.is_empty(), "told twice");
    assert_eq!(orders.keep, [receipt("m"), receipt("m2")], "the new delivery is hidden, too");
    let orders = obey(&mut intake, &emptied(40, [1]));
    assert_eq!(orders.done, [receipt("m"), receipt("m2")]);
    let orders = intake.take(vec![again(first, "m3")]);
    assert_eq!(
        (orders.done.as_slice(), outcomes(&orders)),
        (&[receipt("m3")][..], vec!["duplicate"])
    );
}

#[test]
fn what_asks_nothing_of_us_is_done_with_at_once() {
    let mut intake = Intake::default();
    let unasked = [
        Unasked::Malformed("no JSON".to_owned()),
        Unasked::State("running".to_owned()),
        Unasked::AutoScalingTest,
        Unasked::NoInstance,
    ];
    let received = unasked
        .into_iter()
        .enumerate()
        .map(|(n, why)| Received { receipt: receipt(&n.to_string()), event: Err(why) });
    let orders = intake.take(received.collect());
    assert_eq!(orders.done.len(), 4);
    assert_eq!(outcomes(&orders), ["malformed", "state", "auto-scaling-test", "no-instance"]);
}

#[test]
fn a_machine_that_is_not_known_may_still_join_and_is_foreign_in_the_end() {
    let mut intake = Intake::default();
    intake.take(vec![message("late", 0, spot(120), 1), message("foreign", 0, spot(120), 2)]);
    let orders = obey(&mut intake, &seen(5, []));
    assert_eq!((orders.tell.len(), orders.done.len(), orders.keep.len()), (0, 0, 2));
    assert_eq!(obey(&mut intake, &seen(20, [1])).tell.len(), 1, "it has joined");
    assert!(obey(&mut intake, &seen(299, [1])).done.is_empty());
    let orders = obey(&mut intake, &seen(300, [1]));
    assert_eq!(
        (orders.done.as_slice(), outcomes(&orders)),
        (&[receipt("foreign")][..], vec!["foreign"])
    );
}

#[test]
fn a_machine_on_its_way_out_is_emptied_unless_the_cluster_sent_it() {
    let mut intake = Intake::default();
    let ending = |n| message(&format!("m{n}"), 7, EventKind::Ending(Ending::Stopping), n);
    intake.take(vec![ending(1), ending(2), ending(3), ending(4), ending(5)]);
    let mut seen = seen(8, [1, 2, 3, 4, 5]);
    seen.nodes[1].cordoned = Some(CordonCause::Surplus);
    seen.nodes[2].phase = NodePhase::Ended { at: at(7), by: EndedBy::Us };
    let kind = NoticeKind::Interruption { deadline: at(100) };
    seen.notices = vec![Notice { node: seen.nodes[3].name.clone(), kind }];
    seen.nodes[4].phase = NodePhase::Leaving;
    let orders = obey(&mut intake, &seen);
    let now = News::Stands(NoticeKind::Maintenance { deadline: at(7) });
    assert_eq!(news(&orders), [("node-1", now)]);
    assert_eq!(outcomes(&orders), ["nothing-new", "gone", "nothing-new", "nothing-new"]);
}

#[test]
fn a_planned_change_is_called_off_in_whichever_order_it_is_heard() {
    let planned = || message("plan", 0, EventKind::ScheduledChange { deadline: at(9000) }, 1);
    let over = || message("over", 5, EventKind::ScheduledChangeOver, 1);
    for order in [[planned(), over()], [over(), planned()]] {
        let mut intake = Intake::default();
        intake.take(order.to_vec());
        let orders = obey(&mut intake, &seen(6, [1]));
        assert_eq!(news(&orders), [("node-1", News::MaintenanceOver)]);
        let orders = obey(&mut intake, &seen(7, [1]));
        let done = orders.done.len();
        assert!(orders.tell.is_empty() && done <= 2, "{orders:?}");
    }
    let mut intake = Intake::default();
    intake.take(vec![over()]);
    obey(&mut intake, &seen(6, [1]));
    obey(&mut intake, &seen(7, [1]));
    intake.take(vec![planned()]);
    let orders = obey(&mut intake, &seen(8, [1]));
    assert_eq!((orders.tell.len(), outcomes(&orders)), (0, vec!["called-off"]));
    intake.take(vec![message("new", 10, EventKind::ScheduledChange { deadline: at(9000) }, 1)]);
    assert_eq!(obey(&mut intake, &seen(11, [1])).tell.len(), 1, "a later plan is another one");
}

#[test]
fn a_deadline_that_is_past_is_still_told_and_the_message_is_not_kept_for_ever() {
    let mut intake = Intake::default();
    intake.take(vec![message("m", 0, spot(-30), 1)]);
    assert_eq!(obey(&mut intake, &seen(1, [1])).tell.len(), 1);
    assert!(obey(&mut intake, &seen(869, [1])).done.is_empty());
    let orders = obey(&mut intake, &seen(870, [1]));
    assert_eq!((orders.done.len(), outcomes(&orders)), (1, vec!["overdue"]));
}

#[test]
fn an_event_about_several_machines_is_done_when_the_last_one_is() {
    let mut intake = Intake::default();
    let mut received = message("m", 0, spot(120), 1);
    if let Ok(event) = &mut received.event {
        event.instances.push(id(2));
    }
    intake.take(vec![received]);
    assert_eq!(obey(&mut intake, &seen(1, [1, 2])).tell.len(), 2);
    let mut half = seen(2, [1, 2]);
    half.nodes[0].cordoned = Some(CordonCause::Notice);
    half.pods.remove(0);
    assert!(obey(&mut intake, &half).done.is_empty());
    let orders = obey(&mut intake, &seen(3, []));
    assert_eq!((orders.done.len(), outcomes(&orders)), (1, vec!["emptied", "gone"]));
}
