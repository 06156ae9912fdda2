//! `spotscale inference --calibrate`, with a real server and a tiny model.

use std::{fs, path::Path, process::Output};

use serde_json::Value;
use spotscale_test_cluster::parts::part;
use tokio::process::Command;

use crate::local_mode::model;

const HEADER: &str = "instance_type,pods_max,requests_per_second,slo_ms,device,model,measured_at";

async fn calibrate(folder: &Path, flags: &[&str]) -> Output {
    let model = format!("--model=tiny={}@3", model().display());
    let table = format!("--calibrate={}", folder.join("machines.csv").display());
    Command::new(env!("CARGO_BIN_EXE_spotscale"))
        .args(["inference", "--device=cpu", "--threads=1", "--calibrate-round=200ms"])
        .args([&model, &table])
        .args(flags)
        .env("ORT_DYLIB_PATH", part("ORT_DYLIB_PATH"))
        .env_remove("SPOTSCALE_INSTANCE_TYPE")
        .kill_on_drop(true)
        .output()
        .await
        .unwrap()
}

fn table(folder: &Path) -> Vec<Vec<String>> {
    let text = fs::read_to_string(folder.join("machines.csv")).unwrap();
    text.lines().map(|line| line.split(',').map(str::to_owned).collect()).collect()
}

#[tokio::test]
async fn a_machine_is_measured_once_for_each_kind_and_noted() {
    let folder = tempfile::tempdir().unwrap();
    let kinds =
        [&["--calibrate-as=c7g.large"][..], &["--calibrate-as=m7g.large", "--calibrate-pods=2"]];
    for flags in [kinds[0], kinds[1], kinds[0]] {
        let output = calibrate(folder.path(), flags).await;
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let said: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert!(said["p95_ms"].as_f64().unwrap() <= 500.0, "{said}");
    }
    let table = table(folder.path());
    assert_eq!(table[0].join(","), HEADER);
    let kinds: Vec<_> =
        table[1..].iter().map(|row| [&row[0][..], &row[1], &row[3], &row[4], &row[5]]).collect();
    let wanted =
        [["m7g.large", "2", "500", "cpu", "tiny@3"], ["c7g.large", "1", "500", "cpu", "tiny@3"]];
    assert_eq!(kinds, wanted);
    for row in &table[1..] {
        assert!(row[2].parse::<f64>().unwrap() > 1.0, "{row:?}");
        row[6].parse::<jiff::Timestamp>().unwrap();
    }
}

#[tokio::test]
async fn a_bound_that_no_request_keeps_and_a_type_that_nobody_said_are_told() {
    let folder = tempfile::tempdir().unwrap();
    let output = calibrate(folder.path(), &["--calibrate-as=a", "--calibrate-slo=1us"]).await;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success() && said.contains("--calibrate-slo 1µs"), "{said}");
    let output = calibrate(folder.path(), &[]).await;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success() && said.contains("--calibrate-as"), "{said}");
    assert!(!folder.path().join("machines.csv").exists());
}
