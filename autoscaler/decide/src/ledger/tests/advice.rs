//! What false alarms cost: machines that were closed on a recommendation, and given back without being taken.

use super::*;
use crate::cluster::CordonCause;

/// A spot machine that was launched at 0, closed at 40 with these notices, and is as `phase` says at 160.
fn closed(notices: &[NoticeKind], phase: NodePhase) -> Ledger {
    let open = node("n", spot("a"), at(0));
    let cordoned = Node { cordoned: Some(CordonCause::Notice), ..open.clone() };
    let mut ledger = Ledger::default();
    for (second, node) in [
        (30, open),
        (40, cordoned.clone()),
        (50, cordoned.clone()),
        (160, Node { phase, ..cordoned }),
    ] {
        let mut seen = seen(at(second), vec![node]);
        let stands = |kind: &NoticeKind| Notice { node: "n".parse().unwrap(), kind: *kind };
        seen.notices = notices.iter().map(stands).collect();
        ledger.observe(&seen, &prices());
    }
    ledger
}

fn ended_by(by: EndedBy) -> NodePhase {
    NodePhase::Ended { at: at(160), by }
}

/// 60 s at 0.36 and 60 s at 0.72.
const FROM_40_TO_160: MicroUsd = MicroUsd(6000 + 12_000);

#[test]
fn a_machine_that_was_left_on_advice_and_not_taken_is_told_with_what_it_cost_from_then_on() {
    let ledger = closed(&[NoticeKind::Rebalance], ended_by(EndedBy::Us));
    let sums = totals(&ledger, 200);
    assert_eq!((sums.on_advice, sums.spend), (FROM_40_TO_160, MicroUsd(10_000 + 12_000)));
    let life = ledger.lives(&prices(), at(200)).next().unwrap();
    let left = LeftOnAdvice { at: at(40), cost: Some(FROM_40_TO_160) };
    assert_eq!(life.left_on_advice, Some(left));
    let rows = ledger.rows(&prices(), at(200));
    assert_eq!(rows.iter().map(|row| row.on_advice.0).sum::<i64>(), FROM_40_TO_160.0);
}

#[test]
fn what_the_provider_takes_or_says_it_will_take_is_no_false_alarm() {
    let deadline = at(170);
    let interruption = NoticeKind::Interruption { deadline };
    let maintenance = NoticeKind::Maintenance { deadline };
    let us = || ended_by(EndedBy::Us);
    for (notices, phase) in [
        (&[NoticeKind::Rebalance][..], ended_by(EndedBy::Provider)),
        (&[NoticeKind::Rebalance, interruption], us()),
        (&[interruption], us()),
        (&[maintenance], us()),
        (&[NoticeKind::Rebalance, maintenance], us()),
        (&[], us()),
        (&[NoticeKind::Rebalance], NodePhase::Ready),
    ] {
        let ledger = closed(notices, phase);
        assert_eq!(totals(&ledger, 200).on_advice, MicroUsd::ZERO, "{notices:?} {phase:?}");
        let life = ledger.lives(&prices(), at(200)).next().unwrap();
        assert_eq!(life.left_on_advice, None, "{notices:?} {phase:?}");
    }
}

#[test]
fn an_interruption_after_the_advice_makes_it_a_true_alarm() {
    let mut ledger = closed(&[NoticeKind::Rebalance], NodePhase::Ready);
    let mut later = seen(at(170), vec![node("n", spot("a"), at(0))]);
    later.nodes[0].cordoned = Some(CordonCause::Notice);
    let deadline = at(290);
    let kind = NoticeKind::Interruption { deadline };
    later.notices = vec![Notice { node: "n".parse().unwrap(), kind }];
    ledger.observe(&later, &prices());
    let gone = ended(node("n", spot("a"), at(0)), at(180), EndedBy::Us);
    ledger.observe(&seen(at(180), vec![gone]), &prices());
    assert_eq!(totals(&ledger, 200).on_advice, MicroUsd::ZERO);
}

#[test]
fn advice_that_was_withdrawn_or_whose_end_nobody_tells_costs_nothing() {
    let mut ledger = closed(&[NoticeKind::Rebalance], NodePhase::Ready);
    ledger.observe(&seen(at(165), vec![node("n", spot("a"), at(0))]), &prices());
    let gone = ended(node("n", spot("a"), at(0)), at(180), EndedBy::Us);
    ledger.observe(&seen(at(180), vec![gone]), &prices());
    assert_eq!(totals(&ledger, 200).on_advice, MicroUsd::ZERO, "it was opened again");
    let mut ledger = closed(&[NoticeKind::Rebalance], NodePhase::Ready);
    ledger.observe(&seen(at(180), vec![]), &prices());
    assert_eq!(totals(&ledger, 200).on_advice, MicroUsd::ZERO, "it may have been taken");
}

#[test]
fn a_false_alarm_stays_in_the_sums_when_it_is_settled() {
    let mut ledger = closed(&[NoticeKind::Rebalance], ended_by(EndedBy::Us));
    for second in [100_000, 200_000] {
        ledger.observe(&seen(at(second), vec![]), &prices());
    }
    assert!(ledger.lives.is_empty());
    assert_eq!(totals(&ledger, 200_000).on_advice, FROM_40_TO_160);
    let json = serde_json::to_string(&ledger).unwrap();
    let ledger: Ledger = serde_json::from_str(&json).unwrap();
    assert_eq!(totals(&ledger, 200_000).on_advice, FROM_40_TO_160);
}

/// It goes on for days before it is given back: what it cost from the advice on is not settled before that shows.
#[test]
fn a_machine_that_is_closed_on_advice_for_days_is_told_whole() {
    const HOUR: i64 = 3600;
    let closed = || Node { cordoned: Some(CordonCause::Notice), ..node("n", spot("a"), at(0)) };
    let mut ledger = Ledger::default();
    let look = |ledger: &mut Ledger, hour: i64, node| {
        let mut seen = seen(at(hour * HOUR), vec![node]);
        seen.notices = vec![Notice { node: "n".parse().unwrap(), kind: NoticeKind::Rebalance }];
        ledger.observe(&seen, &prices());
    };
    for hour in 1..72 {
        look(&mut ledger, hour, closed());
    }
    look(&mut ledger, 72, ended(closed(), at(72 * HOUR), EndedBy::Us));
    // 71 hours at 0.72.
    assert_eq!(totals(&ledger, 72 * HOUR).on_advice, MicroUsd(71 * 720_000));
}
