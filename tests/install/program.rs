//! The program understands what the chart and the examples tell it: flags, and the metadata of triggers.

use std::{
    collections::BTreeMap,
    process::{Output, Stdio},
};

use serde_json::Value;
use spotscale_proto::externalscaler::{
    ScaledObjectRef, external_scaler_client::ExternalScalerClient,
};
use tokio::{
    io::{AsyncBufReadExt as _, BufReader},
    process::{Child, Command},
};

use crate::{
    object::{Object, find, of_kind},
    render::{examples, file, render},
};

/// The program with the arguments of a Deployment, on free ports of loopback and without our environment.
pub(crate) fn command(deployment: &Object) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_spotscale"));
    for (name, _) in std::env::vars() {
        if name.starts_with("SPOTSCALE_") || name == "ORT_DYLIB_PATH" {
            command.env_remove(name);
        }
    }
    for arg in deployment.args() {
        match arg.split_once('=') {
            Some((flag, _)) if flag.ends_with("listen") => {
                command.arg(format!("{flag}=127.0.0.1:0"))
            }
            _ => command.arg(arg),
        };
    }
    command.stdin(Stdio::null()).kill_on_drop(true);
    command
}

/// A started role, and where it listens.
pub(crate) async fn start(mut command: Command) -> (Child, Value) {
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let Some(line) = lines.next_line().await.unwrap() else {
        let Output { stderr, .. } = child.wait_with_output().await.unwrap();
        panic!("it ended: {}", String::from_utf8_lossy(&stderr));
    };
    let announced: Value = serde_json::from_str(&line).unwrap();
    (child, announced["listening"].clone())
}

/// The trigger of each ScaledObject of ours, as KEDA hands it on.
fn triggers(objects: &[Object]) -> Vec<ScaledObjectRef> {
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
async fn the_scaler_takes_its_flags_and_every_trigger() {
    let objects = render(&[
        "prometheus.url=http://127.0.0.1:9",
        "prometheus.queries.detector-gpu=avg(gpu)",
        "prometheus.queries.detector-usd-per-hour=avg(\nprice)",
    ]);
    let (_scaler, addresses) =
        start(command(find(&objects, "Deployment", "spotscale-scaler"))).await;
    let address = format!("http://{}", addresses["grpc"].as_str().unwrap());
    let mut scaler = ExternalScalerClient::connect(address).await.unwrap();
    let mut all = triggers(&objects);
    all.extend(examples().iter().flat_map(|path| triggers(&file(path))));
    assert!(all.len() >= 5, "{all:?}");
    for trigger in &all {
        let specs = scaler.get_metric_spec(trigger.clone()).await;
        let specs = specs.unwrap_or_else(|status| panic!("{}: {status}", trigger.name));
        assert!((specs.into_inner().metric_specs[0].target_size_float - 1.0).abs() < 1e-9);
    }
    let mut wrong = all.swap_remove(0);
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
