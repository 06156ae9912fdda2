//! What the board remembers and forgets, in minutes that take no time.

use prometheus_client::registry::Registry;
use spotscale_decide::{
    demand::ServiceCounters,
    units::{FrontId, Replicas, Requests},
};
use tokio::time::advance;

use super::*;
use crate::keda::{Config, push::Work};

const SECOND: Duration = Duration::from_secs(1);

fn board(limits: Limits) -> Board {
    let metrics = Arc::new(Metrics::new(&mut Registry::default()));
    Board::new(limits, None, Arc::default(), Clock::new(), metrics)
}

fn resnet() -> ScaledObjectRef {
    let name = "resnet".to_owned();
    ScaledObjectRef { name, namespace: "ns".to_owned(), ..ScaledObjectRef::default() }
}

fn report(sequence: u64, held: u64, leaving: bool) -> Report {
    let counters = ServiceCounters { held: Requests(held), ..ServiceCounters::default() };
    Report {
        front: "front".parse::<FrontId>().unwrap(),
        sequence,
        services: vec![("ns/resnet".to_owned(), counters)],
        leaving,
    }
}

/// One tick, as `run` does it.
fn tick(board: &Board) {
    board.forget();
    board.decide(board.clock.now(), &board.objects());
}

#[tokio::test(start_paused = true)]
async fn a_report_is_decided_on_at_once() {
    let board = board(Config::default().limits);
    let object = board.object(resnet()).unwrap();
    assert_eq!(object.snapshot().work(), Work::Unknown);
    board.report(&report(1, 0, false));
    assert_eq!(object.snapshot().work(), Work::None);
    board.report(&report(2, 1, false));
    assert_eq!(object.snapshot().work(), Work::Stranded);
}

#[tokio::test(start_paused = true)]
async fn a_report_that_says_nothing_new_waits_for_the_tick() {
    let board = board(Config::default().limits);
    let object = board.object(resnet()).unwrap();
    board.report(&report(1, 1, false));
    let before = object.snapshot().id;
    board.report(&report(2, 1, false));
    assert_eq!(object.snapshot().id, before);
    tick(&board);
    assert_eq!(object.snapshot().id, before + 1);
}

#[tokio::test(start_paused = true)]
async fn a_silent_front_is_forgotten_and_its_demand_is_unknown() {
    let board = board(Config::default().limits);
    let object = board.object(resnet()).unwrap();
    board.report(&report(1, 1, false));
    advance(9 * SECOND).await;
    tick(&board);
    assert!(object.snapshot().answer().is_ok());
    advance(2 * SECOND).await;
    tick(&board);
    let refused = object.snapshot().answer().unwrap_err();
    assert_eq!(refused.code(), tonic::Code::Unavailable);
    board.report(&report(2, 1, false));
    assert!(object.snapshot().answer().is_ok(), "one report heals");
}

#[tokio::test(start_paused = true)]
async fn a_front_that_leaves_is_forgotten_at_once() {
    let board = board(Config::default().limits);
    let object = board.object(resnet()).unwrap();
    board.report(&report(1, 1, false));
    board.report(&report(2, 0, true));
    assert_eq!(object.snapshot().work(), Work::Unknown);
}

#[tokio::test(start_paused = true)]
async fn an_object_is_forgotten_when_keda_stops_asking_and_holds_no_stream() {
    let limits = Limits { object_expiry: "60s".parse().unwrap(), ..Config::default().limits };
    let board = board(limits);
    let stream = board.object(resnet()).unwrap().subscribe();
    advance(61 * SECOND).await;
    tick(&board);
    assert_eq!(board.objects().len(), 1, "an open stream is interest");
    drop(stream);
    tick(&board);
    assert_eq!((board.objects().len(), board.services().len()), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn an_edited_trigger_starts_anew_beside_the_old_one() {
    let board = board(Config::default().limits);
    let mut edited = resnet();
    edited.scaler_metadata.insert("minReplicas".to_owned(), "2".to_owned());
    board.report(&report(1, 0, false));
    let (old, new) = (board.object(resnet()).unwrap(), board.object(edited).unwrap());
    assert_eq!(old.snapshot().answer().unwrap().desired, Replicas(0));
    assert_eq!(new.snapshot().answer().unwrap().desired, Replicas(2));
}

#[tokio::test(start_paused = true)]
async fn services_are_bounded_and_a_known_one_is_not_pushed_out() {
    let board = board(Limits { services_max: 1, ..Config::default().limits });
    board.report(&report(1, 1, false));
    let mut other = report(1, 1, false);
    other.services[0].0 = "ns/other".to_owned();
    board.report(&other);
    let names: Vec<_> = board.services().into_iter().map(|(name, _)| name).collect();
    assert_eq!(names, ["ns/resnet"]);
}
