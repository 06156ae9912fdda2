//! The flags of what is AWS' own, their checks, and the connection that they spell.

use std::{path::PathBuf, time::Duration};

use aws_config::{AppName, BehaviorVersion, Region, SdkConfig, timeout::TimeoutConfig};
use clap::{Args, value_parser};
use serde::Serialize;
use spotscale_decide::units::Span;

use crate::advisor::AdvisorError;

/// SQS hides a message for so long at most.
const VISIBILITY_MAX: Duration = Duration::from_hours(12);

/// EC2 and its neighbours.
#[derive(Debug, Clone, Args, Serialize)]
#[group(skip)]
pub struct Config {
    /// The region; if not given, the one that the AWS environment, the profile or the machine itself names.
    #[arg(long = "aws-region", env = "SPOTSCALE_AWS_REGION")]
    pub region: Option<String>,

    /// What machines cost.
    #[command(flatten)]
    pub market: MarketConfig,

    /// Where notices arrive.
    #[command(flatten)]
    pub queue: QueueConfig,
}

/// What machines cost.
#[derive(Debug, Clone, Args, Serialize)]
#[group(skip)]
pub struct MarketConfig {
    /// Days of spot prices that are asked for at the start, so that machines that run already are priced rightly: a
    /// machine that is older is billed at the earliest price that is known. 90 is what EC2 keeps, and it is little: a type
    /// changes its price in a zone a few times a day, and a page holds 1,000 changes. A type that only nodes have is asked
    /// about when the first is seen, since its launch and for as many days at most.
    #[arg(
        long,
        env = "SPOTSCALE_AWS_PRICE_HISTORY_DAYS",
        default_value_t = 90,
        value_parser = value_parser!(u32).range(1..=90)
    )]
    pub price_history_days: u32,

    /// The product whose spot prices are asked for, in EC2's words.
    #[arg(long, env = "SPOTSCALE_AWS_SPOT_PRODUCT", default_value = "Linux/UNIX")]
    pub spot_product: String,

    /// A copy of the Spot Instance Advisor's public data (spot-advisor-data.json): how often each type was interrupted
    /// last month.
    #[arg(long, env = "SPOTSCALE_AWS_ADVISOR")]
    pub advisor: Option<PathBuf>,
}

/// Where notices arrive.
#[derive(Debug, Clone, Args, Serialize)]
#[group(skip)]
pub struct QueueConfig {
    /// URL of the SQS queue that EventBridge writes to; without it no queue is read.
    #[arg(long, env = "SPOTSCALE_AWS_INTERRUPTION_QUEUE")]
    pub interruption_queue: Option<String>,

    /// A message that was taken and not done with comes again after so long.
    #[arg(long, env = "SPOTSCALE_AWS_QUEUE_VISIBILITY", default_value = "60s")]
    pub queue_visibility: Span,
}

/// The watcher on a node.
#[derive(Debug, Clone, Args, Serialize)]
#[group(skip)]
pub struct ImdsConfig {
    /// Time between two questions to the instance metadata; AWS recommends 5 seconds.
    #[arg(long, env = "SPOTSCALE_AWS_IMDS_POLL", default_value = "5s")]
    pub imds_poll: Span,
}

/// Flags that cannot work.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// Something that is no URL.
    #[error("--interruption-queue {0:?} is not a URL")]
    Queue(String),
    /// A span that SQS does not accept.
    #[error("--queue-visibility must be between 1s and 12h")]
    Visibility,
    /// A poll without a pause.
    #[error("--imds-poll must be above zero")]
    Poll,
    /// The advisor's data cannot be used.
    #[error("--advisor: {0}")]
    Advisor(#[from] AdvisorError),
    /// No region is known.
    #[error("no AWS region is known: give --aws-region, or AWS_REGION")]
    NoRegion,
}

// === impl Config ===

impl Config {
    /// Checks what the flags say.
    pub fn validate(&self) -> Result<(), ConfigError> {
        self.queue.validate()
    }

    /// Finds region and credentials. Nothing is called but, where only they can tell, the machine's own metadata.
    ///
    /// A call that hangs is given up: an attempt after 10 s, a call with its retries after 30 s.
    pub async fn connect(&self) -> Result<SdkConfig, ConfigError> {
        let timeouts = TimeoutConfig::builder()
            .connect_timeout(Duration::from_secs(3))
            .operation_attempt_timeout(Duration::from_secs(10))
            .operation_timeout(Duration::from_secs(30))
            .build();
        let mut loader =
            aws_config::defaults(BehaviorVersion::v2026_01_12()).timeout_config(timeouts);
        if let Ok(name) = AppName::new("spotscale") {
            loader = loader.app_name(name);
        }
        if let Some(region) = &self.region {
            loader = loader.region(Region::new(region.clone()));
        }
        let sdk = loader.load().await;
        if sdk.region().is_some() { Ok(sdk) } else { Err(ConfigError::NoRegion) }
    }
}

// === impl QueueConfig ===

impl QueueConfig {
    fn validate(&self) -> Result<(), ConfigError> {
        let is_url = |url: &String| url.starts_with("https://") || url.starts_with("http://");
        if let Some(url) = self.interruption_queue.as_ref().filter(|url| !is_url(url)) {
            return Err(ConfigError::Queue(url.clone()));
        }
        if (Duration::from_secs(1)..=VISIBILITY_MAX).contains(&self.queue_visibility.0) {
            Ok(())
        } else {
            Err(ConfigError::Visibility)
        }
    }
}

// === impl ImdsConfig ===

impl ImdsConfig {
    /// Checks what the flags say.
    pub fn validate(&self) -> Result<(), ConfigError> {
        if self.imds_poll.0.is_zero() { Err(ConfigError::Poll) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Cli {
        #[command(flatten)]
        config: Config,
        #[command(flatten)]
        imds: ImdsConfig,
    }

    fn parse(flags: &[&str]) -> Result<Cli, String> {
        let words = std::iter::once(&"autoscaler").chain(flags);
        Cli::try_parse_from(words).map_err(|error| error.to_string())
    }

    fn refusal(flag: &str) -> String {
        let cli = parse(&[flag]).unwrap();
        cli.config.validate().and_then(|()| cli.imds.validate()).unwrap_err().to_string()
    }

    #[test]
    fn what_is_not_given_works() {
        let cli = parse(&[]).unwrap();
        cli.config.validate().unwrap();
        cli.imds.validate().unwrap();
    }

    #[test]
    fn a_wrong_flag_is_refused_in_words() {
        assert!(parse(&["--price-history-days=0"]).is_err());
        assert!(parse(&["--price-history-days=91"]).is_err());
        let queue = refusal("--interruption-queue=notices");
        assert_eq!(queue, "--interruption-queue \"notices\" is not a URL");
        for wrong in ["0s", "13h"] {
            let visibility = refusal(&format!("--queue-visibility={wrong}"));
            assert_eq!(visibility, "--queue-visibility must be between 1s and 12h");
        }
        assert_eq!(refusal("--imds-poll=0s"), "--imds-poll must be above zero");
    }
}
