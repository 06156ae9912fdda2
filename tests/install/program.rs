//! The program understands what the chart and the examples tell it: flags, and the metadata of triggers.

use std::{
    collections::BTreeMap,
    process::{Output, Stdio},
};

use spotscale_proto::externalscaler::{
    ScaledObjectRef, external_scaler_client::ExternalScalerClient,
};
use spotscale_test_cluster::role::{announced, role};
use tokio::process::{Child, Command};
use tonic::transport::Channel;

use crate::{
    object::{Object, find, of_kind},
    render::{examples, file, render},
};

/// The program with the arguments of a Deployment, on free ports of loopback and without our environment.
pub(crate) fn command(deployment: &Object) -> Command {
    let mut command = role(env!("CARGO_BIN_EXE_spotscale"));
    for arg in deployment.args() {
        match arg.split_once('=') {
            Some((flag, _)) if flag.ends_with("listen") => {
                command.arg(format!("{flag}=127.0.0.1:0"))
            }
            _ => command.arg(arg),
        };
    }
    command
}

/// A running scaler of the chart, and a client for it.
pub(crate) async fn scaler(objects: &[Object]) -> (Child, ExternalScalerClient<Channel>) {
    let mut command = command(find(objects, "Deployment", "spotscale-scaler"));
    command.stderr(Stdio::piped());
    let (child, listening) = announced(command).await;
    let Some(listening) = listening else {
        let Output { stderr, .. } = child.wait_with_output().await.unwrap();
        panic!("it ended: {}", String::from_utf8_lossy(&stderr));
    };
    let address = format!("http://{}", listening["grpc"].as_str().unwrap());
    (child, ExternalScalerClient::connect(address).await.unwrap())
}

/// Asserts that a scaler takes a trigger.
pub(crate) async fn accepts(scaler: &mut ExternalScalerClient<Channel>, trigger: ScaledObjectRef) {
    let name = trigger.name.clone();
    let specs = scaler.get_metric_spec(trigger).await;
    let specs = specs.unwrap_or_else(|status| panic!("{name}: {status}"));
    assert!((specs.into_inner().metric_specs[0].target_size_float - 1.0).abs() < 1e-9);
}

/// The trigger of each ScaledObject of ours, as KEDA hands it on.
pub(crate) fn triggers(objects: &[Object]) -> Vec<ScaledObjectRef> {
    let ours = |object: &Object| {
        let mut triggers = object.items("/spec/triggers");
        triggers.retain(|trigger| trigger.text("/type") == "external-push");
        assert_eq!(triggers.len(), 1, "{}", object.name());
        ScaledObjectRef {
            name: object.name().to_owned(),
            namespace: object.text("/metadata/namespace").to_owned(),
            scaler_metadata: triggers[0].strings("/metadata").into_iter().collect(),
        }
    };
    of_kind(objects, "ScaledObject").map(ours).collect()
}

#[tokio::test]
async fn the_scaler_takes_its_flags_and_the_trigger_of_the_model() {
    let objects = render(&[
        "log=info,prometheus.url=http://127.0.0.1:9",
        "prometheus.queries.gpu=avg(gpu)",
        "prometheus.queries.usd-per-hour=avg(\nprice)",
        "model.trigger.gpuQueryRef=gpu,model.trigger.priceQueryRef=usd-per-hour",
        "model.trigger.onDemandUsdPerHour=1.006",
    ]);
    let (_running, mut scaler) = scaler(&objects).await;
    let mut wrong = triggers(&objects).remove(0);
    accepts(&mut scaler, wrong.clone()).await;
    wrong.scaler_metadata.insert("sloMS".to_owned(), "250".to_owned());
    assert!(scaler.get_metric_spec(wrong).await.is_err(), "it takes anything");
}

#[tokio::test]
async fn the_model_server_takes_its_flags_and_misses_only_the_model() {
    let mut deployments = render(&[]);
    deployments.extend(render(&["model.gpuResource=nvidia.com/gpu"]));
    deployments.extend(examples().iter().flat_map(|path| file(path)));
    let models: Vec<_> = of_kind(&deployments, "Deployment")
        .filter(|one| one.args().first().is_some_and(|role| role == "inference"))
        .collect();
    assert!(models.len() >= 4, "{}", models.len());
    for model in models {
        let output = command(model).output().await.unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{}: {said}", model.name());
        assert!(said.contains("cannot read /models/"), "{}: {said}", model.name());
    }
}

#[test]
fn the_bounds_of_keda_and_of_the_scaler_are_the_same() {
    let mut objects = render(&["model.minReplicas=2,model.maxReplicas=7"]);
    objects.extend(examples().iter().flat_map(|path| file(path)));
    for object in of_kind(&objects, "ScaledObject") {
        let metadata: BTreeMap<String, String> =
            triggers(std::slice::from_ref(object)).remove(0).scaler_metadata.into_iter().collect();
        for (key, pointer, default) in [
            ("minReplicas", "/spec/minReplicaCount", "0"),
            ("maxReplicas", "/spec/maxReplicaCount", "20"),
        ] {
            let told = metadata.get(key).map_or(default, String::as_str);
            assert_eq!(told, object.at(pointer).to_string(), "{} {key}", object.name());
        }
    }
}
