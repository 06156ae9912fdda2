//! The command line as a person meets it: help that explains, and mistakes that end with one clear line before
//! anything is served.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    net::TcpListener,
    process::{Command, Output, Stdio},
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
    for role in ["scaler", "front", "inference", "up", "model"] {
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
