//! The ONNX Runtime library is missing or not one. A process loads it once, so each of these has
//! one of its own.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "server/support.rs"]
mod support;

use support::{config, model, models};

fn refusal(library: &str) -> String {
    let mut config = config(&[&model("tiny", "logits.onnx")]);
    config.ort_dylib_path = Some(library.into());
    let error = config.validate().unwrap_err();
    assert_eq!(error.kind(), "library");
    error.to_string()
}

#[test]
fn a_library_of_no_use_is_one_clear_line() {
    let not_one = models().join("broken.onnx");
    for (path, reason) in [
        ("/nowhere/libonnxruntime.so", "No such file"),
        (not_one.to_str().unwrap(), "file too short"),
        ("libno-such-thing.so", "No such file"),
    ] {
        let line = refusal(path);
        assert!(line.contains(reason), "{line}");
        assert!(line.contains(path) && line.contains("ORT_DYLIB_PATH"), "{line}");
        assert!(!line.contains('\n'), "{line}");
    }
    // And what failed before does not stop a right one from being loaded.
    config(&[&model("tiny", "logits.onnx")]).validate().unwrap();
}
