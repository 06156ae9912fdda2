//! The two answers that KEDA asks for one after the other, and never at the same moment.

use std::time::Duration;

use spotscale_proto::externalscaler::{GetMetricsRequest, ScaledObjectRef};
use spotscale_scaler::keda::{METRIC_NAME, SNAPSHOT_HEADER};
use tonic::Response;

use crate::harness::*;

/// Turns to zero after a second of silence, the least that a trigger can ask for.
const QUICK: [(&str, &str); 2] = [("idleAfterSeconds", "1"), ("shrinkWindowSeconds", "1")];

/// One answer, and which snapshot it was read from.
struct Read<T> {
    snapshot: u64,
    said: T,
}

async fn replicas(keda: &mut Keda, of: &ScaledObjectRef) -> Read<f64> {
    let (scaled_object_ref, metric_name) = (Some(of.clone()), METRIC_NAME.to_owned());
    let request = GetMetricsRequest { scaled_object_ref, metric_name };
    let answer = keda.get_metrics(request).await.unwrap();
    Read {
        snapshot: snapshot(&answer),
        said: answer.into_inner().metric_values[0].metric_value_float,
    }
}

async fn activity(keda: &mut Keda, of: &ScaledObjectRef) -> Read<bool> {
    let answer = keda.is_active(of.clone()).await.unwrap();
    Read { snapshot: snapshot(&answer), said: answer.into_inner().result }
}

fn snapshot<T>(answer: &Response<T>) -> u64 {
    answer.metadata().get(SNAPSHOT_HEADER).unwrap().to_str().unwrap().parse().unwrap()
}

#[tokio::test]
async fn checklist_07_activity_turns_with_the_number_in_both_directions() {
    let server = Server::start().await;
    let (mut keda, mut front) = (server.keda().await, server.front("a").await);
    let resnet = trigger("resnet", &QUICK);
    front.says(vec![demand("resnet", 0, 0)]).await;
    until_desired(&mut keda, &resnet, |value| value == 0.0).await;
    assert!(!activity(&mut keda, &resnet).await.said);
    front.says(vec![demand("resnet", 3, 0)]).await;
    until_desired(&mut keda, &resnet, |value| value >= 1.0).await;
    assert!(activity(&mut keda, &resnet).await.said);
    // The work is gone, but a replica is kept for a second: it is not the queue that says whether KEDA may go to zero.
    front.says(vec![demand("resnet", 0, 1)]).await;
    until(&server, |object| object["snapshot"]["signals"]["demand"]["value"]["held"] == 0).await;
    let kept = loop {
        let (number, active) =
            (replicas(&mut keda, &resnet).await, activity(&mut keda, &resnet).await);
        if number.snapshot == active.snapshot {
            break (number.said > 0.0, active.said);
        }
    };
    assert_eq!(kept, (true, true));
    until_desired(&mut keda, &resnet, |value| value == 0.0).await;
    assert!(!activity(&mut keda, &resnet).await.said);
}

#[tokio::test(flavor = "multi_thread")]
async fn x14_ten_thousand_pairs_under_change_never_contradict_each_other_within_a_snapshot() {
    const PAIRS: usize = 10_000;
    let server = Server::start().await;
    let (mut keda, mut front) = (server.keda().await, server.front("a").await);
    let names: Vec<String> = (0..16).map(|n| format!("service-{n}")).collect();
    let triggers: Vec<_> = names.iter().map(|name| trigger(name, &QUICK)).collect();
    let (known, mut round) = (names.clone(), 0);
    let mut changes = async move || {
        round += 1;
        // Each service has work for a third of the time, and silence that is long enough for zero after that.
        let held = |n: usize| if (round / 100 + n) % 16 < 4 { (round % 40 + 1) as u64 } else { 0 };
        front
            .says(known.iter().enumerate().map(|(n, name)| demand(name, held(n), 0)).collect())
            .await;
        tokio::time::sleep(Duration::from_millis(2)).await;
    };
    changes().await;
    for trigger in &triggers {
        until_desired(&mut keda, trigger, |_| true).await;
    }
    let changes = tokio::spawn(async move {
        loop {
            changes().await;
        }
    });
    let (mut pairs, mut apart, mut turns, mut asked) = ([0, 0], 0, 0, 0);
    let mut last = vec![false; names.len()];
    let asking = tokio::time::timeout(3 * PATIENCE, async {
        while asked < PAIRS || turns < 30 {
            let (place, of) = (asked % names.len(), &triggers[asked % names.len()]);
            let (number, active) = if (asked / names.len()).is_multiple_of(2) {
                let number = replicas(&mut keda, of).await;
                (number, activity(&mut keda, of).await)
            } else {
                let active = activity(&mut keda, of).await;
                (replicas(&mut keda, of).await, active)
            };
            asked += 1;
            turns += usize::from(active.said != last[place]);
            last[place] = active.said;
            if number.snapshot == active.snapshot {
                assert_eq!(active.said, number.said > 0.0, "snapshot {}", number.snapshot);
                pairs[usize::from(active.said)] += 1;
            } else {
                apart += 1;
            }
        }
    });
    assert!(asking.await.is_ok(), "{turns} turns in {asked} pairs");
    changes.abort();
    assert!(pairs.iter().all(|&some| some > PAIRS / 20), "{pairs:?} pairs idle and active");
    assert!(apart > 0, "nothing ever changed between two calls");
}
