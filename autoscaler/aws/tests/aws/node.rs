//! Node mode, against Amazon's own mock of the instance metadata, and against a service that misbehaves.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use async_trait::async_trait;
use clap::Parser;
use jiff::Timestamp;
use spotscale_autoscaler::{ClusterError, NodeNotices, NoticeKind};
use spotscale_aws::{Imds, ImdsConfig, ImdsError, Metrics, watch};
use spotscale_test_cluster::cloud::{Instance, Interruption, MetadataMock, Notices};
use tokio::{
    sync::watch as channel,
    task::JoinHandle,
    time::{sleep, timeout},
};
use tokio_util::sync::CancellationToken;

use crate::scripted::{Answer, Scripted, scrape};

const TOKEN: &str = "/latest/api/token";
const ACTION: &str = "/latest/meta-data/spot/instance-action";
const REBALANCE: &str = "/latest/meta-data/events/recommendations/rebalance";
const PATIENCE: Duration = Duration::from_mins(1);

#[derive(Parser)]
struct Cli {
    #[command(flatten)]
    config: ImdsConfig,
}

/// The node: what it was told, and what the next tellings come to.
struct FakeNode {
    told: channel::Sender<Vec<Vec<NoticeKind>>>,
    refusals: Mutex<usize>,
}

#[async_trait]
impl NodeNotices for FakeNode {
    async fn tell(&self, kinds: &[NoticeKind]) -> Result<(), ClusterError> {
        let mut refusals = self.refusals.lock().unwrap();
        if let Some(fewer) = refusals.checked_sub(1) {
            *refusals = fewer;
            return Err(ClusterError::Unavailable("not now".to_owned()));
        }
        self.told.send_modify(|told| told.push(kinds.to_vec()));
        Ok(())
    }
}

/// A watcher that looks often.
struct Watching {
    node: Arc<FakeNode>,
    metrics: Metrics,
    shutdown: CancellationToken,
    task: JoinHandle<()>,
}

impl Watching {
    fn start(endpoint: &str, refusals: usize) -> Self {
        let config = Cli::parse_from(["node", "--imds-poll=50ms"]).config;
        let told = channel::Sender::new(vec![]);
        let node = Arc::new(FakeNode { told, refusals: Mutex::new(refusals) });
        let (metrics, shutdown) = (Metrics::default(), CancellationToken::new());
        let imds = Imds::at(endpoint).unwrap();
        let task = tokio::spawn({
            let (node, metrics, shutdown) = (Arc::clone(&node), metrics.clone(), shutdown.clone());
            async move { watch(&config, &imds, &*node, &metrics, shutdown).await }
        });
        Self { node, metrics, shutdown, task }
    }

    /// Everything that the node was told, once it was told so often.
    async fn told(&self, times: usize) -> Vec<Vec<NoticeKind>> {
        let mut told = self.node.told.subscribe();
        let told = timeout(PATIENCE, told.wait_for(|told| told.len() >= times)).await;
        told.unwrap().unwrap().clone()
    }

    async fn counted(&self, line: &str) {
        let counted = async {
            while !scrape(&self.metrics).lines().any(|shown| shown.starts_with(line)) {
                sleep(Duration::from_millis(20)).await;
            }
        };
        timeout(PATIENCE, counted).await.unwrap_or_else(|_| panic!("{}", scrape(&self.metrics)));
    }

    async fn end(self) -> Vec<Vec<NoticeKind>> {
        self.shutdown.cancel();
        timeout(PATIENCE, self.task).await.unwrap().unwrap();
        self.node.told.borrow().clone()
    }
}

fn instance() -> Instance {
    Instance {
        id: "i-0123456789abcdef0".to_owned(),
        instance_type: "g4dn.xlarge".to_owned(),
        zone: "us-east-1a".to_owned(),
    }
}

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn past() -> Timestamp {
    at("2020-01-01T00:00:00Z")
}

/// Scenarios 1 and 3, the node's part: a rebalance recommendation, then the notice; each is told once.
#[tokio::test]
async fn s1_s3_a_recommendation_and_then_a_notice_are_told_once_each() {
    let rebalance = Notices { interruption: None, rebalance: Some(past()) };
    let mut mock = MetadataMock::start(&instance(), &rebalance).await.unwrap();
    let machine = Imds::at(&mock.endpoint()).unwrap().machine().await.unwrap();
    assert_eq!(machine.instance.as_str(), instance().id);
    assert_eq!(machine.life_cycle, "spot");
    let watching = Watching::start(&mock.endpoint(), 0);
    assert_eq!(watching.told(1).await, [[NoticeKind::Rebalance]]);
    let deadline = at("2031-01-01T00:02:00Z");
    let interruption = Interruption { action: "terminate", time: deadline, shown: past() };
    let both = Notices { interruption: Some(interruption), rebalance: Some(past()) };
    // The mock is away meanwhile, and the token of before is void: that is an outage like any other.
    mock.tell(&both).await.unwrap();
    let told = watching.told(2).await;
    let notice = NoticeKind::Interruption { deadline };
    assert_eq!(told[1], [notice, NoticeKind::Rebalance]);
    sleep(Duration::from_millis(500)).await;
    assert_eq!(watching.end().await, told, "something was told again");
}

#[tokio::test]
async fn where_nothing_is_said_nothing_is_told() {
    let mock = MetadataMock::start(&instance(), &Notices::default()).await.unwrap();
    let watching = Watching::start(&mock.endpoint(), 0);
    sleep(Duration::from_secs(1)).await;
    let metrics = scrape(&watching.metrics);
    assert_eq!(watching.end().await, Vec::<Vec<NoticeKind>>::new());
    assert!(!metrics.contains("spotscale_aws_failures_total{"), "{metrics}");
}

/// A service of the metadata with these answers, and no recommendation.
async fn service(action: impl IntoIterator<Item = Answer>) -> Scripted {
    let service = Scripted::start().await;
    service.on(TOKEN, [Answer::ok("token")]);
    service.on("/latest/meta-data/instance-id", [Answer::ok("i-0a")]);
    service.on("/latest/meta-data/instance-life-cycle", [Answer::ok("spot")]);
    service.on(REBALANCE, [Answer::status(404, "")]);
    service.on(ACTION, action);
    service
}

fn action(time: &str) -> Answer {
    Answer::ok(format!(r#"{{"action":"terminate","time":"{time}"}}"#))
}

/// Scenario C, the node's part: a deadline that moves away at each look is one notice, and the first deadline holds.
#[tokio::test]
async fn sc_a_deadline_that_slides_is_one_notice() {
    let times = ["2031-01-01T00:02:00Z", "2031-01-01T00:02:05Z", "2031-01-01T00:02:10Z"];
    let service = service(times.map(action)).await;
    let watching = Watching::start(service.endpoint(), 0);
    let deadline = at(times[0]);
    watching.told(1).await;
    while service.asked(ACTION).len() < 6 {
        sleep(Duration::from_millis(20)).await;
    }
    let metrics = scrape(&watching.metrics);
    assert_eq!(watching.end().await, [[NoticeKind::Interruption { deadline }]]);
    let once = "spotscale_aws_metadata_notices_total{kind=\"spot-interruption\"} 1";
    assert!(metrics.contains(once), "{metrics}");
}

#[tokio::test]
async fn an_outage_is_counted_survived_and_taken_for_nothing() {
    let not_there = || Answer::status(404, "");
    let answers = [
        not_there(),
        Answer::status(403, ""),
        Answer::ok("soon"),
        Answer::ok(r#"{"action":"terminate"}"#),
        not_there(),
    ];
    let service = service(answers).await;
    service.on(REBALANCE, [Answer::ok("{}"), not_there()]);
    let watching = Watching::start(service.endpoint(), 0);
    for kind in ["status", "malformed"] {
        let line = format!("spotscale_aws_failures_total{{call=\"imds\",kind=\"{kind}\"}}");
        watching.counted(&line).await;
    }
    service.on(TOKEN, [Answer::status(403, "")]);
    service.on(ACTION, [Answer::status(401, "")]);
    watching.counted("spotscale_aws_failures_total{call=\"imds\",kind=\"token\"}").await;
    assert_eq!(*watching.node.told.borrow(), Vec::<Vec<NoticeKind>>::new());
    let deadline = "2031-01-01T00:02:00Z";
    service.on(TOKEN, [Answer::ok("token")]);
    service.on(ACTION, [action(deadline)]);
    let deadline = at(deadline);
    assert_eq!(watching.told(1).await, [[NoticeKind::Interruption { deadline }]]);
}

#[tokio::test]
async fn a_node_that_cannot_be_told_is_told_later() {
    let deadline = "2031-01-01T00:02:00Z";
    let service = service([action(deadline)]).await;
    let watching = Watching::start(service.endpoint(), 3);
    let deadline = at(deadline);
    assert_eq!(watching.told(1).await, [[NoticeKind::Interruption { deadline }]]);
    watching.counted("spotscale_aws_failures_total{call=\"node\",kind=\"unavailable\"} 3").await;
}

#[tokio::test]
async fn an_address_that_is_none_or_not_there_is_an_error() {
    assert!(matches!(Imds::at("not an address"), Err(ImdsError::Endpoint(_))));
    let nobody = Imds::at("http://127.0.0.1:9").unwrap();
    let error = nobody.machine().await.unwrap_err();
    assert!(matches!(error.kind(), "unreachable" | "token"), "{error}");
}
