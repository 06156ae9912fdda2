//! The player against a service on a real socket that answers, refuses, stalls or breaks as told.

use std::sync::Mutex;

use async_trait::async_trait;
use axum::{
    Router,
    http::StatusCode,
    routing::{MethodRouter, post},
};
use tokio::net::TcpListener;

use super::*;
use crate::up::{
    faults::{Capacity, Faults},
    report::fixture,
    scenario::{Arrivals, Outcome, Why},
};

const ANSWER: &str = r#"{"predictions":[{"score":1.0}],"timings_ms":{"inference":1.5}}"#;

/// Remembers what it was asked to break.
#[derive(Default)]
struct Broken(Mutex<Vec<&'static str>>);

#[async_trait]
impl Faults for Broken {
    async fn interrupt_spot_node(&self, _notice: Duration) -> Option<String> {
        self.0.lock().unwrap().push("node");
        Some("node-1".to_owned())
    }

    async fn kill_replica(&self) -> Option<String> {
        self.0.lock().unwrap().push("replica");
        None
    }
}

struct Bench {
    stage: Stage,
    views: watch::Sender<View>,
    _pictures: tempfile::TempDir,
}

/// A stage whose front is `service`, on a machine that answers 100 images per second.
async fn bench(service: MethodRouter) -> Bench {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let front = listener.local_addr().unwrap();
    let router = Router::new().route("/v1/classify", service);
    tokio::spawn(async move { axum::serve(listener, router).await });
    let pictures = tempfile::tempdir().unwrap();
    std::fs::write(pictures.path().join("a.png"), "a picture").unwrap();
    let (views, receiver) = watch::channel(fixture::replicas(0.0, 1).view);
    let stage = Stage {
        front,
        pictures: pictures.path().to_owned(),
        capacity: Capacity { images_per_second: 100.0, image_ms: 10.0, max_replicas: 2 },
        slo_ms: 500,
        faults: Arc::new(Broken::default()),
        views: receiver,
        progress: watch::Sender::new(None),
    };
    Bench { stage, views, _pictures: pictures }
}

fn scenario(seconds: f64, load: f64) -> Scenario {
    let phase = Phase {
        name: "only".to_owned(),
        seconds,
        load,
        until: None,
        refusals_expected: false,
        events: Vec::new(),
    };
    Scenario {
        name: "test".to_owned(),
        summary: String::new(),
        seed: 1,
        arrivals: Arrivals::Fixed,
        phases: vec![phase],
    }
}

async fn played(scenario: &Scenario, bench: &Bench) -> Recording {
    play(scenario, &bench.stage, &CancellationToken::new()).await.unwrap()
}

#[tokio::test]
async fn every_request_is_sent_and_judged() {
    let service = bench(post(async || ANSWER)).await;
    let recording = played(&scenario(0.3, 1.0), &service).await;
    assert_eq!(recording.samples.len(), 30);
    let answered = Outcome::Answered { inference_ms: 1.5 };
    assert!(recording.samples.iter().all(|sample| sample.outcome == answered));

    let refusing = async || (StatusCode::SERVICE_UNAVAILABLE, [("retry-after", "2")], "");
    let recording = played(&scenario(0.1, 1.0), &bench(post(refusing)).await).await;
    assert!(recording.samples.iter().all(|sample| sample.outcome == Outcome::Refused));
}

#[tokio::test]
async fn a_front_that_is_not_there_loses_requests() {
    let mut service = bench(post(async || ANSWER)).await;
    let nobody = TcpListener::bind("127.0.0.1:0").await.unwrap();
    service.stage.front = nobody.local_addr().unwrap();
    drop(nobody);
    let recording = played(&scenario(0.1, 1.0), &service).await;
    let lost = Outcome::lost(Why::Connection);
    assert_eq!(recording.samples.len(), 10);
    assert!(recording.samples.iter().all(|sample| sample.outcome == lost));
}

#[tokio::test]
async fn a_slow_service_does_not_slow_the_load_down() {
    let slow = async || {
        tokio::time::sleep(Duration::from_millis(400)).await;
        ANSWER
    };
    let recording = played(&scenario(0.2, 1.0), &bench(post(slow)).await).await;
    // A closed loop would send the second request after the first answer, 400 ms later.
    let [first, .., last] = &recording.samples[..] else { panic!("hardly any was sent") };
    assert_eq!(recording.samples.len(), 20);
    let all_due_in = last.due_ms - first.due_ms;
    assert!((189.0..191.0).contains(&all_due_in), "all are due in {all_due_in} ms");
    assert!(recording.samples.iter().all(|sample| sample.latency_ms >= 400.0));
}

#[tokio::test]
async fn mishaps_come_when_due_and_a_phase_ends_with_its_wish() {
    let service = bench(post(async || ANSWER)).await;
    let mut plan = scenario(0.1, 0.0);
    plan.phases[0].events = vec![
        Event::KillReplica { at_seconds: 0.05 },
        Event::InterruptSpotNode { at_seconds: 0.0, notice_seconds: 1.0 },
    ];
    let idle = Phase { seconds: 60.0, until: Some(Until::ZeroReplicas), ..plan.phases[0].clone() };
    plan.phases.push(Phase { events: Vec::new(), ..idle });
    let views = service.views.clone();
    tokio::spawn(async move {
        tokio::time::sleep(Duration::from_millis(200)).await;
        views.send_modify(|view| {
            view.replicas.clear();
            view.desired_replicas = 0;
        });
    });
    let recording = played(&plan, &service).await;
    let victims: Vec<_> = recording.happenings.iter().map(|h| h.victim.as_deref()).collect();
    assert_eq!(victims, [Some("node-1"), None]);
    assert!(recording.phases[1].reached && recording.phases[1].end_ms < 30_000.0);
    assert_eq!(recording.seen.len(), 2);
}

#[tokio::test]
async fn what_does_not_come_about_in_time_is_told() {
    let service = bench(post(async || ANSWER)).await;
    let mut plan = scenario(0.05, 0.0);
    plan.phases[0].until = Some(Until::ZeroReplicas);
    assert!(!played(&plan, &service).await.phases[0].reached);
}

#[tokio::test]
async fn it_plays_on_loopback_and_within_bounds_only() {
    let mut service = bench(post(async || ANSWER)).await;
    let token = CancellationToken::new();
    let too_long = play(&scenario(600.0, 10.0), &service.stage, &token).await;
    assert!(matches!(too_long, Err(PlayError::TooMuch { what: "requests", .. })));
    service.stage.capacity.images_per_second = 501.0;
    let too_much = play(&scenario(1.0, 10.0), &service.stage, &token).await;
    assert!(matches!(too_much, Err(PlayError::TooMuch { what: "requests per second", .. })));
    service.stage.front = "192.0.2.1:80".parse().unwrap();
    let elsewhere = play(&scenario(0.1, 1.0), &service.stage, &token).await;
    assert!(matches!(elsewhere, Err(PlayError::NotLoopback(_))));
}

#[tokio::test]
async fn it_ends_when_told_to() {
    let service = bench(post(async || ANSWER)).await;
    let token = CancellationToken::new();
    token.cancel();
    let ended = play(&scenario(60.0, 0.1), &service.stage, &token).await;
    assert!(matches!(ended, Err(PlayError::Cancelled)));
}
