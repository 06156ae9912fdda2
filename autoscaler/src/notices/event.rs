//! Reads the events that a cloud puts on a queue: EventBridge's JSON as AWS documents it, bare or wrapped by SNS. Which
//! machine an event is about is read from its detail alone: a spot warning's ARN lacks the account and is not one.

mod health;
#[cfg(test)]
mod tests;

use jiff::Timestamp;
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::Value;
use spotscale_decide::{
    cluster::NoticeKind,
    units::{InstanceId, Millis},
};

/// EC2 gives notice so long before it takes a machine ("Spot Instance interruption notices").
const LEAD: Millis = Millis::from_secs(120);

/// A message that asks something of us.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// The event's own id: a redelivery has the same, a second notice has another.
    pub id: String,
    /// When it was sent.
    pub at: Timestamp,
    /// The machines that it is about: at least one, and not all of them need be ours.
    pub instances: Vec<InstanceId>,
    /// What it says.
    pub kind: EventKind,
}

/// What an event says about its machines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EventKind {
    /// Spot capacity is taken back.
    SpotInterruption {
        /// When.
        deadline: Timestamp,
    },
    /// Capacity borrowed from somebody's reservation is taken back.
    ReservationInterruption {
        /// When.
        deadline: Timestamp,
    },
    /// The risk of an interruption has risen.
    Rebalance,
    /// A restart or the retirement of the machine is planned.
    ScheduledChange {
        /// When.
        deadline: Timestamp,
    },
    /// The planned change is done, or was called off.
    ScheduledChangeOver,
    /// The machine is on its way out. The event says nothing of who sent it there: it comes for machines that the
    /// cluster itself gave back, too.
    Ending(Ending),
}

/// A state that no machine serves in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Ending {
    /// It is being stopped.
    Stopping,
    /// It was stopped.
    Stopped,
    /// It is being terminated.
    ShuttingDown,
    /// It is gone.
    Terminated,
}

/// Why a message asks nothing of us.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unasked {
    /// It cannot be read.
    #[error("it cannot be read: {0}")]
    Malformed(String),
    /// It is an event that we know nothing about.
    #[error("nothing is known of {detail_type:?} from {source_name:?}")]
    Unknown {
        /// Who sent it.
        source_name: String,
        /// What it calls itself.
        detail_type: String,
    },
    /// A machine entered a state that is no loss.
    #[error("a machine is {0:?}, and no loss")]
    State(String),
    /// A health event that plans nothing for machines.
    #[error("{0:?} plans nothing for machines")]
    NothingPlanned(String),
    /// A life-cycle hook of an Auto Scaling group. Nodes of Karpenter are in no such group.
    #[error("it is a life-cycle hook of an Auto Scaling group")]
    AutoScalingHook,
    /// The message by which an Auto Scaling group tries a queue.
    #[error("it is the test message of an Auto Scaling group")]
    AutoScalingTest,
    /// It names no machine.
    #[error("it names no machine")]
    NoInstance,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Envelope {
    id: String,
    detail_type: String,
    source: String,
    time: Timestamp,
    detail: Value,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Warning {
    instance_id: InstanceId,
    instance_action: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct StateChange {
    instance_id: InstanceId,
    state: String,
}

// === impl Event ===

impl Event {
    /// Reads the body of a message.
    pub fn parse(body: &str) -> Result<Self, Unasked> {
        let value: Value = read(serde_json::from_str(body))?;
        match value.get("Message").and_then(Value::as_str) {
            Some(inner) if value["Type"] == "Notification" => {
                Self::of(read(serde_json::from_str(inner))?)
            }
            _ => Self::of(value),
        }
    }

    fn of(value: Value) -> Result<Self, Unasked> {
        if value["Event"] == "autoscaling:TEST_NOTIFICATION" {
            return Err(Unasked::AutoScalingTest);
        }
        // A hook may send to the queue itself, with no envelope.
        if value.get("LifecycleTransition").is_some() {
            return Err(Unasked::AutoScalingHook);
        }
        let envelope: Envelope = read(serde_json::from_value(value))?;
        let (kind, instances) = envelope.says()?;
        if instances.is_empty() {
            return Err(Unasked::NoInstance);
        }
        Ok(Self { id: envelope.id, at: envelope.time, instances, kind })
    }
}

// === impl Envelope ===

impl Envelope {
    fn says(&self) -> Result<(EventKind, Vec<InstanceId>), Unasked> {
        match (self.source.as_str(), self.detail_type.as_str()) {
            ("aws.ec2", "EC2 Spot Instance Interruption Warning") => {
                let warning: Warning = self.detail()?;
                let deadline = warning.deadline(self.time);
                Ok((EventKind::SpotInterruption { deadline }, vec![warning.instance_id]))
            }
            ("aws.ec2", "EC2 Capacity Reservation Instance Interruption Warning") => {
                let warning: Warning = self.detail()?;
                let deadline = warning.deadline(self.time);
                Ok((EventKind::ReservationInterruption { deadline }, vec![warning.instance_id]))
            }
            ("aws.ec2", "EC2 Instance Rebalance Recommendation") => {
                let warning: Warning = self.detail()?;
                Ok((EventKind::Rebalance, vec![warning.instance_id]))
            }
            ("aws.ec2", "EC2 Instance State-change Notification") => self.state_change(),
            ("aws.health", "AWS Health Event") => self.detail::<health::Detail>()?.says(),
            ("aws.autoscaling", hook) if hook.ends_with("Lifecycle Action") => {
                Err(Unasked::AutoScalingHook)
            }
            (source, detail_type) => Err(Unasked::Unknown {
                source_name: source.to_owned(),
                detail_type: detail_type.to_owned(),
            }),
        }
    }

    fn state_change(&self) -> Result<(EventKind, Vec<InstanceId>), Unasked> {
        let change: StateChange = self.detail()?;
        let ending = serde_json::from_value(Value::from(change.state.as_str()));
        let ending = ending.map_err(|_| Unasked::State(change.state))?;
        Ok((EventKind::Ending(ending), vec![change.instance_id]))
    }

    fn detail<T: DeserializeOwned>(&self) -> Result<T, Unasked> {
        read(T::deserialize(&self.detail))
    }
}

fn read<T>(result: Result<T, serde_json::Error>) -> Result<T, Unasked> {
    result.map_err(|error| Unasked::Malformed(error.to_string()))
}

// === impl Warning ===

impl Warning {
    /// Hibernation begins with its notice, and leaves no time.
    fn deadline(&self, sent_at: Timestamp) -> Timestamp {
        match self.instance_action.as_deref() {
            Some("hibernate") => sent_at,
            _ => LEAD.after(sent_at),
        }
    }
}

// === impl EventKind ===

impl EventKind {
    /// The notice that it puts on each of its nodes. None for the end of a planned change, which withdraws one, and none
    /// for a machine on its way out: whether that is news depends on who sent it there.
    pub const fn notice(self) -> Option<NoticeKind> {
        match self {
            Self::SpotInterruption { deadline } | Self::ReservationInterruption { deadline } => {
                Some(NoticeKind::Interruption { deadline })
            }
            Self::Rebalance => Some(NoticeKind::Rebalance),
            Self::ScheduledChange { deadline } => Some(NoticeKind::Maintenance { deadline }),
            Self::ScheduledChangeOver | Self::Ending(_) => None,
        }
    }

    /// The name for a metric label.
    pub const fn kind(self) -> &'static str {
        match self {
            Self::SpotInterruption { .. } => "spot-interruption",
            Self::ReservationInterruption { .. } => "reservation-interruption",
            Self::Rebalance => "rebalance",
            Self::ScheduledChange { .. } => "scheduled-change",
            Self::ScheduledChangeOver => "scheduled-change-over",
            Self::Ending(Ending::Stopping) => "stopping",
            Self::Ending(Ending::Stopped) => "stopped",
            Self::Ending(Ending::ShuttingDown) => "shutting-down",
            Self::Ending(Ending::Terminated) => "terminated",
        }
    }
}

// === impl Unasked ===

impl Unasked {
    /// The name for a metric label.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Malformed(_) => "malformed",
            Self::Unknown { .. } => "unknown",
            Self::State(_) => "state",
            Self::NothingPlanned(_) => "nothing-planned",
            Self::AutoScalingHook => "auto-scaling-hook",
            Self::AutoScalingTest => "auto-scaling-test",
            Self::NoInstance => "no-instance",
        }
    }
}
