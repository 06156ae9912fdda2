//! What EventBridge puts into a queue, in the shape that AWS documents.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::{ACCOUNT, REGION};

/// The two minutes' notice of a spot instance. It ends two minutes after `time`.
pub fn spot_interruption(instance: &str, zone: &str, time: Timestamp) -> String {
    let detail = json!({ "instance-id": instance, "instance-action": "terminate" });
    let kind = "EC2 Spot Instance Interruption Warning";
    event(kind, time, &by_zone(instance, zone), &detail)
}

/// The recommendation to leave an instance that is at risk.
pub fn rebalance(instance: &str, zone: &str, time: Timestamp) -> String {
    let kind = "EC2 Instance Rebalance Recommendation";
    event(kind, time, &by_zone(instance, zone), &json!({ "instance-id": instance }))
}

/// That an instance has come to a state, for example `stopping`.
pub fn state_change(instance: &str, state: &str, time: Timestamp) -> String {
    let resource = format!("arn:aws:ec2:{REGION}:{ACCOUNT}:instance/{instance}");
    let detail = json!({ "instance-id": instance, "state": state });
    event("EC2 Instance State-change Notification", time, &resource, &detail)
}

/// A planned change of an instance that begins at `start`: `status` is `upcoming`, or `closed` when it is over or was
/// called off.
pub fn maintenance(instance: &str, status: &str, start: Timestamp, time: Timestamp) -> String {
    let detail = json!({
        "service": "EC2", "eventTypeCategory": "scheduledChange",
        "eventTypeCode": "AWS_EC2_SYSTEM_REBOOT_MAINTENANCE_SCHEDULED", "statusCode": status,
        "startTime": start.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string(),
        "affectedEntities": [{ "entityValue": instance }],
    });
    of("aws.health", "AWS Health Event", time, instance, &detail)
}

/// These two name the zone where others have region and account.
fn by_zone(instance: &str, zone: &str) -> String {
    format!("arn:aws:ec2:{zone}:instance/{instance}")
}

fn event(kind: &str, time: Timestamp, resource: &str, detail: &Value) -> String {
    of("aws.ec2", kind, time, resource, detail)
}

fn of(source: &str, kind: &str, time: Timestamp, resource: &str, detail: &Value) -> String {
    let id = format!("{:032x}", fastrand::u128(..));
    json!({
        "version": "0", "id": id, "detail-type": kind, "source": source, "account": ACCOUNT,
        "time": time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string(), "region": REGION,
        "resources": [resource], "detail": detail,
    })
    .to_string()
}
