//! Where the parts are that the tests need, and how the Python side is run.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A Python with Pillow, numpy, onnx and onnxruntime.
pub(crate) fn python() -> PathBuf {
    part("SPOTSCALE_PYTHON", "venv/bin/python")
}

/// The folder of ordinary pictures.
pub(crate) fn pictures() -> PathBuf {
    part("SPOTSCALE_PICTURES", "pictures")
}

/// Runs a script of `tests/python` and returns what it prints.
pub(crate) fn run(script: &str, arguments: &[&Path]) -> String {
    let scripts = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/python");
    let output = Command::new(python()).arg(scripts.join(script)).args(arguments).output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{script}: {errors}");
    String::from_utf8(output.stdout).unwrap()
}

fn part(variable: &str, fallback: &str) -> PathBuf {
    let cache = || Path::new(&env::var_os("HOME").unwrap()).join(".cache/spotscale").join(fallback);
    let path = env::var_os(variable).map_or_else(cache, PathBuf::from);
    assert!(path.exists(), "{variable}: {} is missing; run `make test`", path.display());
    path
}
