//! AWS Health's events: planned restarts and retirements of machines, and their end.

use jiff::{Timestamp, fmt::rfc2822};
use serde::Deserialize;
use spotscale_decide::units::InstanceId;

use super::{EventKind, Unasked};

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Detail {
    service: String,
    event_type_category: String,
    event_type_code: Option<String>,
    status_code: Option<String>,
    start_time: Option<String>,
    #[serde(default)]
    affected_entities: Vec<Entity>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Entity {
    entity_value: String,
}

impl Detail {
    pub(super) fn says(self) -> Result<(EventKind, Vec<InstanceId>), Unasked> {
        if self.service != "EC2" || self.event_type_category != "scheduledChange" {
            let code = self.event_type_code.unwrap_or(self.event_type_category);
            return Err(Unasked::NothingPlanned(code));
        }
        let kind = match self.status_code.as_deref() {
            Some("closed" | "completed") => EventKind::ScheduledChangeOver,
            _ => EventKind::ScheduledChange { deadline: self.starts_at()? },
        };
        // A change may be of volumes or addresses as well; those are nobody's node.
        let entities = self.affected_entities.into_iter().map(|entity| entity.entity_value);
        let machines = entities.filter(|entity| entity.starts_with("i-"));
        Ok((kind, machines.filter_map(|machine| machine.parse().ok()).collect()))
    }

    /// Documented as in `Sat, 05 Jun 2021 15:10:09 GMT`; the RFC 3339 form of the other events is taken as well.
    fn starts_at(&self) -> Result<Timestamp, Unasked> {
        let text = self.start_time.as_deref().unwrap_or_default();
        let spelled = rfc2822::parse(text).map(|time| time.timestamp());
        spelled.or_else(|_| text.parse()).map_err(|_: jiff::Error| {
            Unasked::Malformed(format!("the start {text:?} of a planned change is no time"))
        })
    }
}
