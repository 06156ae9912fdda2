//! The bytes are pinned on a small network: the same on every platform and in every release.

use sha2::{Digest, Sha256};

use super::*;

const SMALL: Architecture = Architecture { stem: 8, stages: &[(2, 4), (1, 8)], classes: 10 };

fn digest(seed: u64) -> String {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("small.onnx");
    write(&path, seed, &SMALL, |_| ()).unwrap();
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "the part file is left behind");
    format!("{:x}", Sha256::digest(fs::read(path).unwrap()))
}

#[test]
fn the_same_seed_gives_the_same_bytes() {
    assert_eq!(digest(7), "47086d2105fd81ac6dffa846eb74edb6cf4b8e0fcb1ad983127fd50734ac2421");
    assert_ne!(digest(7), digest(8));
}

#[test]
fn progress_counts_every_layer() {
    let folder = tempfile::tempdir().unwrap();
    let mut seen = Vec::new();
    write(&folder.path().join("small.onnx"), 7, &SMALL, |step| seen.push(step)).unwrap();
    let done: Vec<_> = seen.iter().map(|step| step.layers_done).collect();
    assert_eq!(done, (1..=seen[0].layers_total).collect::<Vec<_>>());
}

#[test]
fn a_place_that_cannot_be_written_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("missing/model.onnx");
    let error = write_resnet50(&path, 7, |_| ()).unwrap_err();
    assert!(error.to_string().contains("missing/model.onnx"), "{error}");
}
