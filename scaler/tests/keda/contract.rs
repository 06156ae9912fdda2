//! What the unary calls answer.
#![allow(clippy::float_cmp, reason = "whole numbers pass through unchanged")]

use http::uri::PathAndQuery;
use spotscale_proto::externalscaler::{GetMetricsRequest, ScaledObjectRef};
use spotscale_scaler::keda::METRIC_NAME;
use tonic::{Code, Request, client::Grpc};
use tonic_prost::ProstCodec;

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

/// The replies as KEDA knew them before 2.17.
mod old {
    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct Metrics {
        #[prost(message, repeated, tag = "1")]
        pub(super) values: Vec<Named>,
    }

    /// Of a `MetricSpec` as of a `MetricValue`: both had a name and an integer.
    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct Named {
        #[prost(string, tag = "1")]
        pub(super) name: String,
        #[prost(int64, tag = "2")]
        pub(super) int: i64,
    }
}

#[tokio::test]
async fn checklist_03_an_old_client_that_knows_only_integers_reads_the_same_numbers() {
    let server = Server::start().await;
    let (mut keda, mut front) = (server.keda().await, server.front("a").await);
    let resnet = trigger("resnet", &[("maxReplicas", "7")]);
    front.says(vec![demand("resnet", 1_000_000, 0)]).await;
    until_desired(&mut keda, &resnet, |value| value == 7.0).await;
    let metric_name = METRIC_NAME.to_owned();
    let ask = GetMetricsRequest { scaled_object_ref: Some(resnet.clone()), metric_name };
    let mut old = Grpc::new(server.channel().await);
    old.ready().await.unwrap();
    let path = PathAndQuery::from_static("/externalscaler.ExternalScaler/GetMetrics");
    let codec = ProstCodec::<GetMetricsRequest, old::Metrics>::default();
    let values = old.unary(Request::new(ask), path, codec).await.unwrap().into_inner().values;
    let path = PathAndQuery::from_static("/externalscaler.ExternalScaler/GetMetricSpec");
    let codec = ProstCodec::<ScaledObjectRef, old::Metrics>::default();
    old.ready().await.unwrap();
    let specs = old.unary(Request::new(resnet), path, codec).await.unwrap().into_inner().values;
    let named = |int| vec![old::Named { name: METRIC_NAME.to_owned(), int }];
    assert_eq!((values, specs), (named(7), named(1)));
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
