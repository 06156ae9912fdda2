use serde_json::json;
use spotscale_decide::cluster::NoticeKind;

use super::*;

const SENT: &str = "2026-03-04T05:06:07Z";

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

/// An event as EventBridge wraps it. The ARN names another machine, so that reading it would be noticed.
fn event(source: &str, detail_type: &str, detail: &Value) -> Value {
    json!({
        "version": "0",
        "id": "6a1e5c3b-0000-4000-8000-000000000001",
        "detail-type": detail_type,
        "source": source,
        "account": "123456789012",
        "time": SENT,
        "region": "us-east-1",
        "resources": ["arn:aws:ec2:us-east-1b:instance/i-0of0the0arn"],
        "detail": detail,
    })
}

fn ec2(detail_type: &str, detail: &Value) -> Value {
    event("aws.ec2", detail_type, detail)
}

fn warning(action: &str) -> Value {
    let detail = json!({"instance-id": "i-0a", "instance-action": action});
    ec2("EC2 Spot Instance Interruption Warning", &detail)
}

fn state(state: &str) -> Value {
    let detail = json!({"instance-id": "i-0a", "state": state});
    ec2("EC2 Instance State-change Notification", &detail)
}

fn health(changes: &Value) -> Value {
    let mut detail = json!({
        "eventArn": "arn:aws:health:us-east-1::event/EC2/AWS_EC2_INSTANCE_RETIREMENT_SCHEDULED/1",
        "service": "EC2",
        "eventTypeCode": "AWS_EC2_INSTANCE_RETIREMENT_SCHEDULED",
        "eventTypeCategory": "scheduledChange",
        "statusCode": "upcoming",
        "startTime": "Fri, 06 Mar 2026 08:00:00 GMT",
        "affectedEntities": [
            {"entityValue": "i-0a"}, {"entityValue": "vol-0b"}, {"entityValue": "i-0c"}
        ],
    });
    let (into, from) = (detail.as_object_mut().unwrap(), changes.as_object().unwrap());
    into.extend(from.clone());
    event("aws.health", "AWS Health Event", &detail)
}

fn kind(event: &Value) -> EventKind {
    let event = Event::parse(&event.to_string()).unwrap();
    assert_eq!(event.instances, ["i-0a".parse().unwrap()]);
    event.kind
}

fn unasked(event: &Value) -> Unasked {
    Event::parse(&event.to_string()).unwrap_err()
}

#[test]
fn a_spot_warning_leaves_two_minutes() {
    let parsed = Event::parse(&warning("terminate").to_string()).unwrap();
    let deadline = at("2026-03-04T05:08:07Z");
    assert_eq!(
        parsed,
        Event {
            id: "6a1e5c3b-0000-4000-8000-000000000001".to_owned(),
            at: at(SENT),
            instances: vec!["i-0a".parse().unwrap()],
            kind: EventKind::SpotInterruption { deadline },
        }
    );
    assert_eq!(parsed.kind.notice(), Some(NoticeKind::Interruption { deadline }));
    assert_eq!(kind(&warning("stop")), EventKind::SpotInterruption { deadline });
    let at_once = EventKind::SpotInterruption { deadline: at(SENT) };
    assert_eq!(kind(&warning("hibernate")), at_once);
}

#[test]
fn every_kind_of_event_is_told_apart() {
    let detail = json!({"instance-id": "i-0a", "instance-action": "terminate"});
    let reserved = ec2("EC2 Capacity Reservation Instance Interruption Warning", &detail);
    let deadline = at("2026-03-04T05:08:07Z");
    assert_eq!(kind(&reserved), EventKind::ReservationInterruption { deadline });
    let detail = json!({"instance-id": "i-0a"});
    let rebalance = kind(&ec2("EC2 Instance Rebalance Recommendation", &detail));
    assert_eq!(rebalance, EventKind::Rebalance);
    assert_eq!(rebalance.notice(), Some(NoticeKind::Rebalance));
    for (name, ending) in [
        ("stopping", Ending::Stopping),
        ("stopped", Ending::Stopped),
        ("shutting-down", Ending::ShuttingDown),
        ("terminated", Ending::Terminated),
    ] {
        assert_eq!(kind(&state(name)), EventKind::Ending(ending));
        assert_eq!(kind(&state(name)).kind(), name);
        assert_eq!(kind(&state(name)).notice(), None);
    }
}

#[test]
fn a_planned_change_names_its_machines_and_may_be_called_off() {
    let parsed = |changes: &Value| Event::parse(&health(changes).to_string());
    let change = parsed(&json!({})).unwrap();
    let deadline = at("2026-03-06T08:00:00Z");
    assert_eq!(change.kind.notice(), Some(NoticeKind::Maintenance { deadline }));
    assert_eq!(change.instances, ["i-0a", "i-0c"].map(|id| id.parse().unwrap()));
    let rfc3339 = parsed(&json!({"startTime": "2026-03-06T08:00:00Z"})).unwrap();
    assert_eq!(rfc3339.kind, change.kind);
    for over in ["closed", "completed"] {
        // What is over need not say when it would have been.
        let over = parsed(&json!({"statusCode": over, "startTime": null})).unwrap();
        assert_eq!((over.kind, over.kind.notice()), (EventKind::ScheduledChangeOver, None));
    }
    let never = parsed(&json!({"startTime": "soon"})).unwrap_err();
    assert!(never.to_string().contains("\"soon\""), "{never}");
    let volumes = json!({"affectedEntities": [{"entityValue": "vol-0b"}]});
    assert_eq!(parsed(&volumes), Err(Unasked::NoInstance));
    let issue = json!({"eventTypeCategory": "issue"});
    let code = "AWS_EC2_INSTANCE_RETIREMENT_SCHEDULED".to_owned();
    assert_eq!(parsed(&issue), Err(Unasked::NothingPlanned(code.clone())));
    assert_eq!(parsed(&json!({"service": "RDS"})), Err(Unasked::NothingPlanned(code)));
}

#[test]
fn sns_may_wrap_an_event() {
    let wrapped = json!({
        "Type": "Notification",
        "MessageId": "6a1e5c3b-0000-4000-8000-000000000009",
        "TopicArn": "arn:aws:sns:us-east-1:123456789012:interruptions",
        "Message": warning("terminate").to_string(),
        "Timestamp": "2026-03-04T05:06:08.000Z",
    });
    assert_eq!(Event::parse(&wrapped.to_string()), Event::parse(&warning("terminate").to_string()));
    let of_text = json!({"Type": "Notification", "Message": "hello"});
    assert_eq!(unasked(&of_text).kind(), "malformed");
}

#[test]
fn what_asks_nothing_says_why() {
    let hook = json!({
        "LifecycleActionToken": "6a1e5c3b-0000-4000-8000-000000000002",
        "AutoScalingGroupName": "workers",
        "LifecycleHookName": "drain",
        "EC2InstanceId": "i-0a",
        "LifecycleTransition": "autoscaling:EC2_INSTANCE_TERMINATING",
    });
    let by_eventbridge = event("aws.autoscaling", "EC2 Instance-terminate Lifecycle Action", &hook);
    assert_eq!(unasked(&by_eventbridge), Unasked::AutoScalingHook);
    assert_eq!(unasked(&hook), Unasked::AutoScalingHook);
    let test = json!({
        "AccountId": "123456789012",
        "AutoScalingGroupName": "workers",
        "Service": "AWS Auto Scaling",
        "Event": "autoscaling:TEST_NOTIFICATION",
    });
    assert_eq!(unasked(&test), Unasked::AutoScalingTest);
    for calm in ["pending", "running", "on-fire"] {
        assert_eq!(unasked(&state(calm)), Unasked::State(calm.to_owned()));
    }
    let unknown = Unasked::Unknown {
        source_name: "aws.s3".to_owned(),
        detail_type: "EC2 Spot Instance Interruption Warning".to_owned(),
    };
    let elsewhere = warning("terminate").to_string().replace("aws.ec2", "aws.s3");
    assert_eq!(Event::parse(&elsewhere), Err(unknown));
}

#[test]
fn what_cannot_be_read_is_malformed_and_nothing_else() {
    let text = warning("terminate").to_string();
    for (from, to) in [
        ("}", ""),
        (SENT, "yesterday"),
        ("\"instance-id\"", "\"InstanceId\""),
        ("\"i-0a\"", "\"\""),
        ("\"detail\"", "\"details\""),
    ] {
        assert!(text.contains(from), "{from} is not in {text}");
        let broken = Event::parse(&text.replace(from, to)).unwrap_err();
        assert_eq!(broken.kind(), "malformed", "{from} as {to}");
    }
    for no_event in ["", "null", "[]", "7", "hello", "{}"] {
        assert_eq!(Event::parse(no_event).unwrap_err().kind(), "malformed", "{no_event:?}");
    }
}
