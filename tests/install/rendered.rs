//! What is rendered from the chart and kept, and the chart's own health.

use std::{path::Path, process::Command};

use crate::render::{KUBERNETES, run, source};

#[test]
fn install_yaml_is_what_the_chart_renders() {
    let helm = spotscale_test_cluster::programs::program("helm").unwrap();
    let output = Command::new(source("scripts/render.sh")).env("HELM", helm).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let kept = std::fs::read_to_string(source("manifests/install.yaml")).unwrap();
    let rendered = String::from_utf8(output.stdout).unwrap();
    let differs = kept.lines().zip(rendered.lines()).find(|(kept, rendered)| kept != rendered);
    assert_eq!(differs, None, "run `make manifests`");
    assert_eq!(kept.len(), rendered.len(), "run `make manifests`");
}

#[test]
fn the_chart_passes_helm_lint() {
    let args = ["lint", "--strict", "manifests/chart", "--kube-version", KUBERNETES];
    let output = run("helm", &args, Path::new("/dev/null"));
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{said}");
    assert!(!said.contains("[WARNING]") && !said.contains("[ERROR]"), "{said}");
}
