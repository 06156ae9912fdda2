//! A clock that is set wrong for a while: what was noted meanwhile is told by the clock that is right again.

use super::*;
use crate::cluster::CordonCause;

/// Looks ten seconds apart; the clock is wrong by `off` seconds in the third and the fourth. The first is at 5000. What
/// each look shows is told by what the clock says then.
fn looks(off: i64, look: impl Fn(usize, i64) -> Observation) -> Ledger {
    let mut ledger = Ledger::default();
    for n in 0..7 {
        let off = if [2, 3, 4].contains(&n) { off } else { 0 };
        ledger.observe(&look(n, 5000 + 10 * n as i64 + off), &prices());
        let json = serde_json::to_string(&ledger).unwrap();
        ledger = serde_json::from_str(&json).unwrap();
    }
    ledger
}

fn one() -> Node {
    node("one", spot("a"), at(0))
}

#[test]
fn what_ended_while_the_clock_was_wrong_is_billed_to_its_end() {
    // 100 s at 0.36 and 4930 s at 0.72.
    let right = MicroUsd(10_000 + 986_000);
    for off in [3600, -3600, 120, -120, 40_000] {
        let ledger = looks(off, |n, second| {
            let nodes = match n {
                0..3 => vec![one()],
                3 => vec![ended(one(), at(second), EndedBy::Us)],
                _ => vec![],
            };
            seen(at(second), nodes)
        });
        assert_eq!(totals(&ledger, 5060).spend, right, "{off}");
    }
}

#[test]
fn what_was_told_before_or_by_others_stays() {
    // One ended before the clock was set to when it still ran, the other by the provider's own word.
    let ledger = looks(-3600, |n, second| {
        let before = ended(node("before", spot("a"), at(0)), at(1430), EndedBy::Us);
        seen(at(second), if n == 1 { vec![before] } else { vec![] })
    });
    assert_eq!(totals(&ledger, 5060).spend, MicroUsd(10_000 + 1330 * 200));
    let ledger = looks(3600, |n, second| {
        let taken = ended(node("taken", spot("a"), at(4000)), at(5035), EndedBy::Provider);
        seen(at(second), if n == 3 { vec![taken] } else { vec![] })
    });
    assert_eq!(totals(&ledger, 5060).refund, MicroUsd(1035 * 200), "within its first hour");
}

#[test]
fn what_the_provider_took_by_its_deadline_while_the_clock_was_behind_is_refunded() {
    let refund = |deadline: i64| {
        let taken = || node("taken", spot("a"), at(4000));
        let ledger = looks(-3600, |n, second| {
            let nodes = match n {
                0..3 => vec![taken()],
                // Long before its deadline: as if it had been given back.
                3 => vec![ended(taken(), at(second), EndedBy::Us)],
                _ => vec![],
            };
            let mut seen = seen(at(second), nodes);
            let kind = NoticeKind::Interruption { deadline: at(deadline) };
            seen.notices = vec![Notice { node: "taken".parse().unwrap(), kind }];
            seen
        });
        totals(&ledger, 5060).refund
    };
    assert_eq!(refund(5025), MicroUsd(1025 * 200));
    assert_eq!(refund(5035), MicroUsd(1030 * 200), "a little early");
    assert_eq!(refund(5100), MicroUsd::ZERO, "it was given back");
}

#[test]
fn what_was_given_back_before_its_deadline_while_the_clock_was_ahead_is_not_refunded() {
    let told = |deadline: i64, is_seen_leaving: bool| {
        let taken = || node("taken", spot("a"), at(4000));
        let ledger = looks(3600, |n, second| {
            let phase = match n {
                3 if is_seen_leaving => NodePhase::Leaving,
                0..4 => NodePhase::Ready,
                // Its deadline was long past: as if it had been taken.
                _ => NodePhase::Ended { at: at(deadline), by: EndedBy::Provider },
            };
            let nodes = if n < 5 { vec![Node { phase, ..taken() }] } else { vec![] };
            let mut seen = seen(at(second), nodes);
            let kind = NoticeKind::Interruption { deadline: at(deadline) };
            seen.notices = vec![Notice { node: "taken".parse().unwrap(), kind }];
            seen
        });
        let sums = totals(&ledger, 5060);
        (sums.spend.0 / 200, sums.refund.0 / 200)
    };
    assert_eq!(told(5035, true), (1040, 0), "it was seen to be given back");
    assert_eq!(told(5060, false), (1040, 0), "it was gone long before");
    assert_eq!(told(5025, true), (1025, 1025), "it left after it was taken");
}

#[test]
fn who_was_served_is_known_as_if_the_clock_had_been_right() {
    let serving = |off| {
        let mut ledger = Ledger::default();
        let serve = |ledger: &mut Ledger, second: i64, serves: bool| {
            let mut seen = seen(at(second), vec![one()]);
            seen.workloads = vec![workload(1)];
            seen.pods = if serves { vec![pod("pod", "one")] } else { vec![] };
            ledger.observe(&seen, &prices());
        };
        for second in (0..5000).step_by(50) {
            serve(&mut ledger, second, (1000..4000).contains(&second));
        }
        for (second, off, serves) in [
            (5000, off, false),
            (5010, off, true),
            (5020, off, true),
            (5030, 0, true),
            (5040, 0, false),
        ] {
            serve(&mut ledger, second + off, serves);
        }
        totals(&ledger, 5100).lines
    };
    let right = serving(0);
    assert_eq!(right.len(), 2);
    for off in [3600, -3600] {
        for (line, right) in serving(off).iter().zip(&right) {
            // The clock was set some time between two looks, which are 50 and 10 s apart: it is put right by the mean.
            let apart = (line.spend.0 - right.spend.0).abs();
            assert!(apart <= 20 * 200, "{off}: {line:?}, {right:?}");
        }
    }
}

#[test]
fn what_was_left_on_advice_meanwhile_is_told_from_the_right_moment() {
    for off in [3600, -3600] {
        let ledger = looks(off, |n, second| {
            let closed = Node { cordoned: Some(CordonCause::Notice), ..one() };
            let node = match n {
                0..3 => one(),
                3..6 => closed,
                _ => ended(closed, at(second), EndedBy::Us),
            };
            let mut seen = seen(at(second), vec![node]);
            let kind = NoticeKind::Rebalance;
            seen.notices = vec![Notice { node: "one".parse().unwrap(), kind }];
            seen
        });
        assert_eq!(totals(&ledger, 5060).on_advice, MicroUsd(30 * 200), "{off}");
    }
}

#[test]
fn a_jump_that_nothing_undoes_is_believed() {
    let mut ledger = Ledger::default();
    ledger.observe(&seen(at(5000), vec![one()]), &prices());
    ledger.observe(&seen(at(8000), vec![one()]), &prices());
    ledger.observe(&seen(at(8010), vec![ended(one(), at(8010), EndedBy::Us)]), &prices());
    ledger.observe(&seen(at(7000), vec![]), &prices());
    assert_eq!(totals(&ledger, 9000).spend, MicroUsd(10_000 + 7910 * 200));
}
