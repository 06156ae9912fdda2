//! What a trigger's metadata may say.

use spotscale_scaler::keda::NamedQuery;
use tonic::{Code, Status};

use crate::harness::*;

/// What every call says to this metadata; they must agree.
async fn refusal(metadata: &[(&str, &str)]) -> Status {
    let server = Server::start().await;
    let mut keda = server.keda().await;
    let wrong = trigger("resnet", metadata);
    let refusals = [
        keda.is_active(wrong.clone()).await.unwrap_err(),
        keda.get_metric_spec(wrong.clone()).await.unwrap_err(),
        keda.stream_is_active(wrong.clone()).await.map(drop).unwrap_err(),
        keda.stream_metric_spec(wrong.clone()).await.map(drop).unwrap_err(),
        desired(&mut keda, &wrong).await.unwrap_err(),
    ];
    for refusal in &refusals {
        assert_eq!(refusal.code(), Code::InvalidArgument, "{refusal}");
        assert_eq!(refusal.message(), refusals[0].message());
    }
    let [first, ..] = refusals;
    first
}

#[tokio::test]
async fn checklist_05_a_wrong_value_names_its_key_and_what_is_allowed() {
    for (key, value, allowed) in [
        ("sloMs", "fast", "from 1 to 3600000"),
        ("sloMs", "0", "from 1 to 3600000"),
        ("sloQuantile", "NaN", "from 0.5 to 0.999"),
        ("maxReplicas", "-1", "from 1 to 100000"),
        ("concurrency", "1.5", "from 1 to 10000"),
        ("serviceTimeMs", "inf", "from 0.01 to 3600000"),
        ("idleAfterSeconds", "", "from 1 to 86400"),
        ("service", "two words", "visible ASCII"),
        ("onDemandUsdPerHour", "$0.5", "such as 0.526"),
    ] {
        let refused = refusal(&[(key, value)]).await;
        let message = refused.message();
        assert!(message.contains(key) && message.contains(allowed), "{key}={value}: {message}");
    }
}

#[tokio::test]
async fn checklist_05_an_unknown_key_of_ours_is_refused_with_a_hint() {
    let misspelt = refusal(&[("sloMS", "500")]).await;
    assert!(misspelt.message().contains("did you mean sloMs?"), "{misspelt}");
    let foreign = refusal(&[("zzz", "1")]).await;
    assert!(foreign.message().contains("known keys: service,"), "{foreign}");
}

#[tokio::test]
async fn values_that_contradict_each_other_are_refused() {
    let floor = refusal(&[("minReplicas", "9"), ("maxReplicas", "3")]).await;
    assert!(floor.message().contains("min must be at most max"), "{floor}");
    let alone = refusal(&[("gpuQuery", "up")]).await;
    assert!(alone.message().contains("--prometheus-url"), "{alone}");
}

#[tokio::test]
async fn an_unknown_query_is_refused_with_the_known_ones() {
    let mut config = config();
    config.prometheus.url = Some("http://127.0.0.1:9".to_owned());
    let named = |name: &str| NamedQuery { name: name.to_owned(), promql: "up".to_owned() };
    config.prometheus.queries = vec![named("dcgm")];
    let server = Server::start_with(config).await;
    let mut keda = server.keda().await;
    let known = trigger("resnet", &[("gpuQueryRef", "dcgm")]);
    keda.get_metric_spec(known).await.unwrap();
    let wrong = trigger("resnet", &[("gpuQueryRef", "nvml")]);
    let refused = keda.get_metric_spec(wrong).await.unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument);
    assert!(refused.message().contains("dcgm"), "{refused}");
}

#[tokio::test]
async fn keys_of_kedas_own_are_let_through() {
    let server = Server::start().await;
    let mut keda = server.keda().await;
    let kedas = trigger(
        "resnet",
        &[
            ("scalerAddress", "spotscale:6000"),
            ("enableTLS", "true"),
            ("unsafeSsl", "false"),
            ("tlsClientCert", "pem"),
            ("caCert", "pem"),
            ("tokenFromEnv", "secret"),
        ],
    );
    keda.get_metric_spec(kedas).await.unwrap();
}

#[tokio::test]
async fn a_value_from_the_targets_environment_counts() {
    let server = Server::start().await;
    let (mut keda, mut front) = (server.keda().await, server.front("a").await);
    front.says(vec![demand("other", 1, 0)]).await;
    let resnet = trigger("resnet", &[("serviceFromEnv", "ns/other"), ("minReplicas", "3")]);
    until_desired(&mut keda, &resnet, |value| value >= 3.0).await;
}
