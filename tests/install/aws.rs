//! What the examples set up in AWS: what a linter says, the rights that the program's calls take, and the events that get
//! through to the queue, by moto.

use std::{
    collections::BTreeSet,
    io::Write as _,
    path::Path,
    process::{Command, Stdio},
};

use serde_json::{Value, json};
use spotscale_autoscaler::{Event, EventKind};
use spotscale_test_cluster::parts::part;

use crate::render::{file, source};

const TEMPLATE: &str = "manifests/examples/aws/spotscale.cloudformation.yaml";

#[test]
fn the_linter_of_cloudformation_finds_nothing() {
    let linter = part("SPOTSCALE_PYTHON").with_file_name("cfn-lint");
    let output = Command::new(linter).arg("--template").arg(source(TEMPLATE)).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
}

/// What of these events gets into the queue, as bodies of messages.
fn through_the_queue(events: &[Value]) -> Vec<String> {
    let mut command = Command::new(part("SPOTSCALE_PYTHON"));
    command.arg(source("tests/install/stack.py")).arg(source(TEMPLATE));
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut input = child.stdin.take().unwrap();
    for event in events {
        writeln!(input, "{event}").unwrap();
    }
    drop(input);
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success());
    String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect()
}

fn of_ec2(detail_type: &str, key: &str, value: &str) -> Value {
    let detail = json!({ "instance-id": "i-0123456789abcdef0", key: value });
    json!({ "source": "aws.ec2", "detail-type": detail_type, "detail": detail })
}

fn of_health(service: &str, category: &str) -> Value {
    let detail = json!({
        "service": service, "eventTypeCategory": category, "statusCode": "upcoming",
        "startTime": "Tue, 24 Nov 2026 10:00:00 GMT",
        "affectedEntities": [{ "entityValue": "i-0123456789abcdef0" }],
    });
    json!({ "source": "aws.health", "detail-type": "AWS Health Event", "detail": detail })
}

#[test]
fn what_the_daemon_understands_gets_into_the_queue_and_nothing_else() {
    const STATE: &str = "EC2 Instance State-change Notification";
    const LENT: &str = "EC2 Capacity Reservation Instance Interruption Warning";
    let asked = [
        of_ec2("EC2 Spot Instance Interruption Warning", "instance-action", "terminate"),
        of_ec2("EC2 Instance Rebalance Recommendation", "note", "none"),
        of_ec2(LENT, "instance-action", "terminate"),
        of_ec2(STATE, "state", "stopping"),
        of_ec2(STATE, "state", "stopped"),
        of_ec2(STATE, "state", "shutting-down"),
        of_ec2(STATE, "state", "terminated"),
        of_health("EC2", "scheduledChange"),
    ];
    let unasked = [
        of_ec2(STATE, "state", "pending"),
        of_ec2(STATE, "state", "running"),
        of_ec2("EC2 Spot Instance Request Fulfillment", "note", "none"),
        of_health("EC2", "accountNotification"),
        of_health("RDS", "scheduledChange"),
    ];
    let bodies = through_the_queue(&[asked.as_slice(), &unasked].concat());
    let events: Result<Vec<_>, _> = bodies.iter().map(|body| Event::parse(body)).collect();
    let kinds: Vec<_> = events.unwrap().into_iter().map(|event| event.kind).collect();
    assert_eq!(kinds.len(), asked.len(), "{bodies:#?}");
    let count = |is: fn(&EventKind) -> bool| kinds.iter().filter(|kind| is(kind)).count();
    assert_eq!(count(|kind| matches!(kind, EventKind::SpotInterruption { .. })), 1);
    assert_eq!(count(|kind| matches!(kind, EventKind::ReservationInterruption { .. })), 1);
    assert_eq!(count(|kind| matches!(kind, EventKind::Rebalance)), 1);
    assert_eq!(count(|kind| matches!(kind, EventKind::ScheduledChange { .. })), 1);
    assert_eq!(count(|kind| matches!(kind, EventKind::Ending(_))), 4);
}

/// The actions that statements allow.
fn actions(statements: &Value) -> BTreeSet<String> {
    let statements = statements.as_array().unwrap().iter();
    let actions = statements.flat_map(|one| one["Action"].as_array().unwrap());
    actions.map(|action| action.as_str().unwrap().to_owned()).collect()
}

/// The calls of the SDK in the source, as IAM names them: `.describe_instances()` is `DescribeInstances`.
fn calls(folder: &Path) -> BTreeSet<String> {
    let mut calls = BTreeSet::new();
    for entry in folder.read_dir().unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            calls.extend(self::calls(&path));
            continue;
        }
        let text = std::fs::read_to_string(path).unwrap();
        let called = text.split("()").filter_map(|before| before.rsplit('.').next());
        let is_call = |name: &&str| {
            let verb = name.split('_').next().unwrap_or_default();
            ["describe", "get", "receive", "delete", "change", "send", "list"].contains(&verb)
                && name.contains('_')
                && name.chars().all(|letter| letter.is_ascii_lowercase() || letter == '_')
        };
        calls.extend(called.filter(is_call).map(pascal));
    }
    calls
}

/// Batches need no right of their own.
fn pascal(name: &str) -> String {
    let name = name.strip_suffix("_batch").unwrap_or(name);
    name.split('_').map(|word| word[..1].to_uppercase() + &word[1..]).collect()
}

#[test]
fn the_policies_allow_the_calls_that_are_made_and_no_others() {
    let text = std::fs::read_to_string(source("manifests/examples/aws/iam-policy.json")).unwrap();
    let policy: Value = serde_json::from_str(&text).unwrap();
    let allowed = actions(&policy["Statement"]);
    let names = |action: &String| action.split_once(':').unwrap().1.to_owned();
    let called = calls(&source("autoscaler/aws/src"));
    assert_eq!(allowed.iter().map(names).collect::<BTreeSet<_>>(), called);
    let role = "/Resources/Role/Properties/Policies/0/PolicyDocument/Statement";
    assert_eq!(actions(file(TEMPLATE)[0].at(role)), allowed);
}
