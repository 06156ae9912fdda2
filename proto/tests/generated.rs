//! The committed code in `src/gen` is what the `.proto` files generate, byte for byte.
//!
//! `SPOTSCALE_GENERATE=1` writes it instead of comparing (`make gen`).

use std::{fs, path::Path};

#[test]
fn committed_code_equals_what_the_protos_generate() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let fresh = tempfile::tempdir().unwrap();
    let protos = ["externalscaler.proto", "demand.proto", "inference.proto"];
    let descriptors = protox::compile(protos, [root.join("proto")]).unwrap();
    tonic_prost_build::configure().out_dir(fresh.path()).compile_fds(descriptors).unwrap();

    let write = std::env::var_os("SPOTSCALE_GENERATE").is_some();
    for name in ["externalscaler.rs", "spotscale.demand.v1.rs", "inference.rs"] {
        let committed = root.join("src/gen").join(name);
        let generated = fs::read_to_string(fresh.path().join(name)).unwrap();
        if write {
            fs::write(&committed, &generated).unwrap();
        }
        let found = fs::read_to_string(&committed).unwrap_or_default();
        assert!(found == generated, "{name} is stale: run `make gen`");
    }
}
