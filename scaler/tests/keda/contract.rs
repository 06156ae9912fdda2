//! What the unary calls answer.
#![allow(clippy::float_cmp, reason = "whole numbers pass through unchanged")]

use std::time::Duration;

use spotscale_proto::externalscaler::GetMetricsRequest;
use spotscale_scaler::keda::{METRIC_NAME, SNAPSHOT_HEADER};
use tonic::Code;

use crate::harness::*;

#[tokio::test]
async fn checklist_01_spec_and_metrics_agree_on_a_valid_and_stable_name() {
    let server = Server::start().await;
    let (mut keda, mut front) = (server.keda().await, server.front("a").await);
    let resnet = trigger("resnet", &[]);
    front.says(vec![demand("resnet", 1, 0)]).await;
    until_desired(&mut keda, &resnet, |value| value >= 1.0).await;
    let mut names = Vec::new();
    for _ in 0..3 {
        let specs = keda.get_metric_spec(resnet.clone()).await.unwrap().into_inner().metric_specs;
        names.extend(specs.into_iter().map(|spec| spec.metric_name));
    }
    assert_eq!(names, [METRIC_NAME; 3]);
    assert!(METRIC_NAME.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._".contains(&b)));
    assert!(!METRIC_NAME.starts_with("s0-"), "KEDA adds the index itself");
}

#[tokio::test]
async fn checklist_02_an_unknown_metric_is_an_invalid_argument() {
    let server = Server::start().await;
    let mut keda = server.keda().await;
    for wrong in ["", "s0-spotscale-desired-replicas", "queue"] {
        let request = GetMetricsRequest {
            scaled_object_ref: Some(trigger("resnet", &[])),
            metric_name: wrong.to_owned(),
        };
        let refused = keda.get_metrics(request).await.unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument);
        assert!(refused.message().contains(METRIC_NAME), "{refused}");
    }
    let nobody = GetMetricsRequest { scaled_object_ref: None, metric_name: METRIC_NAME.to_owned() };
    assert_eq!(keda.get_metrics(nobody).await.unwrap_err().code(), Code::InvalidArgument);
}

#[tokio::test]
async fn checklist_03_and_04_values_and_targets_are_whole_and_capped() {
    let server = Server::start().await;
    let (mut keda, mut front) = (server.keda().await, server.front("a").await);
    let flooded = trigger("flooded", &[("maxReplicas", "7")]);
    let idle = trigger("idle", &[]);
    front.says(vec![demand("flooded", u64::MAX, 0), demand("idle", 0, 0)]).await;
    until_desired(&mut keda, &flooded, |value| value == 7.0).await;
    let request =
        |of| GetMetricsRequest { scaled_object_ref: Some(of), metric_name: METRIC_NAME.to_owned() };
    for (of, wanted) in [(flooded.clone(), 7), (idle, 0)] {
        let values = keda.get_metrics(request(of)).await.unwrap().into_inner().metric_values;
        assert_eq!(values.len(), 1);
        assert_eq!((values[0].metric_value, values[0].metric_value_float), (wanted, wanted as f64));
    }
    let specs = keda.get_metric_spec(flooded).await.unwrap().into_inner().metric_specs;
    assert_eq!((specs[0].target_size, specs[0].target_size_float), (1, 1.0));
}

#[tokio::test]
async fn checklist_05_an_unknown_demand_is_unavailable_and_never_zero() {
    let server = Server::start().await;
    let mut keda = server.keda().await;
    let silent = trigger("silent", &[]);
    assert_eq!(desired(&mut keda, &silent).await.unwrap_err().code(), Code::Unavailable);
    assert_eq!(keda.is_active(silent.clone()).await.unwrap_err().code(), Code::Unavailable);
    let specs = keda.get_metric_spec(silent).await.unwrap().into_inner().metric_specs;
    assert_eq!(specs.len(), 1, "the HPA can be built before a front reports");
}

#[tokio::test]
async fn checklist_07_both_calls_read_one_snapshot() {
    let server = Server::start().await;
    let (mut keda, mut front) = (server.keda().await, server.front("a").await);
    let resnet = trigger("resnet", &[("idleAfterSeconds", "1"), ("shrinkWindowSeconds", "1")]);
    front.says(vec![demand("resnet", 0, 0)]).await;
    until_desired(&mut keda, &resnet, |value| value == 0.0).await;
    let changes = tokio::spawn(async move {
        for round in 0.. {
            front.says(vec![demand("resnet", round % 40, 0)]).await;
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    });
    let (mut pairs, mut seen) = (0, std::collections::BTreeSet::new());
    let metrics = GetMetricsRequest {
        scaled_object_ref: Some(resnet.clone()),
        metric_name: METRIC_NAME.to_owned(),
    };
    for _ in 0..2_000 {
        let value = keda.get_metrics(metrics.clone()).await.unwrap();
        let active = keda.is_active(resnet.clone()).await.unwrap();
        let snapshot = value.metadata().get(SNAPSHOT_HEADER).unwrap().clone();
        if active.metadata().get(SNAPSHOT_HEADER) == Some(&snapshot) {
            let desired = value.into_inner().metric_values[0].metric_value;
            assert_eq!(active.into_inner().result, desired > 0, "snapshot {snapshot:?}");
            pairs += 1;
            seen.insert(snapshot.to_str().unwrap().to_owned());
        }
    }
    changes.abort();
    assert!(pairs > 100 && seen.len() > 10, "{pairs} pairs over {} snapshots", seen.len());
}

#[tokio::test]
async fn checklist_14_two_replicas_give_the_same_answer() {
    let (one, other) = (Server::start().await, Server::start().await);
    let resnet = trigger("resnet", &[]);
    for server in [&one, &other] {
        server.front("a").await.says(vec![demand("resnet", 1_000, 1)]).await;
    }
    let (mut first, mut second) = (one.keda().await, other.keda().await);
    until_desired(&mut first, &resnet, |value| value > 1.0).await;
    until_desired(&mut second, &resnet, |value| value > 1.0).await;
    let answers = (desired(&mut first, &resnet).await, desired(&mut second, &resnet).await);
    assert_eq!(answers.0.unwrap(), answers.1.unwrap());
}

#[tokio::test]
async fn a_stale_report_changes_nothing() {
    let server = Server::start().await;
    let (mut keda, mut front) = (server.keda().await, server.front("a").await);
    let resnet = trigger("resnet", &[("maxReplicas", "50")]);
    front.says(vec![demand("resnet", 2, 0)]).await;
    until_desired(&mut keda, &resnet, |value| value >= 1.0).await;
    let before = desired(&mut keda, &resnet).await.unwrap();
    front.again(vec![demand("resnet", 10_000, 0), demand("marker", 1, 0)]).await;
    until_desired(&mut keda, &trigger("marker", &[]), |value| value >= 1.0).await;
    assert_eq!(desired(&mut keda, &resnet).await.unwrap(), before);
}

#[tokio::test]
async fn a_report_that_cannot_be_is_refused() {
    let server = Server::start().await;
    let nan = |service: &str| spotscale_proto::demand::ServiceDemand {
        service_seconds_squared_total: f64::NAN,
        ..demand(service, 1, 0)
    };
    for (front, services) in [("", vec![]), ("a", vec![nan("x")]), ("a", vec![nan("")])] {
        let refused = server.front(front).await.only(services).await.unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument, "{refused}");
    }
}

#[tokio::test]
async fn a_full_table_refuses_what_is_new_and_answers_what_it_knows() {
    let mut config = config();
    config.limits.objects_max = 2;
    let server = Server::start_with(config).await;
    let mut keda = server.keda().await;
    for name in ["a", "b"] {
        keda.get_metric_spec(trigger(name, &[])).await.unwrap();
    }
    let refused = keda.get_metric_spec(trigger("c", &[])).await.unwrap_err();
    assert_eq!(refused.code(), Code::ResourceExhausted, "{refused}");
    keda.get_metric_spec(trigger("a", &[])).await.unwrap();
}
