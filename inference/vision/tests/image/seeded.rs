//! The seeded model as ONNX's own checker and ONNX Runtime see it.

use std::collections::{BTreeMap, HashSet};

use serde::Deserialize;
use sha2::{Digest, Sha256};
use spotscale_vision::seeded::{SEED, SHA256, write_resnet50};

use crate::support;

#[derive(Debug, Deserialize)]
struct Answer {
    metadata: BTreeMap<String, String>,
    batch_diff: f64,
    top: Vec<usize>,
    score: Vec<f64>,
    entropy: Vec<f64>,
}

#[test]
fn it_is_valid_and_tells_pictures_apart() {
    let folder = tempfile::tempdir().unwrap();
    let model = folder.path().join("seeded.onnx");
    write_resnet50(&model, SEED, |_| ()).unwrap();
    // A model made on any machine is known by its checksum.
    assert_eq!(format!("{:x}", Sha256::digest(std::fs::read(&model).unwrap())), SHA256);

    let answer = support::run("seeded.py", &[&model, &support::pictures()]);
    let answer: Answer = serde_json::from_str(&answer).unwrap();
    assert_eq!(answer.metadata["weights"], "seeded");
    assert_eq!(answer.metadata["seed"], SEED.to_string());
    assert!(answer.batch_diff < 1e-3, "{answer:?}");

    let pictures = answer.top.len();
    let distinct = answer.top.iter().collect::<HashSet<_>>().len();
    assert!(pictures >= 10 && distinct * 4 >= pictures * 3, "{answer:?}");
    // Even odds over 1000 classes would be 0.001 each and an entropy of 6.9.
    assert!(answer.score.iter().all(|score| (0.02..0.95).contains(score)), "{answer:?}");
    assert!(answer.entropy.iter().all(|entropy| (0.3..6.0).contains(entropy)), "{answer:?}");
}
