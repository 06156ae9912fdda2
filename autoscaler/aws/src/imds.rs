//! A machine's own metadata: what EC2 tells an instance about itself. Version 2 of the service, with session tokens.

use std::time::Duration;

use aws_config::imds::{Client, client::error::ImdsError as Sdk};
use jiff::Timestamp;
use serde::Deserialize;
use spotscale_decide::units::InstanceId;

use crate::call::in_full;

const ACTION: &str = "/latest/meta-data/spot/instance-action";
const REBALANCE: &str = "/latest/meta-data/events/recommendations/rebalance";
const INSTANCE: &str = "/latest/meta-data/instance-id";
const LIFE_CYCLE: &str = "/latest/meta-data/instance-life-cycle";
/// The SDK keeps a session token until two minutes before its end, and goes on using one that the service has ceased to
/// accept. One that lives shorter than that is asked for anew each time, and so an outage ends when the service is back.
const TOKEN_LIVES: Duration = Duration::from_mins(1);

/// The metadata service of the machine that this runs on.
#[derive(Debug, Clone)]
pub struct Imds {
    client: Client,
}

/// The machine that this runs on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Machine {
    /// Its id.
    pub instance: InstanceId,
    /// How it was bought: `spot`, `on-demand` and others.
    pub life_cycle: String,
}

/// Why the metadata says nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ImdsError {
    /// The service cannot be reached, or does not answer in time.
    #[error("the instance metadata cannot be reached: {0}")]
    Unavailable(String),
    /// The service gave no session token, or refuses the one that it gave.
    #[error("the instance metadata gives no session token: {0}")]
    Token(String),
    /// The service answers with an error.
    #[error("the instance metadata answers {path} with status {status}")]
    Status {
        /// What was asked for.
        path: &'static str,
        /// The status of HTTP.
        status: u16,
    },
    /// The answer cannot be read.
    #[error("the instance metadata answers {path} with {text:?}")]
    Malformed {
        /// What was asked for.
        path: &'static str,
        /// The answer.
        text: String,
    },
    /// The address is none.
    #[error("{0:?} is no address of instance metadata")]
    Endpoint(String),
}

/// What EC2 will do to the machine.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(crate) struct InstanceAction {
    /// `terminate`, `stop` or `hibernate`.
    pub(crate) action: String,
    /// When.
    pub(crate) time: Timestamp,
}

/// That the machine is at risk. When that was said matters to nobody; that it says so tells it from any other page.
#[derive(Deserialize)]
struct Recommendation {
    #[serde(rename = "noticeTime")]
    _said_at: Timestamp,
}

impl Imds {
    /// The service at its well-known address, or where `AWS_EC2_METADATA_SERVICE_ENDPOINT` says.
    pub fn new() -> Self {
        Self { client: Client::builder().token_ttl(TOKEN_LIVES).build() }
    }

    /// The service at another address.
    pub fn at(endpoint: &str) -> Result<Self, ImdsError> {
        let builder = Client::builder().endpoint(endpoint);
        let builder = builder.map_err(|_| ImdsError::Endpoint(endpoint.to_owned()))?;
        Ok(Self { client: builder.token_ttl(TOKEN_LIVES).build() })
    }

    /// Which machine this is.
    pub async fn machine(&self) -> Result<Machine, ImdsError> {
        let instance = self.get(INSTANCE).await?.unwrap_or_default();
        let life_cycle = self.get(LIFE_CYCLE).await?.unwrap_or_default();
        match instance.parse() {
            Ok(instance) => Ok(Machine { instance, life_cycle }),
            Err(_) => Err(ImdsError::Malformed { path: INSTANCE, text: instance }),
        }
    }

    /// What EC2 will do to the machine, if it says so.
    pub(crate) async fn action(&self) -> Result<Option<InstanceAction>, ImdsError> {
        let text = self.get(ACTION).await?;
        text.map(|text| read(ACTION, text)).transpose()
    }

    /// Whether the machine is at more risk than others.
    pub(crate) async fn rebalance(&self) -> Result<bool, ImdsError> {
        match self.get(REBALANCE).await? {
            Some(text) => read::<Recommendation>(REBALANCE, text).map(|_| true),
            None => Ok(false),
        }
    }

    /// What the service has under a path; nothing where it says that there is nothing.
    async fn get(&self, path: &'static str) -> Result<Option<String>, ImdsError> {
        match self.client.get(path).await {
            Ok(text) => Ok(Some(text.into())),
            Err(Sdk::ErrorResponse(answer)) => match answer.response().status().as_u16() {
                404 => Ok(None),
                401 => Err(ImdsError::Token(format!("{path} refuses it"))),
                status => Err(ImdsError::Status { path, status }),
            },
            Err(error @ Sdk::FailedToLoadToken(_)) => Err(ImdsError::Token(in_full(&error))),
            Err(error) => Err(ImdsError::Unavailable(in_full(&error))),
        }
    }
}

impl Default for Imds {
    fn default() -> Self {
        Self::new()
    }
}

fn read<T: for<'de> Deserialize<'de>>(path: &'static str, text: String) -> Result<T, ImdsError> {
    serde_json::from_str(&text).map_err(|_| ImdsError::Malformed { path, text })
}

// === impl ImdsError ===

impl ImdsError {
    /// The name for a metric label.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Unavailable(_) => "unreachable",
            Self::Token(_) => "token",
            Self::Status { .. } => "status",
            Self::Malformed { .. } => "malformed",
            Self::Endpoint(_) => "endpoint",
        }
    }
}
