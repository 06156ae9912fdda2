//! The sums that choices rest on, held against a recount through long random histories.

use super::*;
use crate::front::upstream::Connections;

fn upstream(endpoint: &Endpoint) -> Upstream {
    let second = Duration::from_secs(1);
    let connections = Connections { connect_timeout: second, idle_timeout: second };
    let concurrency = endpoint.concurrency.map_or(1, std::num::NonZeroU32::get);
    Upstream::new(endpoint.clone(), concurrency, connections)
}

fn update(fleet: &mut Fleet, lines: &[&str]) -> Vec<(SeatId, Arc<Upstream>)> {
    let listed: Vec<Listed> = lines.iter().map(|line| line.parse().unwrap()).collect();
    fleet.update(&listed, upstream)
}

fn fleet(lines: &[&str]) -> (Fleet, Vec<SeatId>) {
    let mut fleet = Fleet::default();
    let new = update(&mut fleet, lines);
    let ids: Vec<SeatId> = new.into_iter().map(|(id, _)| id).collect();
    for id in &ids {
        assert_eq!(fleet.ready(*id), Some(State::Probing));
    }
    (fleet, ids)
}

fn recount(fleet: &Fleet, tier: Tier) -> (u32, u32) {
    let ready = fleet.view().into_iter().filter(|s| s.tier == tier && s.state == State::Ready);
    ready.fold((0, 0), |(slots, free), seat| {
        (slots + seat.concurrency, free + seat.concurrency.saturating_sub(seat.outstanding))
    })
}

/// One history: requests that come and end, endpoints that fail and return, and lists that leave some out and say of
/// others that they are about to go.
fn live(seed: u64, check: impl Fn(&Fleet)) {
    let lines = ["http://a:1", "http://b:1 concurrency=3", "http://c:1 tier=cpu concurrency=2"];
    let mut random = fastrand::Rng::with_seed(seed);
    let (mut fleet, mut ids) = fleet(&lines);
    let mut taken = Vec::new();
    for _ in 0..300 {
        let tier = if random.bool() { Tier::Gpu } else { Tier::Cpu };
        let id = ids[random.usize(..ids.len())];
        match random.u8(..6) {
            0 | 1 => taken.extend(take(&mut fleet, tier, random.u64(..))),
            2 if !taken.is_empty() => fleet.release(taken.swap_remove(0)),
            3 => drop(fleet.eject(id)),
            4 => drop(fleet.ready(id)),
            _ => {
                let mut spelled = |line: &&str| match random.u8(..8) {
                    0 | 1 => None,
                    n => Some(leaving(line, n % 2 == 0)),
                };
                let listed: Vec<_> = lines.iter().filter_map(&mut spelled).collect();
                let listed: Vec<&str> = listed.iter().map(String::as_str).collect();
                ids.extend(update(&mut fleet, &listed).into_iter().map(|(id, _)| id));
            }
        }
        check(&fleet);
    }
}

fn leaving(line: &str, is_leaving: bool) -> String {
    let word = if is_leaving { " leaving" } else { "" };
    format!("{line}{word}")
}

/// Takes a slot, and holds what was taken against what could have been.
fn take(fleet: &mut Fleet, tier: Tier, random: u64) -> Option<SeatId> {
    let has_free = |kind: Option<bool>| {
        let seats = fleet.view().into_iter().filter(|s| s.tier == tier && s.state == State::Ready);
        seats
            .filter(|s| s.outstanding < s.concurrency)
            .any(|s| kind.is_none_or(|k| k == s.is_leaving))
    };
    let (any, staying) = (has_free(None), has_free(Some(false)));
    let id = fleet.take(tier, random).map(|(id, _)| id);
    assert_eq!(id.is_some(), any, "nobody waits while an endpoint has a free slot");
    if let Some(id) = id {
        let seat = &fleet.seats[&id];
        assert_eq!(seat.is_leaving, !staying, "one that stays goes first");
        assert_eq!((seat.upstream.endpoint.tier, seat.state), (tier, State::Ready));
    }
    id
}

#[test]
fn through_any_history_the_sums_are_right_and_one_that_stays_goes_first() {
    for seed in 0..50 {
        live(seed, |fleet| {
            for tier in [Tier::Gpu, Tier::Cpu] {
                let load = fleet.load(tier);
                assert_eq!((load.slots, load.free), recount(fleet, tier), "seed {seed}");
            }
            assert!(fleet.view().iter().all(|seat| seat.outstanding <= seat.concurrency));
        });
    }
}

#[test]
fn of_two_the_less_busy_share_is_taken() {
    let (mut fleet, _) = fleet(&["http://a:1 concurrency=2", "http://b:1 concurrency=8"]);
    let mut random = fastrand::Rng::with_seed(7);
    for _ in 0..5 {
        fleet.take(Tier::Gpu, random.u64(..)).unwrap();
    }
    let busy: Vec<u32> = fleet.view().iter().map(|seat| seat.outstanding).collect();
    assert_eq!(busy, [1, 4]);
}

#[test]
fn an_endpoint_that_returns_while_it_finishes_keeps_its_count() {
    let (mut fleet, ids) = fleet(&["http://a:1"]);
    fleet.take(Tier::Gpu, 0).unwrap();
    assert!(update(&mut fleet, &[]).is_empty());
    let back = update(&mut fleet, &["http://a:1"]);
    assert_eq!(back[0].0, ids[0]);
    fleet.ready(ids[0]);
    assert!(fleet.take(Tier::Gpu, 0).is_none());
    fleet.release(ids[0]);
    assert!(fleet.take(Tier::Gpu, 0).is_some());
}

#[test]
fn an_endpoint_that_leaves_keeps_its_count_and_its_connections() {
    let (mut fleet, ids) = fleet(&["http://a:1 concurrency=2", "http://b:1"]);
    let (first, before) = fleet.take(Tier::Gpu, 0).unwrap();
    assert_eq!(first, ids[0]);
    assert!(update(&mut fleet, &["http://a:1 concurrency=2 leaving", "http://b:1"]).is_empty());
    let taken = [0, 1, 2].map(|random| fleet.take(Tier::Gpu, random));
    let seats = taken.each_ref().map(|taken| taken.as_ref().map(|(id, _)| *id));
    assert_eq!(seats, [Some(ids[1]), Some(ids[0]), None]);
    let after = &taken[1].as_ref().unwrap().1;
    assert!(Arc::ptr_eq(&before, after));
    assert!(update(&mut fleet, &["http://a:1 concurrency=2", "http://b:1 leaving"]).is_empty());
    for id in &ids {
        fleet.release(*id);
    }
    assert_eq!(fleet.take(Tier::Gpu, 0).unwrap().0, ids[0], "it stays after all");
}

#[test]
fn all_that_serve_are_told_whether_they_stay_or_not() {
    let (fleet, _) =
        fleet(&["http://a:1 concurrency=2", "http://b:1 leaving", "http://c:1 leaving"]);
    assert_eq!(fleet.ready_sums(), (3, 4));
    assert_eq!((fleet.load(Tier::Gpu).slots, fleet.load(Tier::Gpu).free), (4, 4));
}
