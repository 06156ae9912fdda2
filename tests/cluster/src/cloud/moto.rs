//! EC2 and SQS, as moto plays them on a port of this machine.
//!
//! What moto does not have: prices (each spot price is 0.00001, there is no pricing service; [`super::Market`] stands
//! in), interruptions (a test tells and ends them itself), signatures that matter.

use std::{process::Command, time::Duration};

use anyhow::Context as _;
use bytes::Bytes;
use http::Request;
use http_body_util::Full;
use serde_json::{Value, json};

use super::{
    ACCOUNT, REGION,
    http::{call, elements, json, query},
};
use crate::{
    control_plane::until,
    exclusive::ports,
    group::{Group, logs, test_program},
    programs::python,
};

/// A server of its own for one test. Dropped, it ends.
#[derive(Debug)]
pub struct Moto {
    port: u16,
    _group: Group,
}

/// How many messages a queue holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Depth {
    /// That somebody could receive now.
    pub visible: u64,
    /// That somebody has received and neither deleted nor given back.
    pub in_flight: u64,
}

impl Moto {
    /// Starts one and waits until it answers.
    pub async fn start() -> anyhow::Result<Self> {
        let [port] = ports()?;
        let group = Group::new(&logs(&format!("{}-cloud", test_program())))?;
        let mut command = Command::new(python()?);
        command.args(["-m", "moto.server", "--port", &port.to_string()]);
        // Nobody here asks for images, and reading them takes seconds.
        command.env("MOTO_EC2_LOAD_DEFAULT_AMIS", "false");
        group.spawn(&format!("moto-{port}"), &mut command)?;
        let moto = Self { port, _group: group };
        until("moto", || async { moto.reset().await.map(|()| true) }).await?;
        Ok(moto)
    }

    /// The URL of every service of it.
    pub fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Forgets everything, as if it had been started anew.
    pub async fn reset(&self) -> anyhow::Result<()> {
        let url = format!("{}/moto-api/reset", self.endpoint());
        call(Request::post(url).body(Full::<Bytes>::default())?).await?;
        Ok(())
    }

    /// Makes a queue whose messages come again after this time if nobody deletes them; its URL.
    pub async fn create_queue(&self, name: &str, visibility: Duration) -> anyhow::Result<String> {
        let timeout = visibility.as_secs().to_string();
        let body = json!({ "QueueName": name, "Attributes": { "VisibilityTimeout": timeout } });
        let answer = self.sqs("CreateQueue", &body).await?;
        Ok(answer["QueueUrl"].as_str().context("no QueueUrl")?.to_owned())
    }

    /// Puts a message into a queue.
    pub async fn send(&self, queue: &str, body: &str) -> anyhow::Result<()> {
        self.sqs("SendMessage", &json!({ "QueueUrl": queue, "MessageBody": body })).await?;
        Ok(())
    }

    /// What is in a queue. Both are zero when every message was deleted.
    pub async fn depth(&self, queue: &str) -> anyhow::Result<Depth> {
        let (visible, in_flight) =
            ("ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible");
        let body = json!({ "QueueUrl": queue, "AttributeNames": [visible, in_flight] });
        let answer = self.sqs("GetQueueAttributes", &body).await?;
        let count = |name: &str| -> anyhow::Result<u64> {
            let value = answer["Attributes"][name].as_str();
            value.with_context(|| format!("no {name}: {answer}"))?.parse().context("a count")
        };
        Ok(Depth { visible: count(visible)?, in_flight: count(in_flight)? })
    }

    /// Launches on-demand instances; their ids.
    pub async fn run_instances(
        &self,
        instance_type: &str,
        zone: &str,
        count: usize,
    ) -> anyhow::Result<Vec<String>> {
        let count = count.to_string();
        let xml = self
            .ec2(&[
                ("Action", "RunInstances"),
                ("ImageId", "ami-12345678"),
                ("InstanceType", instance_type),
                ("Placement.AvailabilityZone", zone),
                ("MinCount", &count),
                ("MaxCount", &count),
            ])
            .await?;
        Ok(elements(&xml, "instanceId").into_iter().map(str::to_owned).collect())
    }

    /// Ends an instance, as its owner.
    pub async fn terminate(&self, instance: &str) -> anyhow::Result<()> {
        self.ec2(&[("Action", "TerminateInstances"), ("InstanceId.1", instance)]).await?;
        Ok(())
    }

    /// The state of an instance, for example `running`.
    pub async fn state(&self, instance: &str) -> anyhow::Result<String> {
        let fields = [("Action", "DescribeInstances"), ("InstanceId.1", instance)];
        let xml = self.ec2(&fields).await?;
        let state = elements(&xml, "instanceState").first().copied().unwrap_or_default();
        Ok(elements(state, "name").first().context("no state")?.to_string())
    }

    async fn sqs(&self, action: &str, body: &Value) -> anyhow::Result<Value> {
        json(&self.endpoint(), "sqs", &format!("AmazonSQS.{action}"), body).await
    }

    async fn ec2(&self, fields: &[(&str, &str)]) -> anyhow::Result<String> {
        query(&self.endpoint(), fields).await
    }
}

/// The URL that a queue of this name would have, where there may be none.
pub fn queue_url(endpoint: &str, name: &str) -> String {
    format!("{endpoint}/{ACCOUNT}/{name}")
}

/// The environment that AWS' SDKs need to speak to `endpoint` and to nobody else.
pub fn environment(endpoint: &str) -> [(&'static str, String); 6] {
    [
        ("AWS_ENDPOINT_URL", endpoint.to_owned()),
        ("AWS_REGION", REGION.to_owned()),
        // As Python's calls it.
        ("AWS_DEFAULT_REGION", REGION.to_owned()),
        ("AWS_ACCESS_KEY_ID", "test".to_owned()),
        ("AWS_SECRET_ACCESS_KEY", "test".to_owned()),
        ("AWS_EC2_METADATA_DISABLED", "true".to_owned()),
    ]
}
