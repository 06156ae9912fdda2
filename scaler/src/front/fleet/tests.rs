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
    let listed: Vec<Endpoint> = lines.iter().map(|line| line.parse().unwrap()).collect();
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

#[test]
fn the_sums_are_right_after_any_history() {
    let lines = ["http://a:1", "http://b:1 concurrency=3", "http://c:1 tier=cpu concurrency=2"];
    for seed in 0..50 {
        let mut random = fastrand::Rng::with_seed(seed);
        let (mut fleet, mut ids) = fleet(&lines);
        let mut taken = Vec::new();
        for _ in 0..300 {
            let tier = if random.bool() { Tier::Gpu } else { Tier::Cpu };
            let id = ids[random.usize(..ids.len())];
            match random.u8(..6) {
                0 | 1 => {
                    let free = recount(&fleet, tier).1;
                    let slot = fleet.take(tier, random.u64(..));
                    assert_eq!(slot.is_some(), free > 0);
                    taken.extend(slot.map(|(id, _)| id));
                }
                2 if !taken.is_empty() => fleet.release(taken.swap_remove(0)),
                3 => drop(fleet.eject(id)),
                4 => drop(fleet.ready(id)),
                _ => {
                    let listed = lines.into_iter().filter(|_| random.u8(..4) > 0);
                    let new = update(&mut fleet, &listed.collect::<Vec<_>>());
                    ids.extend(new.into_iter().map(|(id, _)| id));
                }
            }
            for tier in [Tier::Gpu, Tier::Cpu] {
                let load = fleet.load(tier);
                assert_eq!((load.slots, load.free), recount(&fleet, tier), "seed {seed}");
            }
            assert!(fleet.view().iter().all(|seat| seat.outstanding <= seat.concurrency));
        }
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
