//! EC2 and its neighbours, behind the interfaces of `spotscale_autoscaler`: what machines cost ([`Ec2Market`]), which of
//! them will be taken ([`NoticeQueue`] for a cluster, [`watch`] for one node) and what became of those that are gone
//! ([`Ec2Fates`]). Nothing is decided here, and nothing is bought or ended.
//!
//! Credentials, profiles, endpoint overrides (`AWS_ENDPOINT_URL`) and retries are the SDK's. Every call ends in time: see
//! [`Config::connect`]. What it takes of IAM:
//!
//! | permission | for | without it |
//! |---|---|---|
//! | `ec2:DescribeSpotPriceHistory` | spot prices | no spot price, told by a metric |
//! | `pricing:GetProducts` | on-demand prices | a dated table, told by a metric |
//! | `ec2:DescribeInstanceTypes`, `ec2:DescribeInstanceTypeOfferings` | what the types are and where they are sold | one pod a machine where the table does not say; zones only of spot prices |
//! | `ec2:GetSpotPlacementScores`, `ec2:DescribeAvailabilityZones` | what zones are short of | no prior by zone |
//! | `ec2:DescribeInstances` | what became of machines | refunds are not recognised after a downtime |
//! | `sqs:ReceiveMessage`, `sqs:DeleteMessage`, `sqs:ChangeMessageVisibility` | notices of a queue | no notices |

mod advisor;
mod call;
mod config;
mod desk;
mod fates;
mod imds;
mod instance_types;
mod known;
mod market;
mod metrics;
mod node;
mod on_demand;
mod pace;
mod placement;
mod prior;
mod queue;
mod spot;

pub use self::{
    advisor::{Advisor, AdvisorError},
    call::{CallError, Cause},
    config::{Config, ConfigError, ImdsConfig, MarketConfig, QueueConfig},
    fates::Ec2Fates,
    imds::{Imds, ImdsError, Machine},
    instance_types::{Gpu, InstanceInfo},
    market::Ec2Market,
    metrics::Metrics,
    node::watch,
    on_demand::OnDemandSource,
    queue::NoticeQueue,
};
