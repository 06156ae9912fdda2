//! Where the programs of the cluster are, and the manifests that came with them.

use std::{env, path::PathBuf};

use anyhow::bail;

/// What `scripts/setup.py cluster` has built and rendered: `bin/` and `manifests/`.
pub const FOLDER: &str = "SPOTSCALE_CLUSTER";

/// The path of a program. `KUBEBUILDER_ASSETS`, as envtest has it, is looked at first.
pub fn program(name: &str) -> anyhow::Result<PathBuf> {
    let assets = env::var_os("KUBEBUILDER_ASSETS").map(PathBuf::from);
    let built = env::var_os(FOLDER).map(|folder| PathBuf::from(folder).join("bin"));
    let found = [assets, built]
        .into_iter()
        .flatten()
        .map(|folder| folder.join(name))
        .find(|path| path.is_file());
    let Some(found) = found else {
        bail!(
            "no {name}: run `make test`, or `eval \"$(python3 scripts/setup.py --print-env cluster)\"` once in this shell"
        )
    };
    Ok(found)
}

/// The text of a manifest, such as `keda/crd.yaml`.
pub fn manifest(name: &str) -> anyhow::Result<String> {
    let Some(folder) = env::var_os(FOLDER) else { bail!("{FOLDER} is not set: run `make test`") };
    let path = PathBuf::from(folder).join("manifests").join(name);
    std::fs::read_to_string(&path).map_err(|error| anyhow::anyhow!("{}: {error}", path.display()))
}
