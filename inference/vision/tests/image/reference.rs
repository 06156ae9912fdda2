//! The same file, decoded and prepared by us and by Pillow, given to the same model.

use std::fs;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use spotscale_vision::image::{Limits, decode_to_tensor};
use spotscale_vision::seeded::write_resnet50;

use crate::support;

/// The seed does not matter here; any network that reacts to its input will do.
const SEED: u64 = 1;
const COSINE_MIN: f64 = 0.999;
/// One step of 8 bits is 0.0175 after normalisation.
const MEAN_ABS_DIFF_MAX: f64 = 0.01;

#[derive(Debug, Deserialize)]
struct Comparison {
    #[expect(dead_code, reason = "printed when the test fails")]
    name: String,
    mean_abs_diff: f64,
    cosine: f64,
}

impl Comparison {
    /// Written so that a NaN is far as well.
    fn is_far(&self) -> bool {
        let near = self.cosine >= COSINE_MIN && self.mean_abs_diff <= MEAN_ABS_DIFF_MAX;
        !near
    }
}

#[test]
fn every_encoding_agrees_with_pillow() {
    let folder = tempfile::tempdir().unwrap();
    let variants = folder.path().join("variants");
    fs::create_dir(&variants).unwrap();
    support::run("variants.py", &[&support::pictures(), &variants]);
    let decoded = prepare(&variants);

    let model = model(folder.path());
    let lines = support::run("reference.py", &[&model, &variants]);
    let comparisons: Vec<Comparison> =
        lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();

    assert_eq!(comparisons.len(), decoded);
    let far: Vec<_> = comparisons.iter().filter(|comparison| comparison.is_far()).collect();
    assert!(far.is_empty(), "of {decoded} pictures these differ: {far:#?}");
}

/// Writes our tensor beside each picture; returns how many there are.
fn prepare(variants: &Path) -> usize {
    let paths: Vec<_> =
        fs::read_dir(variants).unwrap().map(|entry| entry.unwrap().path()).collect();
    for path in &paths {
        let tensor = decode_to_tensor(&fs::read(path).unwrap(), &Limits::default())
            .map_err(|error| format!("{}: {error}", path.display()))
            .unwrap();
        let bytes: Vec<u8> =
            tensor.as_slice().iter().flat_map(|value| value.to_le_bytes()).collect();
        fs::write(format!("{}.tensor", path.display()), bytes).unwrap();
    }
    paths.len()
}

/// The model that the whole test run uses, or else one with seeded weights.
fn model(folder: &Path) -> PathBuf {
    std::env::var_os("SPOTSCALE_MODEL").map_or_else(
        || {
            let path = folder.join("seeded.onnx");
            write_resnet50(&path, SEED, |_| ()).unwrap();
            path
        },
        PathBuf::from,
    )
}
