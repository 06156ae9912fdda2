//! Where the programs of the cluster are, and the manifests that came with them.

use std::{env, path::PathBuf};

use anyhow::Context as _;

use crate::parts::place;

/// What `scripts/setup.py cluster` has built and rendered: `bin/` and `manifests/`.
fn folder() -> PathBuf {
    place("SPOTSCALE_CLUSTER")
}

/// The path of a program. `KUBEBUILDER_ASSETS`, as envtest has it, is looked at first.
pub fn program(name: &str) -> anyhow::Result<PathBuf> {
    let assets = env::var_os("KUBEBUILDER_ASSETS").map(PathBuf::from);
    let folders = assets.into_iter().chain([folder().join("bin")]);
    let found = folders.map(|folder| folder.join(name)).find(|path| path.is_file());
    found.with_context(|| {
        format!("no {name}: run `python3 scripts/setup.py cluster`, which builds it")
    })
}

/// The text of a manifest, such as `keda/crd.yaml`.
pub fn manifest(name: &str) -> anyhow::Result<String> {
    let path = folder().join("manifests").join(name);
    let text = std::fs::read_to_string(&path);
    text.with_context(|| format!("{}: run `python3 scripts/setup.py cluster`", path.display()))
}
