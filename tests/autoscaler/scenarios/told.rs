//! What the provider tells, by the metadata of a node and by a queue: each thing is done once, and what is none of ours is
//! taken off.

use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use spotscale_test_cluster::{
    cloud::{MetadataMock, Notices, events, metadata},
    provider::Instance,
};

use super::{SCOPE, Stage};
use crate::ground::{process::Process, proxy::Act, queue::NOTICE};

/// Some notices come so late.
const LATE: Duration = Duration::from_secs(30);

#[tokio::test(flavor = "multi_thread")]
async fn scenario_1_a_notice_in_the_metadata_of_the_node_empties_it() {
    let stage = Stage::new("metadata", 1).await;
    let victim = stage.machine(0);
    let instance = metadata::Instance {
        id: victim.id.clone(),
        instance_type: victim.offering.instance_type.clone(),
        zone: victim.offering.zone.clone(),
    };
    let mut metadata = MetadataMock::start(&instance, &Notices::default()).await.unwrap();
    let args = ["node", "--admin-listen=127.0.0.1:0", "--imds-poll=500ms", "--node", &victim.node];
    let args = args.map(str::to_owned);
    let cluster = &stage.ground.cluster;
    let env = [
        ("KUBECONFIG", cluster.kubeconfig().display().to_string()),
        ("AWS_EC2_METADATA_SERVICE_ENDPOINT", metadata.endpoint()),
    ];
    let name = format!("{}-node", stage.ground.namespace);
    let _watcher = Process::start(cluster.plane().group(), &name, &args, &env).await;
    let start = Instant::now();
    let time = stage.ground.provider.interrupt(&victim.node, NOTICE).await.unwrap();
    let interruption =
        metadata::Interruption { action: "terminate", time, shown: Timestamp::now() };
    let notices = Notices { interruption: Some(interruption), rebalance: None };
    metadata.tell(&notices).await.unwrap();
    stage.moved(&[victim]).await;
    println!("notice in the metadata to pod elsewhere: {:.1?}", start.elapsed());
    stage.drained(1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn scenario_2_and_d_a_notice_that_comes_twice_by_the_queue_and_by_the_node_is_one_drain() {
    let stage = Stage::new("twice", 1).await;
    let victim = stage.machine(0);
    let deadline = stage.ground.interrupt(&victim.node, NOTICE).await;
    stage.queue.interruption(&victim, deadline).await;
    stage.queue.interruption(&victim, deadline).await;
    stage.moved(&[victim]).await;
    stage.read().await;
    stage.drained(1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn scenario_c_and_5_what_is_foreign_or_over_or_said_while_nobody_listens() {
    let mut stage = Stage::new("odd", 2).await;
    let (late, missed) = (stage.machine(0), stage.machine(1));
    let ago = |seconds| Timestamp::now() - SignedDuration::from_secs(seconds);
    let foreign = events::spot_interruption("i-00000000000000f0e", "us-east-1a", ago(3600));
    stage.queue.moto.send(&stage.queue.url, &foreign).await.unwrap();
    stage.read().await;
    stage.drained(0).await;
    // Its deadline has passed, and the machine is still there.
    let past = events::spot_interruption(&late.id, &late.offering.zone, ago(150));
    stage.queue.moto.send(&stage.queue.url, &past).await.unwrap();
    stage.moved(std::slice::from_ref(&late)).await;
    stage.daemon.process.signal(rustix::process::Signal::KILL);
    let deadline = stage.ground.provider.interrupt(&missed.node, NOTICE).await.unwrap();
    stage.queue.interruption(&missed, deadline).await;
    stage.daemon.restart(&stage.ground).await;
    stage.moved(&[late, missed]).await;
    stage.read().await;
    assert_eq!(stage.daemon.proxy.count(Act::Cordon), 2, "{:?}", stage.daemon.proxy.acts());
}

/// Scenario C: there is just time to move before the machine goes.
#[tokio::test(flavor = "multi_thread")]
async fn scenario_c_half_a_minutes_notice_that_comes_while_the_daemon_is_down_is_enough() {
    let mut stage = Stage::new("late-down", 1).await;
    let victim = stage.machine(0);
    stage.daemon.process.signal(rustix::process::Signal::KILL);
    let deadline = stage.ground.interrupt(&victim.node, LATE).await;
    stage.daemon.restart(&stage.ground).await;
    stage.moved(std::slice::from_ref(&victim)).await;
    stage.drained(1).await;
    let pods: Api<Pod> = Api::namespaced(stage.ground.client.clone(), &stage.ground.namespace);
    let heir = pods.get(&stage.ground.of(SCOPE)[0].name).await.unwrap();
    let mut conditions = heir.status.unwrap().conditions.into_iter().flatten();
    let ready = conditions.find(|one| one.type_ == "Ready").unwrap().last_transition_time.unwrap();
    assert!(ready.0 < deadline, "the machine went first");
}

#[tokio::test(flavor = "multi_thread")]
async fn scenario_12_ten_messages_at_once_are_ten_drains() {
    let stage = Stage::new("ten", 10).await;
    let victims: Vec<Instance> = (0..10).map(|n| stage.machine(n)).collect();
    let start = Instant::now();
    for victim in &victims {
        let deadline = stage.ground.provider.interrupt(&victim.node, NOTICE).await.unwrap();
        stage.queue.interruption(victim, deadline).await;
    }
    stage.moved(&victims).await;
    println!("ten drains: {:.1?}", start.elapsed());
    stage.read().await;
    stage.drained(10).await;
}

/// Of a hundred messages three are about machines that will be taken, each several times; the others ask nothing of us.
#[tokio::test(flavor = "multi_thread")]
async fn scenario_14_of_a_hundred_messages_all_are_done_with_and_three_are_drains() {
    let stage = Stage::new("mixed", 5).await;
    let victims: Vec<Instance> = (0..3).map(|n| stage.machine(n)).collect();
    let (now, long_ago) = (Timestamp::now(), Timestamp::now() - SignedDuration::from_hours(1));
    let mut messages = Vec::new();
    for victim in &victims {
        stage.ground.provider.interrupt(&victim.node, NOTICE).await.unwrap();
        let warning = events::spot_interruption(&victim.id, &victim.offering.zone, now);
        // The same event again and again, and other events that say the same.
        messages.extend(std::iter::repeat_n(warning, 4));
        messages.push(events::spot_interruption(&victim.id, &victim.offering.zone, now));
        messages.push(events::state_change(&victim.id, "running", now));
    }
    let staying = stage.machine(4);
    for n in 0..(100 - messages.len()) {
        let foreign = format!("i-{n:017x}");
        messages.push(match n % 6 {
            0 => events::spot_interruption(&foreign, "us-east-1a", long_ago),
            1 => events::rebalance(&foreign, "us-east-1a", long_ago),
            2 => events::state_change(&staying.id, "pending", now),
            3 => "no JSON".to_owned(),
            4 => r#"{"Event":"autoscaling:TEST_NOTIFICATION"}"#.to_owned(),
            _ => events::maintenance(&foreign, "closed", now, long_ago),
        });
    }
    assert_eq!(messages.len(), 100);
    fastrand::shuffle(&mut messages);
    let start = Instant::now();
    for message in &messages {
        stage.send(message).await;
    }
    stage.moved(&victims).await;
    stage.read().await;
    println!("a hundred messages: {:.1?}", start.elapsed());
    stage.drained(3).await;
}
