//! The command line as a person meets it: help that explains, and mistakes that end with one clear line before
//! anything is served.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    io::{BufRead as _, BufReader},
    net::TcpListener,
    process::{Command, Output, Stdio},
    sync::mpsc,
    thread,
    time::Duration,
};

use axum::{
    Router,
    http::{StatusCode, Uri},
};

/// Runs the program to its end with an environment that holds nothing of ours.
fn spotscale(args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_spotscale"));
    for (name, _) in std::env::vars() {
        if name.starts_with("SPOTSCALE_") || name == "ORT_DYLIB_PATH" {
            command.env_remove(name);
        }
    }
    command.args(args).stdin(Stdio::null()).output().unwrap()
}

/// Asserts that the call failed with exactly one line of complaint, announced no address, and returns that line.
fn complaint(args: &[&str]) -> String {
    let output = spotscale(args);
    assert!(!output.status.success(), "{args:?} succeeded");
    assert!(output.stdout.is_empty(), "{args:?} announced that it listens");
    let stderr = String::from_utf8(output.stderr).unwrap();
    let lines: Vec<&str> = stderr.lines().filter(|line| line.starts_with("spotscale: ")).collect();
    assert_eq!(lines.len(), 1, "{args:?} said:\n{stderr}");
    assert_eq!(stderr.lines().count(), 1, "{args:?} said more than its one line:\n{stderr}");
    lines[0].to_owned()
}

#[test]
fn every_role_explains_itself() {
    for role in ["scaler", "front", "inference", "up", "simulate", "explain", "model"] {
        let output = spotscale(&[role, "--help"]);
        assert!(output.status.success());
        let help = String::from_utf8(output.stdout).unwrap();
        assert!(help.contains("Usage:"), "{role}: {help}");
        let undocumented = help
            .lines()
            .zip(help.lines().skip(1).chain([""]))
            .find(|(flag, next)| flag.trim_start().starts_with("--") && next.trim().is_empty());
        assert_eq!(undocumented, None, "{role} has a flag without a word about it");
    }
}

#[test]
fn a_wrong_flag_is_one_line_and_the_usage_status() {
    for role in ["scaler", "front", "inference", "up"] {
        let line = complaint(&[role, "--no-such-flag"]);
        assert!(line.contains("--no-such-flag"), "{line}");
        assert_eq!(spotscale(&[role, "--no-such-flag"]).status.code(), Some(64));
    }
}

#[test]
fn explain_says_in_one_line_whom_it_cannot_reach() {
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    for what in ["plan", "cost"] {
        let line = complaint(&["explain", what, &format!("--url=http://{nobody}")]);
        assert!(line.contains("no autoscaler can be reached at http://127.0.0.1:"), "{line}");
    }
    let line = complaint(&["explain", "cost", "--feed=/no/such/file"]);
    assert!(line.contains("/no/such/file: No such file"), "{line}");
    let line = complaint(&["explain", "plan", "--url=localhost"]);
    assert!(line.contains("--url \"localhost\" is not an address such as"), "{line}");
}

#[test]
fn a_wrong_value_names_the_flag() {
    let line = complaint(&["inference", "--max-batch", "many"]);
    assert!(line.contains("--max-batch") && line.contains("many"), "{line}");
}

#[test]
fn a_port_in_use_is_named() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    // Local mode binds the others first, and somebody may be using it.
    let free = ["up", "--listen=127.0.0.1:0", "--scaler-listen=127.0.0.1:0"];
    for args in [
        ["scaler", "--listen", &address].as_slice(),
        &["front", "--listen", &address, "--upstream", "http://127.0.0.1:9"],
        &[free.as_slice(), &["--model", file!(), "--console-listen", &address]].concat(),
    ] {
        let line = complaint(args);
        assert!(line.contains(&address), "{line}");
    }
}

#[test]
fn a_missing_runtime_library_is_named() {
    let model = tempfile::NamedTempFile::new().unwrap();
    let model = format!("resnet50={}", model.path().display());
    let output = Command::new(env!("CARGO_BIN_EXE_spotscale"))
        .args(["inference", "--listen", "127.0.0.1:0", "--grpc-listen", "127.0.0.1:0"])
        .args(["--model", &model])
        .env("ORT_DYLIB_PATH", "/nonexistent/libonnxruntime.so")
        .output()
        .unwrap();
    assert!(!output.status.success());
    assert!(output.stdout.is_empty(), "it announced that it listens");
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(stderr.contains("/nonexistent/libonnxruntime.so"), "{stderr}");
    assert!(!stderr.contains("panicked"), "{stderr}");
}

#[test]
fn a_missing_model_is_named() {
    let line = complaint(&["inference", "--model", "resnet50=/nonexistent/model.onnx"]);
    assert!(line.contains("/nonexistent/model.onnx"), "{line}");
}

/// The metadata of a machine that EC2 is about to take.
async fn metadata(uri: Uri) -> (StatusCode, [(&'static str, &'static str); 1], &'static str) {
    let (status, text) = match uri.path() {
        "/latest/api/token" => (StatusCode::OK, "token"),
        "/latest/meta-data/spot/instance-action" => {
            (StatusCode::OK, r#"{"action": "terminate", "time": "2026-01-01T00:02:00Z"}"#)
        }
        _ => (StatusCode::NOT_FOUND, ""),
    };
    (status, [("x-aws-ec2-metadata-token-ttl-seconds", "60")], text)
}

/// There is no cluster at all that it could write to, and it tells what it hears.
#[tokio::test(flavor = "multi_thread")]
async fn a_dry_run_on_a_node_tells_in_the_log_alone() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async { axum::serve(listener, Router::new().fallback(metadata)).await });
    let mut watcher = Command::new(env!("CARGO_BIN_EXE_spotscale"))
        .args(["node", "--dry-run", "--node=n", "--admin-listen=127.0.0.1:0", "--imds-poll=50ms"])
        .args(["--imds-endpoint", &endpoint])
        .env("KUBECONFIG", "/nonexistent")
        .env_remove("KUBERNETES_SERVICE_HOST")
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let (lines, log) = mpsc::channel();
    let stderr = BufReader::new(watcher.stderr.take().unwrap());
    thread::spawn(move || {
        stderr.lines().map_while(Result::ok).try_for_each(|line| lines.send(line))
    });
    let told = std::iter::from_fn(|| log.recv_timeout(Duration::from_mins(1)).ok())
        .find(|line| line.contains("the node is not told"));
    watcher.kill().unwrap();
    watcher.wait().unwrap();
    assert!(told.is_some_and(|line| line.contains("2026-01-01T00:02:00Z")));
}

#[test]
fn a_simulation_reads_recordings_and_is_the_same_again() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.display().to_string()
    };
    let prices = "timestamp,instance_type,zone,capacity_type,usd_per_hour\n\
        2024-01-01T00:00:00Z,g4dn.xlarge,a,spot,0.2\n\
        2024-01-01T00:00:00Z,g4dn.xlarge,a,on-demand,0.526\n";
    let prices = file("prices.csv", prices);
    let capacity = file("a.json", r#"{"metadata": {"gap_seconds": 1800}, "data": [1, 0]}"#);
    let requests = file("requests.csv", "seconds\n0\n4\n9000\n");
    let availability = format!("--availability=a={capacity}");
    let args = ["simulate", "--json", "--for=3h", "--prices", &prices, &availability];
    let args = [&args[..], &["--requests", &requests, "--idle-after=1h"]].concat();
    let output = spotscale(&args);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    assert_eq!(output.stdout, spotscale(&args).stdout);
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(
        (&report["requests"]["arrived"], &report["requests"]["answered"]),
        (&3.into(), &3.into())
    );
    assert!(report["nodes"]["interruptions"].as_u64() >= Some(1), "{report}");
    assert!(report["money"]["refund"].as_i64() > Some(0), "taken in its first hour: {report}");

    let missing = complaint(&["simulate", "--requests", "no/such.csv"]);
    assert!(missing.contains("no/such.csv"), "{missing}");
    let elsewhere = format!("--availability=b={capacity}");
    let nothing_of_it = [&args[..], &[elsewhere.as_str()]].concat();
    assert!(complaint(&nothing_of_it).contains("--prices has nothing of it"));
}
