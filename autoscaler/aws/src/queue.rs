//! The queue of notices on SQS.

use std::{future::Future, time::Duration};

use async_trait::async_trait;
use aws_config::{SdkConfig, timeout::TimeoutConfig};
use aws_sdk_sqs::{
    Client,
    config::Builder,
    types::{
        BatchResultErrorEntry, ChangeMessageVisibilityBatchRequestEntry,
        DeleteMessageBatchRequestEntry, Message,
    },
};
use spotscale_autoscaler::{Event, NoticeSource, QueueError, Receipt, Received};
use tokio::time::sleep;

use crate::{
    call::{CallError, Cause},
    config::QueueConfig,
    metrics::Metrics,
};

/// SQS hands out and takes so many at once.
const BATCH: usize = 10;
/// The longest that SQS waits for a message.
const WAIT: Duration = Duration::from_secs(20);
/// Entries that SQS could not handle are sent so often.
const TRIES: u32 = 3;
const PAUSE: Duration = Duration::from_millis(200);
/// SQS takes receipts in milliseconds; one attempt that takes longer than this is tried again, and the whole call is given
/// up after the other. What was not taken comes again.
const TAKE_ATTEMPT: Duration = Duration::from_secs(3);
const TAKE: Duration = Duration::from_secs(8);

/// A queue that EventBridge writes to.
pub struct NoticeQueue {
    client: Client,
    url: String,
    visibility: Duration,
    metrics: Metrics,
}

/// An entry of a batch: its name within the batch, and the delivery that it is about.
type Entry = (String, Receipt);

impl NoticeQueue {
    /// The queue that is configured, if one is. Nothing is asked yet.
    pub fn new(config: &QueueConfig, sdk: &SdkConfig, metrics: Metrics) -> Option<Self> {
        let url = config.interruption_queue.clone()?;
        // A receive takes as long as SQS waits, and is no hung call before that.
        let attempt = WAIT + Duration::from_secs(10);
        let timeouts = timeouts(attempt, attempt + Duration::from_secs(30));
        let client = Client::from_conf(Builder::from(sdk).timeout_config(timeouts).build());
        Some(Self { client, url, visibility: config.queue_visibility.0, metrics })
    }

    /// Does something to all of these, ten at a time; what SQS could not handle is tried again.
    async fn batches<F>(
        &self,
        receipts: &[Receipt],
        send: impl Fn(Vec<Entry>) -> F,
    ) -> Result<(), QueueError>
    where
        F: Future<Output = Result<Vec<BatchResultErrorEntry>, CallError>>,
    {
        let mut left = receipts.to_vec();
        let mut why = String::new();
        for tried in 1..=TRIES {
            let mut failed = vec![];
            for batch in left.chunks(BATCH) {
                let named = batch.iter().enumerate().map(|(n, one)| (n.to_string(), one.clone()));
                let errors = send(named.collect()).await.map_err(|error| self.failed(&error))?;
                let receipt =
                    |error: &BatchResultErrorEntry| batch.get(error.id.parse::<usize>().ok()?);
                failed.extend(errors.iter().filter_map(receipt).cloned());
                if let Some(error) = errors.into_iter().last() {
                    why = error.message.unwrap_or(error.code);
                }
            }
            left = failed;
            if left.is_empty() {
                return Ok(());
            }
            if tried < TRIES {
                sleep(PAUSE * tried).await;
            }
        }
        Err(QueueError::Partly { left: left.len(), of: receipts.len(), why })
    }

    fn failed(&self, error: &CallError) -> QueueError {
        self.metrics.failure(error.action, error.kind());
        match error.cause {
            Cause::Missing => QueueError::Missing(self.url.clone()),
            Cause::AccessDenied => QueueError::AccessDenied(error.to_string()),
            cause => QueueError::Unavailable { kind: cause.kind(), why: error.to_string() },
        }
    }
}

fn timeouts(attempt: Duration, call: Duration) -> TimeoutConfig {
    TimeoutConfig::builder()
        .connect_timeout(Duration::from_secs(3))
        .operation_attempt_timeout(attempt)
        .operation_timeout(call)
        .build()
}

/// For a call that hands receipts in.
fn hasty() -> Builder {
    Builder::new().timeout_config(timeouts(TAKE_ATTEMPT, TAKE))
}

fn read(message: Message) -> Option<Received> {
    let event = Event::parse(&message.body.unwrap_or_default());
    Some(Received { receipt: Receipt(message.receipt_handle?), event })
}

#[async_trait]
impl NoticeSource for NoticeQueue {
    async fn receive(&self) -> Result<Vec<Received>, QueueError> {
        let call = self.client.receive_message().queue_url(&self.url);
        let call =
            call.max_number_of_messages(BATCH as i32).wait_time_seconds(WAIT.as_secs() as i32);
        let answer = call.visibility_timeout(self.visibility.as_secs() as i32).send().await;
        let answer =
            answer.map_err(|error| self.failed(&CallError::new("ReceiveMessage", &error)))?;
        let messages = answer.messages.unwrap_or_default();
        Ok(messages.into_iter().filter_map(read).collect())
    }

    async fn done(&self, receipts: &[Receipt]) -> Result<(), QueueError> {
        let send = async |entries: Vec<Entry>| {
            let entry = |(id, receipt): Entry| {
                DeleteMessageBatchRequestEntry::builder()
                    .id(id)
                    .receipt_handle(receipt.0)
                    .build()
                    .ok()
            };
            let entries = entries.into_iter().filter_map(entry).collect();
            let call = self.client.delete_message_batch().queue_url(&self.url);
            let call = call.set_entries(Some(entries)).customize().config_override(hasty());
            let failed = call.send().await.map(|answer| answer.failed);
            failed.map_err(|error| CallError::new("DeleteMessageBatch", &error))
        };
        self.batches(receipts, send).await
    }

    async fn keep(&self, receipts: &[Receipt], hidden_for: Duration) -> Result<(), QueueError> {
        let seconds = i32::try_from(hidden_for.as_secs()).unwrap_or(i32::MAX);
        let send = async |entries: Vec<Entry>| {
            let entry = |(id, receipt): Entry| {
                let entry = ChangeMessageVisibilityBatchRequestEntry::builder().id(id);
                entry.receipt_handle(receipt.0).visibility_timeout(seconds).build().ok()
            };
            let entries = entries.into_iter().filter_map(entry).collect();
            let call = self.client.change_message_visibility_batch().queue_url(&self.url);
            let call = call.set_entries(Some(entries)).customize().config_override(hasty());
            let failed = call.send().await.map(|answer| answer.failed);
            failed.map_err(|error| CallError::new("ChangeMessageVisibilityBatch", &error))
        };
        self.batches(receipts, send).await
    }
}
