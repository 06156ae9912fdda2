//! What became of machines, as `DescribeInstances` tells for about an hour after their end.

use async_trait::async_trait;
use aws_config::SdkConfig;
use aws_sdk_ec2::{
    Client,
    types::{Filter, Instance, InstanceStateName, Reservation},
};
use jiff::{Timestamp, civil::DateTime, tz::TimeZone};
use spotscale_autoscaler::{End, EndedBy, Fate, Fates, FatesError};
use spotscale_decide::units::InstanceId;

use crate::{call::CallError, metrics::Metrics};

const ACTION: &str = "DescribeInstances";
/// EC2 takes so many values in one filter.
const FILTER_VALUES_MAX: usize = 200;

/// EC2, asked about machines.
pub struct Ec2Fates {
    client: Client,
    metrics: Metrics,
}

impl Ec2Fates {
    /// Nothing is asked yet.
    pub fn new(sdk: &SdkConfig, metrics: Metrics) -> Self {
        Self { client: Client::new(sdk), metrics }
    }

    /// A filter, unlike a list of ids, does not fail the whole question over one machine that EC2 has forgotten.
    async fn some(&self, instances: &[InstanceId]) -> Result<Vec<Fate>, CallError> {
        let ids = instances.iter().map(ToString::to_string).collect();
        let filter = Filter::builder().name("instance-id").set_values(Some(ids)).build();
        let call = self.client.describe_instances().filters(filter).into_paginator().items();
        let reservations = call.send().try_collect().await;
        let reservations = reservations.map_err(|error| CallError::new(ACTION, &error))?;
        let told = reservations.iter().flat_map(Reservation::instances);
        Ok(told.filter_map(fate).collect())
    }
}

#[async_trait]
impl Fates for Ec2Fates {
    async fn fates(&self, instances: &[InstanceId]) -> Result<Vec<Fate>, FatesError> {
        let mut fates = vec![];
        for some in instances.chunks(FILTER_VALUES_MAX) {
            fates.extend(self.some(some).await.map_err(|error| {
                self.metrics.failure(error.action, error.kind());
                FatesError::Unavailable { kind: error.kind(), why: error.to_string() }
            })?);
        }
        Ok(fates)
    }
}

fn fate(instance: &Instance) -> Option<Fate> {
    let launched = instance.launch_time();
    Some(Fate {
        instance: instance.instance_id()?.parse().ok()?,
        launched_at: launched.and_then(|time| Timestamp::new(time.secs(), 0).ok()),
        end: end(instance),
    })
}

/// A machine that is stopped is no longer billed and does not come back as a node: it has ended.
fn end(instance: &Instance) -> Option<End> {
    use InstanceStateName::{ShuttingDown, Stopped, Stopping, Terminated};
    let state = instance.state()?.name()?;
    let ended = matches!(state, ShuttingDown | Stopped | Stopping | Terminated);
    ended.then(|| {
        let reason = instance.state_reason().and_then(|reason| reason.code());
        let by = match reason {
            Some("Server.SpotInstanceTermination" | "Server.SpotInstanceShutdown") => {
                EndedBy::Provider
            }
            _ => EndedBy::Us,
        };
        End { at: instance.state_transition_reason().and_then(transition), by }
    })
}

/// The time in a reason such as `User initiated (2026-01-02 03:04:05 GMT)`; moto calls that zone `UTC`.
fn transition(reason: &str) -> Option<Timestamp> {
    let (_, time) = reason.strip_suffix(')')?.rsplit_once('(')?;
    let time = time.strip_suffix(" GMT").or_else(|| time.strip_suffix(" UTC"))?;
    let time = DateTime::strptime("%Y-%m-%d %H:%M:%S", time).ok()?;
    TimeZone::UTC.to_timestamp(time).ok()
}

#[cfg(test)]
mod tests {
    use aws_sdk_ec2::{
        primitives::DateTime as Ec2Time,
        types::{InstanceState, StateReason},
    };

    use super::*;

    fn instance(state: InstanceStateName, code: &str, reason: &str) -> Instance {
        Instance::builder()
            .instance_id("i-0a")
            .launch_time(Ec2Time::from_secs(1000))
            .state(InstanceState::builder().name(state).build())
            .state_reason(StateReason::builder().code(code).build())
            .state_transition_reason(reason)
            .build()
    }

    #[test]
    fn a_machine_that_runs_has_not_ended() {
        let running = fate(&instance(InstanceStateName::Running, "", "")).unwrap();
        let launched_at = Some(Timestamp::from_second(1000).unwrap());
        assert_eq!(running, Fate { instance: "i-0a".parse().unwrap(), launched_at, end: None });
        assert_eq!(fate(&instance(InstanceStateName::Pending, "", "")).unwrap().end, None);
        assert_eq!(fate(&Instance::builder().build()), None);
    }

    #[test]
    fn only_what_ec2_says_it_took_was_taken_by_it() {
        use InstanceStateName::{ShuttingDown, Stopped, Stopping, Terminated};
        for (state, code, by) in [
            (Terminated, "Server.SpotInstanceTermination", EndedBy::Provider),
            (ShuttingDown, "Server.SpotInstanceTermination", EndedBy::Provider),
            (Stopped, "Server.SpotInstanceShutdown", EndedBy::Provider),
            (Stopping, "Server.SpotInstanceShutdown", EndedBy::Provider),
            (Terminated, "Client.UserInitiatedShutdown", EndedBy::Us),
            (Terminated, "Client.InstanceInitiatedShutdown", EndedBy::Us),
            // A failure of the host is EC2's doing, but no interruption, and no refund is promised for it.
            (Terminated, "Server.InternalError", EndedBy::Us),
            (Terminated, "", EndedBy::Us),
        ] {
            let end = fate(&instance(state.clone(), code, "")).unwrap().end;
            assert_eq!(end, Some(End { at: None, by }), "{state} by {code:?}");
        }
    }

    #[test]
    fn a_reason_may_tell_the_time() {
        let at = |reason| transition(reason).map(|at| at.to_string());
        let told = "User initiated (2026-01-02 03:04:05 GMT)";
        assert_eq!(at(told).as_deref(), Some("2026-01-02T03:04:05Z"));
        for silent in [
            "",
            "User initiated",
            "()",
            "User initiated (yesterday)",
            "x (2026-01-02 03:04:05 CET)",
        ] {
            assert_eq!(at(silent), None, "{silent:?}");
        }
    }
}
