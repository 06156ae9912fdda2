//! Helm and kubectl as an operator runs them, and what the chart renders.

use std::{
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};

use spotscale_test_cluster::{apply::documents, programs::program};

use crate::object::Object;

/// The Kubernetes that templates are rendered for unless a test says otherwise.
pub(crate) const KUBERNETES: &str = "1.36.0";

/// The autoscaler, with a table of two machine types; a value for [`render`].
pub(crate) const ON: &str = "autoscaler.enabled=true,autoscaler.machines=\
    instance_type\\,pods_max\\,requests_per_second\\,slo_ms\\,device\\,model\\,measured_at\n\
    g4dn.xlarge\\,1\\,400\\,500\\,cuda\\,resnet50\\,2026-11-20T00:00:00Z\n\
    c7i.large\\,1\\,20\\,500\\,cpu\\,resnet50\\,2026-11-20T00:00:00Z";

/// The watchers on the nodes, which need the autoscaler.
pub(crate) const WATCHERS: &str = "autoscaler.notices.node.enabled=true";

/// A file of the source.
pub(crate) fn source(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// Runs a program of the cluster to its end, with nothing of the user's own configuration.
pub(crate) fn run(name: &str, args: &[&str], kubeconfig: &Path) -> Output {
    Command::new(program(name).unwrap_or_else(|error| panic!("{error:#}")))
        .args(args)
        .current_dir(source("."))
        .env("KUBECONFIG", kubeconfig)
        .env("HOME", env!("CARGO_TARGET_TMPDIR"))
        .stdin(Stdio::null())
        .output()
        .unwrap()
}

/// `helm template` with further arguments: all objects, or what it complains about.
pub(crate) fn try_render(args: &[&str]) -> Result<Vec<Object>, String> {
    let fixed = ["template", "spotscale", "manifests/chart", "--namespace", "spotscale"];
    let versioned = args.contains(&"--kube-version");
    let version = if versioned { [].as_slice() } else { &["--kube-version", KUBERNETES] };
    let output = run("helm", &[&fixed, version, args].concat(), Path::new("/dev/null"));
    if output.status.success() {
        Ok(parse(&String::from_utf8(output.stdout).unwrap()))
    } else {
        Err(String::from_utf8(output.stderr).unwrap())
    }
}

/// What the chart renders with `--set` of each.
pub(crate) fn render(values: &[&str]) -> Vec<Object> {
    let args: Vec<&str> = values.iter().flat_map(|value| ["--set", value]).collect();
    try_render(&args).unwrap_or_else(|error| panic!("{values:?}: {error}"))
}

/// The objects of a file of the source.
pub(crate) fn file(path: &str) -> Vec<Object> {
    parse(&std::fs::read_to_string(source(path)).unwrap())
}

/// The files of `manifests/examples`.
pub(crate) fn examples() -> Vec<String> {
    let folder = std::fs::read_dir(source("manifests/examples")).unwrap();
    let names = folder.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    // What is for AWS is in a folder of its own.
    let names = names.filter(|name| Path::new(name).extension().is_some_and(|kind| kind == "yaml"));
    let mut paths: Vec<_> = names.map(|name| format!("manifests/examples/{name}")).collect();
    paths.sort();
    assert!(paths.len() > 3, "{paths:?}");
    paths
}

fn parse(yaml: &str) -> Vec<Object> {
    let objects = documents(yaml).unwrap();
    objects.into_iter().map(|object| Object(serde_json::to_value(object).unwrap())).collect()
}
