//! The queue when SQS does not do as it is asked.

use std::time::Duration;

use serde_json::json;
use spotscale_autoscaler::{NoticeSource as _, QueueError, Receipt};
use spotscale_aws::{Metrics, NoticeQueue};
use tokio::time::timeout;

use crate::scripted::{Answer, Scripted, config, connect, json, scrape};

const DELETE: &str = "DeleteMessageBatch";

async fn queue(service: &Scripted, metrics: &Metrics) -> NoticeQueue {
    let url = format!("{}/123456789012/notices", service.endpoint());
    let flag = format!("--interruption-queue={url}");
    let sdk = connect(service.endpoint()).await;
    NoticeQueue::new(&config(&[&flag]).queue, &sdk, metrics.clone()).unwrap()
}

fn receipts(count: usize) -> Vec<Receipt> {
    (0..count).map(|n| Receipt(format!("receipt-{n}"))).collect()
}

/// SQS' answer to a batch: the entries of these names failed.
fn batch(failed: &[&str]) -> Answer {
    let entry = |id: &&str| json!({"Id": id, "SenderFault": false, "Code": "InternalError"});
    let failed: Vec<_> = failed.iter().map(entry).collect();
    Answer::ok(json!({"Successful": [], "Failed": failed}).to_string())
}

fn sent(asked: &str) -> Vec<String> {
    let entries = json(asked)["Entries"].as_array().unwrap().clone();
    entries.iter().map(|entry| entry["ReceiptHandle"].as_str().unwrap().to_owned()).collect()
}

/// Scenarios 10 and 12: entries of a batch that fail are sent again, and only they.
#[tokio::test]
async fn s10_s12_what_a_batch_leaves_is_sent_again() {
    let service = Scripted::start().await;
    service.on(DELETE, [batch(&["1", "9"]), batch(&[]), batch(&["0"]), batch(&[])]);
    let queue = queue(&service, &Metrics::default()).await;
    queue.done(&receipts(12)).await.unwrap();
    let asked: Vec<_> = service.asked(DELETE).iter().map(|asked| sent(asked)).collect();
    assert_eq!(asked.iter().map(Vec::len).collect::<Vec<_>>(), [10, 2, 2, 1]);
    assert_eq!(asked[2], ["receipt-1", "receipt-9"]);
    assert_eq!(asked[3], ["receipt-1"]);
}

/// Scenario 10: what cannot be deleted is told, and comes again.
#[tokio::test]
async fn s10_what_cannot_be_deleted_is_told() {
    let service = Scripted::start().await;
    service.on(DELETE, [batch(&["1"]), batch(&["0"])]);
    let queue = queue(&service, &Metrics::default()).await;
    let error = queue.done(&receipts(3)).await.unwrap_err();
    let why = "InternalError".to_owned();
    assert_eq!(error, QueueError::Partly { left: 1, of: 3, why });
    assert_eq!(service.asked(DELETE).len(), 3, "it is given up at last");
    assert_eq!(error.kind(), "partly");
}

/// A call that hands receipts in and hangs is given up long before a receive that waits for messages would be.
#[tokio::test]
async fn what_is_not_taken_off_in_a_few_seconds_is_left() {
    let service = Scripted::start().await;
    let queue = queue(&service, &Metrics::default()).await;
    service.on(DELETE, [batch(&[]).after(Duration::from_mins(5))]);
    let error = timeout(Duration::from_secs(20), queue.done(&receipts(1))).await;
    assert_eq!(error.expect("it is still waited for").unwrap_err().kind(), "timeout");
    assert!(service.asked(DELETE).len() > 1, "it was asked once only");
}

#[tokio::test]
async fn nothing_is_asked_about_nothing() {
    let service = Scripted::start().await;
    let queue = queue(&service, &Metrics::default()).await;
    queue.done(&[]).await.unwrap();
    assert_eq!(service.asked(DELETE).len(), 0);
}

/// Scenario 14: a queue that refuses is an error that says so.
#[tokio::test]
async fn s14_access_denied_is_told_as_such() {
    let service = Scripted::start().await;
    let metrics = Metrics::default();
    let queue = queue(&service, &metrics).await;
    service.on("ReceiveMessage", [Answer::json_refusal(403, "com.amazonaws.sqs#AccessDenied")]);
    let error = queue.receive().await.unwrap_err();
    assert!(matches!(&error, QueueError::AccessDenied(why) if why.contains("as told")), "{error}");
    let counted = "{call=\"ReceiveMessage\",kind=\"access-denied\"} 1";
    assert!(scrape(&metrics).contains(counted), "{}", scrape(&metrics));
    service.on(DELETE, [Answer::json_refusal(400, "RequestThrottled")]);
    let error = queue.done(&receipts(1)).await.unwrap_err();
    assert_eq!(error.kind(), "throttled", "{error}");
}
