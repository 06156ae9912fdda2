//! Where the programs of the cluster are, and the manifests that came with them.

use std::{env, path::PathBuf};

use anyhow::Context as _;

use crate::parts::place;

/// What `scripts/setup.py cluster` has built and rendered: `bin/` and `manifests/`.
fn folder() -> PathBuf {
    place("SPOTSCALE_CLUSTER")
}

/// The Python that has what `tests/requirements.txt` names.
pub fn python() -> anyhow::Result<PathBuf> {
    let found = place("SPOTSCALE_PYTHON");
    anyhow::ensure!(found.is_file(), "no Python: run `python3 scripts/setup.py python`");
    Ok(found)
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

/// The path of a manifest, such as `keda/crd.yaml`.
pub fn manifest_path(name: &str) -> anyhow::Result<PathBuf> {
    let path = folder().join("manifests").join(name);
    let advice = || format!("no {}: run `python3 scripts/setup.py cluster`", path.display());
    path.is_file().then(|| path.clone()).with_context(advice)
}

/// The text of a manifest.
pub fn manifest(name: &str) -> anyhow::Result<String> {
    Ok(std::fs::read_to_string(manifest_path(name)?)?)
}
