//! Where the parts are that `scripts/setup.py` brings. The inference server's tests, which need no cluster, take this
//! page alone.

use std::{env, path::PathBuf};

/// The variable that names a part, and its place in the cache where that is always the same.
const PARTS: [(&str, Option<&str>); 7] = [
    ("ORT_DYLIB_PATH", Some("onnxruntime-1.31.0/libonnxruntime.so")),
    ("SPOTSCALE_CLUSTER", Some("cluster/current")),
    ("SPOTSCALE_CRDS", None),
    ("SPOTSCALE_FAKETIME", None),
    ("SPOTSCALE_MODEL", None),
    ("SPOTSCALE_PICTURES", Some("pictures")),
    ("SPOTSCALE_PYTHON", Some("venv/bin/python")),
];

/// A part that is there, by the variable that may name it; panics where it is missing, and says what brings it.
pub fn part(variable: &str) -> PathBuf {
    let path = place(variable);
    assert!(path.exists(), "{} is missing: run `make test`, which brings it", path.display());
    path
}

/// Where a part is, if it is there.
pub fn place(variable: &str) -> PathBuf {
    let known = PARTS.iter().find(|(name, _)| *name == variable);
    let (_, in_cache) = known.unwrap_or_else(|| panic!("{variable} names no part"));
    let named = env::var_os(variable).map(PathBuf::from);
    named.or_else(|| Some(cache().join(*in_cache.as_ref()?))).unwrap_or_else(|| {
        panic!("{variable} is not set: run `make test`, which brings what it names")
    })
}

fn cache() -> PathBuf {
    let home = || PathBuf::from(env::var_os("HOME").unwrap_or_default()).join(".cache/spotscale");
    env::var_os("SPOTSCALE_CACHE").map_or_else(home, PathBuf::from)
}
