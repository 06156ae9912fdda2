//! The metadata service of one instance, as Amazon's own mock plays it: version 2 only, so each question needs a
//! token.
//!
//! Left alone, the mock says "two minutes from now" at each request; the real service names one moment and keeps to
//! it. So every time here is given.

use std::process::{Child, Command};

use anyhow::Context as _;
use bytes::Bytes;
use http::Request;
use http_body_util::Full;
use jiff::Timestamp;
use serde_json::json;

use super::http::call;
use crate::{
    control_plane::until,
    exclusive::ports,
    group::{Group, logs, test_program},
    programs::program,
};

/// Longer than any test, and a time that the mock can parse.
const NEVER: &str = "9999-01-01T00:00:00Z";

/// The instance whose metadata is served.
#[derive(Debug, Clone)]
pub struct Instance {
    /// `i-` and 17 hexadecimal digits.
    pub id: String,
    /// For example `g4dn.xlarge`.
    pub instance_type: String,
    /// For example `us-east-1a`.
    pub zone: String,
}

/// What the instance is told, and from when on. Nothing by default.
#[derive(Debug, Clone, Default)]
pub struct Notices {
    /// That it will be taken away.
    pub interruption: Option<Interruption>,
    /// That it is at risk: the time of the notice, which is shown from then on.
    pub rebalance: Option<Timestamp>,
}

/// That an instance will be taken away.
#[derive(Debug, Clone)]
pub struct Interruption {
    /// `terminate`, `stop` or `hibernate`.
    pub action: &'static str,
    /// When.
    pub time: Timestamp,
    /// Shown from here on. The real one comes two minutes before `time`.
    pub shown: Timestamp,
}

/// A running mock. Dropped, it ends.
#[derive(Debug)]
pub struct MetadataMock {
    port: u16,
    config: std::path::PathBuf,
    group: Group,
    process: Child,
}

impl MetadataMock {
    /// Starts one and waits until it answers.
    pub async fn start(instance: &Instance, notices: &Notices) -> anyhow::Result<Self> {
        let [port] = ports()?;
        let group = Group::new(&logs(&format!("{}-cloud", test_program())))?;
        let config = group.folder().join("metadata.json");
        std::fs::write(&config, settings(instance).to_string())?;
        let process = spawn(&group, port, &config, notices)?;
        let mock = Self { port, config, group, process };
        mock.until_ready().await?;
        Ok(mock)
    }

    /// The URL, as `AWS_EC2_METADATA_SERVICE_ENDPOINT` has it.
    pub fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Tells other notices from now on. The service is away for a moment, and tokens that it gave out are void.
    pub async fn tell(&mut self, notices: &Notices) -> anyhow::Result<()> {
        self.stop()?;
        self.resume(notices).await
    }

    /// Takes the service away.
    pub fn stop(&mut self) -> anyhow::Result<()> {
        self.process.kill()?;
        self.process.wait()?;
        Ok(())
    }

    /// The end of [`Self::stop`].
    pub async fn resume(&mut self, notices: &Notices) -> anyhow::Result<()> {
        self.process = spawn(&self.group, self.port, &self.config, notices)?;
        self.until_ready().await
    }

    /// What the service says at a path below `/latest/`. An error if it has nothing there.
    pub async fn get(&self, path: &str) -> anyhow::Result<String> {
        ask(&self.endpoint(), path).await
    }

    async fn until_ready(&self) -> anyhow::Result<()> {
        until("the metadata mock", || async {
            self.get("meta-data/instance-id").await.map(|_| true)
        })
        .await
    }
}

/// What a metadata service says at a path below `/latest/`, asked as version 2 wants it.
pub async fn ask(endpoint: &str, path: &str) -> anyhow::Result<String> {
    let token = Request::put(format!("{endpoint}/latest/api/token"))
        .header("x-aws-ec2-metadata-token-ttl-seconds", "60")
        .body(Full::<Bytes>::default())?;
    let token = call(token).await?;
    let question = Request::get(format!("{endpoint}/latest/{path}"))
        .header("x-aws-ec2-metadata-token", token)
        .body(Full::<Bytes>::default())?;
    call(question).await
}

fn settings(instance: &Instance) -> serde_json::Value {
    json!({ "metadata": { "values": {
        "instance-id": instance.id,
        "instance-type": instance.instance_type,
        "instance-life-cycle": "spot",
        "placement-availability-zone": instance.zone,
    } } })
}

fn spawn(
    group: &Group,
    port: u16,
    config: &std::path::Path,
    notices: &Notices,
) -> anyhow::Result<Child> {
    let mut command = Command::new(program("ec2-metadata-mock")?);
    command.arg("spot").arg("--config-file").arg(config).args([
        "--imdsv2",
        "--hostname=127.0.0.1",
        &format!("--port={port}"),
        // Only so many callers would see a notice; a negative number is all of them.
        "--mock-ip-count=-1",
    ]);
    command.args(flags(notices));
    group.spawn(&format!("metadata-{port}"), &mut command).context("ec2-metadata-mock")
}

fn flags(notices: &Notices) -> Vec<String> {
    let shown = notices.interruption.as_ref().map(|one| text(one.shown));
    let rebalance = notices.rebalance.map(text);
    let or_never = |time: &Option<String>| time.clone().unwrap_or_else(|| NEVER.to_owned());
    let mut flags = vec![
        format!("--mock-trigger-time={}", or_never(&shown)),
        format!("--rebalance-trigger-time={}", or_never(&rebalance)),
    ];
    flags.extend(rebalance.map(|time| format!("--rebalance-rec-time={time}")));
    if let Some(Interruption { action, time, .. }) = &notices.interruption {
        flags.extend([format!("--action={action}"), format!("--time={}", text(*time))]);
    }
    flags
}

/// The metadata service speaks of whole seconds.
fn text(time: Timestamp) -> String {
    time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}
