//! The admin port.

use spotscale_scaler::keda::{Config, NamedQuery};

use crate::harness::*;

/// Spoils the settings, with a query at hand.
type Fault = fn(&mut Config, &NamedQuery);

#[tokio::test]
async fn the_explanation_shows_signals_with_ages_the_decision_and_its_reasons() {
    let server = Server::start().await;
    let (mut keda, mut front) = (server.keda().await, server.front("a").await);
    front.says(vec![demand("resnet", 3, 0)]).await;
    let resnet = trigger("resnet", &[("sloMs", "750")]);
    until_desired(&mut keda, &resnet, |value| value >= 1.0).await;
    let page = explanation(&server).await;
    let object = &page["objects"][0];
    assert_eq!((&object["namespace"], &object["name"]), (&"ns".into(), &"resnet".into()));
    assert_eq!(object["trigger"]["policy"]["promise"]["slo"], 750);
    assert_eq!(object["snapshot"]["signals"]["demand"]["value"]["held"], 3);
    assert!(object["ages_ms"]["demand"].is_u64(), "{object}");
    let desired = object["snapshot"]["decision"]["scale"]["desired"].as_u64().unwrap();
    assert!(desired >= 1);
    assert_eq!(object["memory"]["desired"], desired);
    let because = object["because"].as_array().unwrap();
    assert!(!because.is_empty() && because.iter().all(serde_json::Value::is_string));
    assert_eq!(page["services"]["ns/resnet"], 1);
}

#[tokio::test]
async fn the_explanation_tells_when_the_hpas_dead_band_swallows_a_step() {
    let server = Server::start().await;
    let (mut keda, mut front) = (server.keda().await, server.front("a").await);
    front.says(vec![demand("ten", 0, 10), demand("nine", 0, 9)]).await;
    for (name, min) in [("ten", "11"), ("nine", "10")] {
        until_desired(&mut keda, &trigger(name, &[("minReplicas", min)]), |value| value >= 10.0)
            .await;
    }
    let page = explanation(&server).await;
    let told = |name: &str| {
        let mut objects = page["objects"].as_array().unwrap().iter();
        let object = objects.find(|object| object["name"] == name).unwrap();
        let because = object["because"].as_array().unwrap().iter();
        because.filter(|one| one.as_str().unwrap().contains("dead band")).collect::<Vec<_>>()
    };
    let sentence = "11 is within 10 % of 10: held back by the HPA dead band unless tolerance is 0";
    assert_eq!(told("ten"), [sentence]);
    assert!(told("nine").is_empty());
}

#[tokio::test]
async fn metrics_count_calls_decisions_pushes_streams_and_members() {
    let server = Server::start().await;
    let (mut keda, mut front) = (server.keda().await, server.front("a").await);
    let resnet = trigger("resnet", &[]);
    let mut stream = keda.stream_is_active(resnet.clone()).await.unwrap().into_inner();
    front.says(vec![demand("resnet", 1, 0)]).await;
    pushed(&mut stream, PATIENCE).await.unwrap();
    desired(&mut keda, &resnet).await.unwrap();
    keda.is_active(trigger("resnet", &[("nonsense", "1")])).await.unwrap_err();
    let text = get(server.addresses.admin, "/metrics").await.1;
    for line in [
        r#"spotscale_scaler_calls_total{method="GetMetrics",code="OK"} 1"#,
        r#"spotscale_scaler_calls_total{method="IsActive",code="INVALID_ARGUMENT"} 1"#,
        r#"spotscale_scaler_call_seconds_count{method="GetMetrics"} 1"#,
        r#"spotscale_scaler_streams{method="StreamIsActive"} 1"#,
        r#"spotscale_scaler_streams{method="Report"} 1"#,
        r#"spotscale_scaler_push_messages_total{reason="edge"} 1"#,
        r#"spotscale_scaler_demand_reports_total{outcome="accepted"} 1"#,
        r#"spotscale_scaler_fronts{service="ns/resnet"} 1"#,
        "spotscale_scaler_decisions_total{reason=",
        r#"desired_replicas{namespace="ns",scaled_object="resnet",service="ns/resnet"}"#,
        "spotscale_scaler_signal_age_seconds{",
        "spotscale_scaler_objects 1",
    ] {
        assert!(text.contains(line), "{line} is missing in\n{text}");
    }
    drop(stream);
    until_metric(&server, r#"spotscale_scaler_streams{method="StreamIsActive"} 0"#).await;
}

#[tokio::test]
async fn readiness_turns_with_shutdown() {
    let server = Server::start().await;
    assert_eq!(get(server.addresses.admin, "/readyz").await.0, 200);
    assert_eq!(get(server.addresses.admin, "/healthz").await.0, 200);
    let mut keda = server.keda().await;
    keda.get_metric_spec(trigger("resnet", &[])).await.unwrap();
    server.shutdown.cancel();
    let (code, why) = get(server.addresses.admin, "/readyz").await;
    assert_eq!((code, why.as_str()), (503, "draining\n"));
}

#[test]
fn settings_that_cannot_work_are_named() {
    let query = NamedQuery { name: "dcgm".to_owned(), promql: "up".to_owned() };
    let wrong: [(&str, Fault); 5] = [
        ("--tls-cert and --tls-key", |config, _| config.tls.cert = Some("a.pem".into())),
        ("--tls-client-ca needs", |config, _| config.tls.client_ca = Some("ca.pem".into())),
        ("--streams-max must be", |config, _| config.limits.streams_max = 0),
        ("no --prometheus-url", |config, query| config.prometheus.queries = vec![query.clone()]),
        ("--prometheus-url: ", |config, _| config.prometheus.url = Some("not a url".to_owned())),
    ];
    for (said, break_it) in wrong {
        let mut config = config();
        break_it(&mut config, &query);
        let error = config.validate().unwrap_err().to_string();
        assert!(error.contains(said) && !error.contains('\n'), "{error}");
    }
}

#[test]
fn the_logged_settings_hold_no_password() {
    let mut config = config();
    config.prometheus.url = Some("https://me:secret@prometheus:9090".to_owned());
    let logged = serde_json::to_string(&config).unwrap();
    assert!(!logged.contains("secret") && logged.contains("@prometheus:9090"), "{logged}");
}
